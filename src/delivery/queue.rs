//! One lane a stack: at most one redeploy runs and one waits; whoever comes later joins the one that waits.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delivery::DeliveryId;
use crate::image::Reference;
use crate::stack::StackKey;
use crate::stack::order::Order;

/// The lanes of all stacks.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Lanes(BTreeMap<StackKey, Lane>);

/// What runs for a stack and what waits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lane {
    running: Option<Running>,
    waiting: Option<Job>,
}

/// A redeploy under way, and what of it must survive a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// What is carried out.
    pub(crate) job: Job,
    /// The image id that each reference had before the first pull for this redeploy.
    #[serde(default)]
    pub(crate) before: BTreeMap<Reference, Option<String>>,
    /// What was sent, in the redeploy's own words; then it is never sent again.
    #[serde(default)]
    pub(crate) submission: Option<Value>,
}

/// One redeploy, and the deliveries that it covers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// What all of them ask for together.
    pub(crate) order: Order,
    /// Who gets its outcome.
    pub(crate) deliveries: Vec<DeliveryId>,
    setters: BTreeMap<String, Setters>,
    joined: u64,
}

/// Who set a variable to the value that is going to be deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
                let setters = order.set.keys().map(setters).collect::<BTreeMap<_, _>>();
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
    pub(crate) fn start(&mut self, stack: &StackKey) {
        if let Some(lane) = self.0.get_mut(stack).filter(|lane| lane.running.is_none()) {
            lane.running = lane.waiting.take().map(|job| Running {
                job,
                before: BTreeMap::new(),
                submission: None,
            });
        }
    }

    /// The running redeploy of a stack.
    pub(crate) fn running(&self, stack: &StackKey) -> Option<&Running> {
        self.0.get(stack)?.running.as_ref()
    }

    /// The same, to note something about it. What says that a redeploy runs, says so also where its beginning was lost to damage:
    /// what waits then may be what was sent.
    pub(crate) fn running_mut(&mut self, stack: &StackKey) -> Option<&mut Running> {
        self.start(stack);
        self.0.get_mut(stack)?.running.as_mut()
    }

    /// The running redeploy of a stack is over; returns whom it covered.
    pub(crate) fn end(&mut self, stack: &StackKey) -> Vec<DeliveryId> {
        let running = self.0.get_mut(stack).and_then(|lane| lane.running.take());
        running
            .map(|running| running.job.deliveries)
            .unwrap_or_default()
    }

    /// Whom the running redeploy of a stack covers.
    pub(crate) fn covered(&self, stack: &StackKey) -> &[DeliveryId] {
        self.running(stack)
            .map_or(&[], |running| &running.job.deliveries)
    }

    /// Every lane with something in it.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&StackKey, &Lane)> {
        self.0.iter().filter(|(_, lane)| !lane.is_empty())
    }

    /// A lane as it was; redeploys of which no delivery is `known` are dropped.
    pub(crate) fn put(
        &mut self,
        stack: StackKey,
        mut lane: Lane,
        known: impl Fn(&DeliveryId) -> bool,
    ) {
        let keep = |job: &mut Job| {
            job.deliveries.retain(&known);
            !job.deliveries.is_empty()
        };
        if lane
            .running
            .as_mut()
            .is_some_and(|running| !keep(&mut running.job))
        {
            lane.running = None;
        }
        if lane.waiting.as_mut().is_some_and(|job| !keep(job)) {
            lane.waiting = None;
        }
        self.0.insert(stack, lane);
    }
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.running.is_none() && self.waiting.is_none()
    }

    /// The deliveries that something here covers.
    pub(crate) fn covers(&self) -> HashSet<&DeliveryId> {
        let running = self.running.iter().map(|running| &running.job);
        let jobs = running.chain(&self.waiting);
        jobs.flat_map(|job| &job.deliveries).collect()
    }

    /// What runs.
    pub(crate) fn running(&self) -> Option<&Running> {
        self.running.as_ref()
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
