//! What there is to tell about one stack, gathered from deliveries, failures and the last look at Portainer.

use crate::delivery::{Delivery, Part, Progress};
use crate::redeploy::{Running, View};
use crate::site::page::words::state_mood;
use crate::site::page::{Known, Mood};
use crate::stack::Stack;
use crate::stack::outcome::{Outcome, StackReport};

/// All of it.
pub(super) struct Told<'k> {
    /// Newest first, with the time of the end.
    pub(super) ends: Vec<(u64, &'k StackReport)>,
    /// What runs or waits, and the delivery that it is for.
    pub(super) open: Option<(&'k Delivery, &'k Part)>,
    /// What was seen, or why nothing was.
    pub(super) view: Result<&'k View, &'k str>,
}

impl Told<'_> {
    /// The last end that says how the stack stands.
    pub(super) fn last(&self) -> Option<&(u64, &StackReport)> {
        self.ends
            .iter()
            .find(|(_, report)| report.outcome != Outcome::Skipped)
    }

    pub(super) fn services(&self) -> &[Running] {
        match self.view {
            Ok(View {
                services: Ok(services),
                ..
            }) => services,
            _ => &[],
        }
    }

    pub(super) fn all_well(&self) -> bool {
        let well = |one: &Running| state_mood(one.service.state) == Mood::Good;
        !self.services().is_empty() && self.services().iter().all(well)
    }

    pub(super) fn can_roll_back(&self) -> bool {
        matches!(self.view, Ok(view) if view.can_roll_back)
    }
}

/// Gathers it.
pub(super) fn told<'k>(known: &'k Known<'_>, stack: &Stack) -> Told<'k> {
    let (mut ends, mut open) = (Vec::new(), None);
    for delivery in &known.history {
        for part in &delivery.parts {
            if part.stack != stack.key {
                continue;
            }
            match &part.progress {
                Progress::Ended(report) => {
                    let unix = delivery.ended.unwrap_or(delivery.at);
                    ends.push((unix, report));
                }
                // What runs says more than what waits behind it.
                Progress::Running(_) => open = Some((delivery, part)),
                Progress::Waiting => open = open.or(Some((delivery, part))),
            }
        }
    }
    if ends.is_empty() {
        let failure = known
            .failures
            .iter()
            .find(|failure| failure.stack == stack.key);
        ends.extend(failure.map(|failure| (failure.unix, &failure.report)));
    }
    let view = match known.look.as_ref().map(|look| look.stacks.get(&stack.key)) {
        Some(Some(Ok(view))) => Ok(view),
        Some(Some(Err(why))) => Err(why.as_str()),
        Some(None) | None => Err("Portainer has not been looked at yet"),
    };
    Told { ends, open, view }
}
