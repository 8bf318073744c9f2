//! Step 5: the one PUT, after a last look that nobody changed the stack meanwhile.

use std::collections::BTreeMap;

use crate::portainer::{Error, Kind, Origin, Record, Update};
use crate::redeploy::find::Found;
use crate::redeploy::look::Looked;
use crate::redeploy::plan::Plan;
use crate::redeploy::still::{PutBack, hold_still};
use crate::redeploy::{Halt, Images, Run, Step, Submission, Way};
use crate::stack::order::Order;

/// An update that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) submission: Submission,
    pub(super) answer: Result<Record, Error>,
    pub(super) put_back: PutBack,
}

impl Run<'_> {
    /// Sends the update once. Whatever says that nothing was sent is still before the submit.
    pub(super) fn submit(
        &self,
        order: &Order,
        found: &Found,
        looked: &Looked,
        plan: &Plan,
        before: Images,
    ) -> Result<Sent, Halt> {
        let environment = found.record.environment;
        let put_back = hold_still(self.cx.portainer, environment, looked, plan)?;
        match self
            .unless_edited(found)
            .and_then(|()| self.send_forward(order, found, looked, plan, before))
        {
            Ok(sent) => Ok(Sent { put_back, ..sent }),
            Err(halt) => {
                put_back.release(self.cx.portainer, environment);
                Err(halt)
            }
        }
    }

    /// A person's edit made meanwhile is never overwritten.
    fn unless_edited(&self, found: &Found) -> Result<(), Halt> {
        let record = self.cx.portainer.stack(found.record.id)?;
        let same = record.update_date == found.record.update_date
            && record.status == found.record.status
            && record.environment == found.record.environment
            && record.origin() == found.record.origin()
            && record.variables() == found.record.variables();
        match same && self.cx.portainer.file(found.record.id)? == found.file {
            true => Ok(()),
            false => Err(Halt::Edited),
        }
    }

    fn send_forward(
        &self,
        order: &Order,
        found: &Found,
        looked: &Looked,
        plan: &Plan,
        images_before: Images,
    ) -> Result<Sent, Halt> {
        let ids = looked
            .local
            .iter()
            .filter_map(|(reference, image)| Some((reference.clone(), image.as_ref()?.id.clone())));
        let stored = found.record.variables();
        let changed = order
            .set
            .iter()
            .filter(|(name, value)| stored.get(*name) != Some(value));
        let submission = Submission {
            way: Way::Forward,
            has_way_back: found.record.origin() == Origin::File
                && found.record.kind == Kind::Compose
                && plan.certain,
            before: looked.seen.as_ref().ok().cloned(),
            expected: plan.expected(),
            images_before,
            images: ids.collect(),
            variables_before: changed
                .map(|(name, _)| (name.clone(), stored.get(name).cloned()))
                .collect(),
            ..Submission::of(&found.record)
        };
        self.send(submission, || {
            Update::of(&found.record, &found.file, &order.set, plan.repull)
        })
    }

    /// Writes down what is sent, and sends it. Once more after a container that an interrupted update left behind under the
    /// name of its successor: the failed attempt has removed it (contract 5).
    pub(super) fn send(
        &self,
        submission: Submission,
        update: impl Fn() -> Update,
    ) -> Result<Sent, Halt> {
        let mut again = true;
        loop {
            self.cx.observer.submitting(&submission)?;
            self.step(Step::Submitting);
            match self.cx.portainer.update(update(), self.left()) {
                Err(Error::Conflict(_)) => return Err(Halt::Busy),
                Err(error) if error.nothing_was_sent() => return Err(error.into()),
                Err(error) if again && left_behind(&error) => again = false,
                answer => {
                    return Ok(Sent {
                        submission,
                        answer,
                        put_back: PutBack::of(BTreeMap::new()),
                    });
                }
            }
        }
    }
}

fn left_behind(error: &Error) -> bool {
    error
        .portainer_says()
        .is_some_and(|(message, _)| message.contains("Conflict. The container name"))
}
