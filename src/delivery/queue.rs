//! One lane a stack: at most one redeploy runs and one waits; whoever comes later joins the one that waits.

use std::collections::BTreeMap;

use crate::request::DeliveryId;
use crate::stack::StackKey;
use crate::stack::order::Order;

/// The lanes of all stacks.
#[derive(Debug, Default)]
pub(crate) struct Lanes(BTreeMap<StackKey, Lane>);

#[derive(Debug, Default)]
struct Lane {
    running: Option<Job>,
    waiting: Option<Job>,
}

/// One redeploy, and the deliveries that it covers.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// What all of them ask for together.
    pub(crate) order: Order,
    /// Who gets its outcome.
    pub(crate) deliveries: Vec<DeliveryId>,
    setters: BTreeMap<String, Setters>,
    joined: u64,
}

/// Who set a variable to the value that is going to be deployed.
#[derive(Debug, Clone)]
struct Setters {
    newest: Rank,
    deliveries: Vec<DeliveryId>,
}

/// Which of two values is newer: by signed time, and without one by arrival.
type Rank = (u64, u64);

/// A delivery whose variable another one replaced before it was deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overtaken {
    /// Whose value is lost.
    pub(crate) delivery: DeliveryId,
    /// Whose value is deployed.
    pub(crate) by: DeliveryId,
    /// Of which variable.
    pub(crate) variable: String,
}

impl Overtaken {
    /// For the overtaken delivery's reply.
    pub(crate) fn words(&self) -> String {
        format!(
            "superseded by delivery {}, which set {}",
            self.by, self.variable
        )
    }
}

impl Lanes {
    /// Queues an order; `time` is the delivery's signed time, or that of its arrival. Returns who was overtaken by that,
    /// perhaps the delivery itself.
    pub(crate) fn join(
        &mut self,
        stack: &StackKey,
        id: &DeliveryId,
        order: Order,
        time: u64,
    ) -> Vec<Overtaken> {
        let lane = self.0.entry(stack.clone()).or_default();
        match &mut lane.waiting {
            Some(job) => job.join(id, order, time),
            None => {
                let setters = |name: &String| {
                    (
                        name.clone(),
                        Setters {
                            newest: (time, 0),
                            deliveries: vec![id.clone()],
                        },
                    )
                };
                let setters = order.set.keys().map(setters).collect();
                lane.waiting = Some(Job {
                    order,
                    deliveries: vec![id.clone()],
                    setters,
                    joined: 1,
                });
                Vec::new()
            }
        }
    }

    /// The stacks whose waiting redeploy nothing holds up.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &StackKey> {
        let ready = |lane: &Lane| lane.running.is_none() && lane.waiting.is_some();
        self.0
            .iter()
            .filter(move |(_, lane)| ready(lane))
            .map(|(stack, _)| stack)
    }

    /// The waiting redeploy of a stack becomes the running one.
    pub(crate) fn start(&mut self, stack: &StackKey) -> Option<Job> {
        let lane = self
            .0
            .get_mut(stack)
            .filter(|lane| lane.running.is_none())?;
        lane.running = lane.waiting.take();
        lane.running.clone()
    }

    /// The running redeploy of a stack is over; returns whom it covered.
    pub(crate) fn end(&mut self, stack: &StackKey) -> Vec<DeliveryId> {
        let running = self.0.get_mut(stack).and_then(|lane| lane.running.take());
        running.map(|job| job.deliveries).unwrap_or_default()
    }

    /// Whom the running redeploy of a stack covers.
    pub(crate) fn covered(&self, stack: &StackKey) -> &[DeliveryId] {
        let running = self.0.get(stack).and_then(|lane| lane.running.as_ref());
        running.map_or(&[], |job| &job.deliveries)
    }
}

impl Job {
    fn join(&mut self, id: &DeliveryId, mut order: Order, time: u64) -> Vec<Overtaken> {
        let rank = (time, self.joined);
        self.joined += 1;
        let mut overtaken = Vec::new();
        for (variable, value) in std::mem::take(&mut order.set) {
            let own = Setters {
                newest: rank,
                deliveries: vec![id.clone()],
            };
            let Some(setters) = self.setters.get_mut(&variable) else {
                self.setters.insert(variable.clone(), own);
                self.order.set.insert(variable, value);
                continue;
            };
            let lost = |delivery: &DeliveryId, by: &DeliveryId| Overtaken {
                delivery: delivery.clone(),
                by: by.clone(),
                variable: variable.clone(),
            };
            if self.order.set.get(&variable) == Some(&value) {
                setters.newest = setters.newest.max(rank);
                setters.deliveries.push(id.clone());
            } else if setters.newest > rank {
                overtaken.extend(setters.deliveries.last().map(|by| lost(id, by)));
            } else {
                overtaken.extend(setters.deliveries.iter().map(|delivery| lost(delivery, id)));
                *setters = own;
                self.order.set.insert(variable, value);
            }
        }
        self.order.merge(order);
        self.deliveries.push(id.clone());
        self.deliveries
            .retain(|delivery| !overtaken.iter().any(|lost| lost.delivery == *delivery));
        overtaken
    }
}
