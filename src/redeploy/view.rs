//! What staff see of a stack: what it runs, how it would be redeployed, and which way back there is. Sends nothing but GETs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::calendar::parse_rfc3339;
use crate::health::swarm;
use crate::image::Reference;
use crate::portainer::{Kind, Origin, StackId};
use crate::redeploy::check::{doubts, facts};
use crate::redeploy::inspect::Inspection;
use crate::redeploy::{AttemptError, Run, plan};
use crate::stack::order::Order;
use crate::stack::outcome::{ServiceReport, StackReport};

/// A stack as it is at this moment.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Portainer's number.
    pub(crate) id: StackId,
    /// The name of its environment, where it may be seen.
    pub(crate) environment: Option<String>,
    /// What it runs, or why that cannot be seen.
    pub(crate) services: Result<Vec<Running>, String>,
    /// How it would be redeployed, a sentence each; or why it would not.
    pub(crate) ready: Result<Vec<String>, String>,
    /// What may turn out to be a mistake, a sentence each.
    pub(crate) doubts: Vec<String>,
    /// Whether there is a way back to the images that ran before.
    pub(crate) can_roll_back: bool,
    /// The images that a rollback would restore.
    pub(crate) previous: Vec<(Reference, String)>,
    /// The names of the variables that a rollback would set back.
    pub(crate) previous_variables: Vec<String>,
}

/// A service of a stack.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// As in a reply; what it says of a change means nothing.
    pub(crate) service: ServiceReport,
    /// The start of its newest container (Unix seconds), if known.
    pub(crate) since: Option<u64>,
    /// The build time of its image (Unix seconds), if known.
    pub(crate) built: Option<u64>,
}

impl Run<'_> {
    pub(super) fn view(mut self) -> Result<View, StackReport> {
        self.viewed()
            .map_err(|halt| self.report(Err(halt.at_once())))
    }

    fn viewed(&mut self) -> Result<View, AttemptError> {
        let order = Order::default();
        let (found, inspection) = self.looked_at(&order)?;
        let past = self.cx.memory.recall(found.record.id);
        let show = |line: &String| self.redactor.show(line);
        let (ready, doubts) = match plan::plan(self.stack, &order, &found, &inspection) {
            Ok(plan) => (
                Ok(facts(self.stack, &found, &inspection, &plan)
                    .iter()
                    .map(show)
                    .collect()),
                doubts(self.stack, &found, &inspection, &plan)
                    .iter()
                    .map(show)
                    .collect(),
            ),
            Err(end) => (Err(show(&end.message)), Vec::new()),
        };
        let may_go_back =
            found.record.kind == Kind::Compose && found.record.origin() == Origin::File;
        Ok(View {
            id: found.record.id,
            environment: found.environment.clone(),
            services: services(&inspection, found.record.kind, self.cx.clock.now())
                .map_err(|why| show(&why)),
            ready,
            doubts,
            can_roll_back: may_go_back
                && !(past.previous.is_empty() && past.previous_variables.is_empty()),
            previous: past.previous.into_iter().collect(),
            previous_variables: past.previous_variables.into_keys().collect(),
        })
    }
}

/// The beginning of 1990 (Unix seconds).
const YEAR_1990: u64 = 631_152_000;

fn services(inspection: &Inspection, kind: Kind, now: Instant) -> Result<Vec<Running>, String> {
    if kind == Kind::Swarm {
        let seen = inspection.services.as_ref().map_err(Clone::clone)?;
        // Compared with itself, so that nothing counts as changed.
        let mut watch = swarm::Watch::new(seen.clone(), BTreeSet::new(), Duration::ZERO, now);
        let services = watch.evaluate(now, seen).services;
        let running = |service| Running {
            service,
            since: None,
            built: None,
        };
        return Ok(services.into_iter().map(running).collect());
    }
    let seen = inspection.seen.as_ref().map_err(Clone::clone)?;
    let since = |service: &str| {
        let containers = seen.of(service);
        containers
            .iter()
            .filter_map(|container| container.running_since())
            .max()
    };
    let built = |service: &ServiceReport| {
        let mut images = inspection.local.values().flatten();
        let image = images.find(|image| Some(&image.id) == service.image_id.as_ref())?;
        // Reproducible builds write an arbitrary date of long ago.
        parse_rfc3339(&image.created).filter(|unix| *unix > YEAR_1990)
    };
    let running = |service: ServiceReport| Running {
        since: since(&service.service),
        built: built(&service),
        service,
    };
    // Compared with itself, so that nothing counts as changed.
    Ok(seen
        .report(seen, &inspection.roles())
        .into_iter()
        .map(running)
        .collect())
}
