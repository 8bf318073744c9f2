//! Step 5: the one PUT, after a last look that nobody changed the stack meanwhile.

use std::collections::BTreeMap;

use crate::portainer::{Error, Record, Update};
use crate::redeploy::find::Found;
use crate::redeploy::hold::{self, Held};
use crate::redeploy::look::Looked;
use crate::redeploy::plan::Plan;
use crate::redeploy::{Halt, Run, Step, Submission};
use crate::stack::PullMode;
use crate::stack::order::Order;

/// An update that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) submission: Submission,
    pub(super) answer: Result<Record, Error>,
    pub(super) held: Vec<Held>,
}

impl Run<'_> {
    /// Sends the update once. Whatever says that nothing was sent is still before the submit.
    pub(super) fn submit(
        &self,
        order: &Order,
        found: Found,
        looked: Looked,
        plan: Plan,
    ) -> Result<Sent, Halt> {
        let environment = found.record.environment;
        let held = hold::hold(self.cx.portainer, environment, &looked, &plan)?;
        match self.send(order, &found, &looked, &plan) {
            Ok((submission, answer)) => Ok(Sent {
                submission,
                answer,
                held,
            }),
            Err(halt) => {
                hold::release(self.cx.portainer, environment, held);
                Err(halt)
            }
        }
    }

    fn send(
        &self,
        order: &Order,
        found: &Found,
        looked: &Looked,
        plan: &Plan,
    ) -> Result<(Submission, Result<Record, Error>), Halt> {
        let portainer = self.cx.portainer;
        let record = portainer.stack(found.record.id)?;
        let file = portainer.file(found.record.id)?;
        let same = record.update_date == found.record.update_date
            && record.status == found.record.status
            && record.environment == found.record.environment
            && record.variables() == found.record.variables();
        if !same || file != found.file {
            return Err(Halt::Edited);
        }
        let ids = looked
            .local
            .iter()
            .filter_map(|(reference, image)| Some((reference.clone(), image.as_ref()?.id.clone())));
        let images: BTreeMap<_, _> = ids.collect();
        let submission = Submission {
            id: record.id,
            environment: record.environment,
            project: record.name.clone(),
            update_date: record.update_date,
            before: looked.seen.as_ref().ok().cloned(),
            expected: plan.expected(),
            images,
            sets_variables: order
                .set
                .iter()
                .any(|(name, value)| found.record.variables().get(name) != Some(value)),
        };
        self.cx.observer.submitting(&submission)?;
        self.step(Step::Submitting);
        let repull = plan.repull && self.stack.pull != PullMode::Never;
        match portainer.update(Update::of(&record, &file, &order.set, repull), self.left()) {
            Err(error) if error.nothing_was_sent() => Err(error.into()),
            Err(Error::Conflict(_)) => Err(Halt::Busy),
            answer => Ok((submission, answer)),
        }
    }
}
