//! One queue per stack: at most one redeploy runs and one waits; later deliveries join the waiting one.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delivery::DeliveryId;
use crate::image::Reference;
use crate::stack::StackKey;
use crate::stack::order::Order;

/// The queues of all stacks.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct StackQueues(BTreeMap<StackKey, StackQueue>);

/// The running and the waiting redeploy of a stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StackQueue {
    running: Option<RunningRedeploy>,
    waiting: Option<QueuedRedeploy>,
}

/// A running redeploy, with everything that must survive a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunningRedeploy {
    /// The job that is carried out.
    pub(crate) job: QueuedRedeploy,
    /// The image id that each reference had before the first pull for this redeploy.
    #[serde(default)]
    pub(crate) before: BTreeMap<Reference, Option<String>>,
    /// The submission that was sent, in the format of the redeploy; it is never sent again.
    #[serde(default)]
    pub(crate) submission: Option<Value>,
    /// Servers that ended unexpectedly during this redeploy since its last progress.
    #[serde(default)]
    unclean_ends: u32,
    /// It was started with nothing else running.
    #[serde(default)]
    runs_alone: bool,
    /// The furthest point it ever reached.
    #[serde(default)]
    progress: Milestone,
}

/// The furthest point that a running redeploy ever reached; only reaching a new one resets the count of unclean ends, because a
/// redeploy that is tried again repeats the earlier ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Milestone {
    #[default]
    Started,
    Pulled,
    Submitted,
}

/// After this many unclean ends a redeploy runs last and alone.
const ENDS_UNTIL_ALONE: u32 = 3;
/// After this many unclean ends, the last ones while it ran alone, a redeploy is given up.
const ENDS_UNTIL_GIVEN_UP: u32 = 5;

impl RunningRedeploy {
    /// Notes the images before a pull. The first attempt counts: a later one sees what that one pulled.
    pub(crate) fn pulling(&mut self, before: BTreeMap<Reference, Option<String>>) {
        for (reference, id) in before {
            self.before.entry(reference).or_insert(id);
        }
        self.reached(Milestone::Pulled);
    }

    /// Notes what is about to be sent.
    pub(crate) fn submitting(&mut self, submission: Value) {
        self.submission = Some(submission);
        self.reached(Milestone::Submitted);
    }

    /// Counts an unclean end of a server. One that must run alone is only counted if it did.
    fn count_unclean_end(&mut self) {
        if self.runs_alone || !self.must_run_alone() {
            self.unclean_ends += 1;
        }
    }

    /// Returns true if servers ended during it so often that it must run alone.
    pub(crate) fn must_run_alone(&self) -> bool {
        self.unclean_ends >= ENDS_UNTIL_ALONE
    }

    /// Returns the number of unclean ends if there were too many.
    pub(crate) fn is_given_up(&self) -> Option<u32> {
        (self.unclean_ends >= ENDS_UNTIL_GIVEN_UP).then_some(self.unclean_ends)
    }

    fn reached(&mut self, progress: Milestone) {
        if progress > self.progress {
            self.progress = progress;
            self.unclean_ends = 0;
        }
    }
}

/// One redeploy, and the deliveries that it covers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueuedRedeploy {
    /// The merged order of all its deliveries.
    pub(crate) order: Order,
    /// The deliveries that get its outcome.
    pub(crate) deliveries: Vec<DeliveryId>,
    setters: BTreeMap<String, Setters>,
    joined: u64,
}

/// The deliveries that set a variable to the value that will be deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Setters {
    newest: Rank,
    deliveries: Vec<DeliveryId>,
}

/// Order of two values: by signed time, then by arrival.
type Rank = (u64, u64);

/// A delivery whose variable another one replaced before it was deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superseded {
    /// The delivery whose value is lost.
    pub(crate) delivery: DeliveryId,
    /// The delivery whose value is deployed.
    pub(crate) by: DeliveryId,
    pub(crate) variable: String,
}

impl Superseded {
    /// Formats the message in the superseded delivery's reply.
    pub(crate) fn message(&self) -> String {
        format!(
            "superseded by delivery {}, which set {}",
            self.by, self.variable
        )
    }
}

impl StackQueues {
    /// Queues an order; `time` is the delivery's signed time, or that of its arrival. Returns the superseded
    /// deliveries, which may include this one.
    pub(crate) fn join(
        &mut self,
        stack: &StackKey,
        id: &DeliveryId,
        order: Order,
        time: u64,
    ) -> Vec<Superseded> {
        let queue = self.0.entry(stack.clone()).or_default();
        match &mut queue.waiting {
            Some(job) => job.join(id, order, time),
            None => {
                let own = Setters {
                    newest: (time, 0),
                    deliveries: vec![id.clone()],
                };
                let setters = order.set.keys().map(|name| (name.clone(), own.clone()));
                queue.waiting = Some(QueuedRedeploy {
                    setters: setters.collect(),
                    order,
                    deliveries: vec![id.clone()],
                    joined: 1,
                });
                Vec::new()
            }
        }
    }

    /// Returns the stacks with a waiting and without a running redeploy.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &StackKey> {
        let ready = |queue: &StackQueue| queue.running.is_none() && queue.waiting.is_some();
        self.0
            .iter()
            .filter(move |(_, queue)| ready(queue))
            .map(|(stack, _)| stack)
    }

    /// Makes the waiting redeploy of a stack the running one.
    pub(crate) fn start(&mut self, stack: &StackKey) {
        if let Some(queue) = self
            .0
            .get_mut(stack)
            .filter(|queue| queue.running.is_none())
        {
            queue.running = queue.waiting.take().map(|job| RunningRedeploy {
                job,
                before: BTreeMap::new(),
                submission: None,
                unclean_ends: 0,
                runs_alone: false,
                progress: Milestone::Started,
            });
        }
    }

    /// Returns the running redeploy of a stack.
    pub(crate) fn running(&self, stack: &StackKey) -> Option<&RunningRedeploy> {
        self.0.get(stack)?.running.as_ref()
    }

    /// Returns the running redeploy for changes. If the `Started` entry was lost to corruption, the entry at hand proves that it ran, so
    /// the waiting one becomes the running one.
    pub(crate) fn running_mut(&mut self, stack: &StackKey) -> Option<&mut RunningRedeploy> {
        self.start(stack);
        self.0.get_mut(stack)?.running.as_mut()
    }

    /// Ends the running redeploy of a stack and returns its deliveries.
    pub(crate) fn end(&mut self, stack: &StackKey) -> Vec<DeliveryId> {
        let running = self.0.get_mut(stack).and_then(|queue| queue.running.take());
        running.map_or_else(Vec::new, |running| running.job.deliveries)
    }

    /// Returns the deliveries of the running redeploy of a stack.
    pub(crate) fn covered(&self, stack: &StackKey) -> &[DeliveryId] {
        self.running(stack)
            .map_or(&[], |running| &running.job.deliveries)
    }

    /// Counts an unclean end for every running redeploy when a server starts, unless the one before stopped in order.
    pub(crate) fn resume(&mut self, was_stopped: bool) {
        let running = self
            .0
            .values_mut()
            .filter_map(|queue| queue.running.as_mut());
        for running in running {
            if !was_stopped {
                running.count_unclean_end();
            }
            running.runs_alone = false;
        }
    }

    /// Notes that the running redeploy of a stack starts with nothing else running.
    pub(crate) fn run_alone(&mut self, stack: &StackKey) {
        if let Some(running) = self.running_mut(stack) {
            running.runs_alone = true;
        }
    }

    /// Returns the queues that are not empty.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&StackKey, &StackQueue)> {
        self.0.iter().filter(|(_, queue)| !queue.is_empty())
    }

    /// Restores a queue. Redeploys without a `known` delivery are dropped.
    pub(crate) fn put(
        &mut self,
        stack: StackKey,
        mut queue: StackQueue,
        known: impl Fn(&DeliveryId) -> bool,
    ) {
        let keep = |job: &mut QueuedRedeploy| {
            job.deliveries.retain(&known);
            !job.deliveries.is_empty()
        };
        queue.running.take_if(|running| !keep(&mut running.job));
        queue.waiting.take_if(|job| !keep(job));
        self.0.insert(stack, queue);
    }
}

impl StackQueue {
    fn is_empty(&self) -> bool {
        self.running.is_none() && self.waiting.is_none()
    }

    /// Returns the deliveries of both redeploys.
    pub(crate) fn covers(&self) -> HashSet<&DeliveryId> {
        let running = self.running.iter().map(|running| &running.job);
        let jobs = running.chain(&self.waiting);
        jobs.flat_map(|job| &job.deliveries).collect()
    }

    /// Returns the running redeploy.
    pub(crate) fn running(&self) -> Option<&RunningRedeploy> {
        self.running.as_ref()
    }
}

impl QueuedRedeploy {
    fn join(&mut self, id: &DeliveryId, mut order: Order, time: u64) -> Vec<Superseded> {
        let rank = (time, self.joined);
        self.joined += 1;
        let mut superseded = Vec::new();
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
            let lost = |delivery: &DeliveryId, by: &DeliveryId| Superseded {
                delivery: delivery.clone(),
                by: by.clone(),
                variable: variable.clone(),
            };
            if self.order.set.get(&variable) == Some(&value) {
                setters.newest = setters.newest.max(rank);
                setters.deliveries.push(id.clone());
            } else if setters.newest > rank {
                superseded.extend(setters.deliveries.last().map(|by| lost(id, by)));
            } else {
                superseded.extend(setters.deliveries.iter().map(|delivery| lost(delivery, id)));
                *setters = own;
                self.order.set.insert(variable, value);
            }
        }
        self.order.merge(order);
        self.deliveries.push(id.clone());
        self.deliveries
            .retain(|delivery| !superseded.iter().any(|lost| lost.delivery == *delivery));
        superseded
    }
}
