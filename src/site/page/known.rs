//! The facts about a single stack: outcomes, the open delivery, and the last inspection.

use crate::delivery::{Delivery, Part, PartProgress};
use crate::limits;
use crate::redeploy::{Assessment, RunningService};
use crate::site::page::text::state_tone;
use crate::site::page::{PageData, Tone};
use crate::stack::Stack;
use crate::stack::outcome::{Outcome, StackReport};

/// The facts about one stack, from deliveries, failures and the last inspection of Portainer.
pub(super) struct Known<'k> {
    /// Newest first, with the time of the end and the event that led to it.
    pub(super) ended: Vec<(u64, &'k StackReport, &'k str)>,
    /// The delivery that is carried out or waits.
    pub(super) open: Option<(&'k Delivery, &'k Part)>,
    /// The last inspection, or the reason there is none.
    pub(super) view: Result<&'k Assessment, &'k str>,
}

impl<'k> Known<'k> {
    pub(super) fn new(data: &'k PageData<'_>, stack: &Stack) -> Known<'k> {
        let (mut ended, mut open) = (Vec::new(), None);
        for delivery in &data.history {
            for part in delivery.parts.iter().filter(|part| part.stack == stack.key) {
                match &part.progress {
                    PartProgress::Ended(report) => {
                        let unix = delivery.ended.unwrap_or(delivery.at);
                        ended.push((unix, report, delivery.event.as_str()));
                    }
                    // A running update says more than one that waits behind it.
                    PartProgress::Running(_) => open = Some((delivery, part)),
                    PartProgress::Waiting => open = open.or(Some((delivery, part))),
                }
            }
        }
        if ended.is_empty() {
            let mut failures = data.failures.iter();
            let failure = failures.find(|failure| failure.stack == stack.key);
            ended.extend(failure.map(|failure| (failure.unix, &failure.report, "")));
        }
        let look = data.look.as_ref();
        let view = match look.map(|look| look.stacks.get(&stack.key)) {
            Some(Some(Ok(view))) => Ok(view),
            Some(Some(Err(why))) => Err(why.as_str()),
            Some(None) | None => Err("Portainer has not been asked yet"),
        };
        Known { ended, open, view }
    }

    /// The last outcome that says something about the state of the stack.
    pub(super) fn last(&self) -> Option<&(u64, &'k StackReport, &'k str)> {
        let mut ended = self.ended.iter();
        ended.find(|(_, report, _)| report.outcome != Outcome::Skipped)
    }

    /// The number of failures among the outcomes that the page draws.
    pub(super) fn failures(&self) -> usize {
        let drawn = self.ended.iter().take(limits::OUTCOMES_DRAWN);
        drawn
            .filter(|(_, report, _)| report.outcome.is_bad())
            .count()
    }

    pub(super) fn services(&self) -> &[RunningService] {
        match self.view {
            Ok(Assessment {
                services: Ok(services),
                ..
            }) => services,
            _ => &[],
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        let healthy = |one: &RunningService| state_tone(one.service.state) == Tone::Good;
        !self.services().is_empty() && self.services().iter().all(healthy)
    }

    pub(super) fn can_roll_back(&self) -> bool {
        matches!(self.view, Ok(view) if view.can_roll_back)
    }

    /// Changes with every event of the stack: the result of a dry run is valid until then.
    pub(super) fn marker(&self) -> String {
        let open = self.open.map_or("", |(delivery, _)| delivery.id.as_str());
        let last = self.ended.first();
        let last = last.map(|(unix, report, _)| (unix, &report.message));
        format!("{open} {} {last:?}", self.ended.len())
    }
}
