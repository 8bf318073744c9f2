//! All deliveries as a fold over entries: the one place where their state changes, live and (later) after a crash.

use std::collections::{BTreeMap, VecDeque};

use crate::delivery::queue::{Job, Lanes};
use crate::delivery::{Accepted, Delivery, Part, Progress};
use crate::limits;
use crate::request::DeliveryId;
use crate::stack::StackKey;
use crate::stack::outcome::{Outcome, StackReport};

/// Something lasting that happened.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A delivery was accepted.
    Accepted {
        /// What it asks for.
        accepted: Accepted,
        /// When (Unix seconds).
        unix: u64,
    },
    /// The waiting redeploy of a stack began.
    Started(StackKey),
    /// The running redeploy of a stack is over.
    Ended(StackKey, StackReport),
}

/// All deliveries that are open or still remembered, and the lanes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    deliveries: BTreeMap<DeliveryId, Delivery>,
    /// Ended ones, oldest first.
    ended: VecDeque<DeliveryId>,
    lanes: Lanes,
}

impl Ledger {
    /// How many deliveries have not ended.
    pub(crate) fn open(&self) -> usize {
        self.deliveries.len() - self.ended.len()
    }

    /// A delivery that is open or still remembered.
    pub(crate) fn find(&self, id: &DeliveryId) -> Option<&Delivery> {
        self.deliveries.get(id)
    }

    /// A stack whose waiting redeploy can begin.
    pub(crate) fn ready(&self) -> Option<StackKey> {
        self.lanes.ready().next().cloned()
    }

    /// How many stacks' waiting redeploys can begin.
    pub(crate) fn ready_lanes(&self) -> usize {
        self.lanes.ready().count()
    }

    /// The step that the running redeploy of a stack is at; not lasting, so it is no entry.
    pub(crate) fn step(&mut self, stack: &StackKey, step: &str) {
        for id in self.lanes.covered(stack) {
            if let Some(part) = self
                .deliveries
                .get_mut(id)
                .and_then(|delivery| delivery.part(stack))
            {
                part.progress = Progress::Running(step.to_owned());
            }
        }
    }

    /// The fold. Returns the job that a `Started` set going.
    pub(crate) fn apply(&mut self, entry: Entry) -> Option<Job> {
        match entry {
            Entry::Accepted { accepted, unix } => {
                self.accept(accepted, unix);
                None
            }
            Entry::Started(stack) => {
                let job = self.lanes.start(&stack);
                self.step(&stack, "starting");
                job
            }
            Entry::Ended(stack, report) => {
                for id in self.lanes.end(&stack) {
                    self.end(&id, &stack, report.clone());
                }
                None
            }
        }
    }

    fn accept(&mut self, accepted: Accepted, unix: u64) {
        let part = |asked: &super::Asked| Part {
            stack: asked.stack.clone(),
            name: asked.name.clone(),
            progress: Progress::Waiting,
        };
        let parts = accepted.orders.iter().map(part).collect();
        let delivery = Delivery {
            id: accepted.id.clone(),
            hook: accepted.hook,
            strict: accepted.strict,
            parts,
        };
        self.deliveries.insert(accepted.id.clone(), delivery);
        let time = accepted.time.unwrap_or(unix);
        for asked in accepted.orders {
            for overtaken in self
                .lanes
                .join(&asked.stack, &accepted.id, asked.order, time)
            {
                let report = skipped(&asked.stack, &asked.name, overtaken.words());
                self.end(&overtaken.delivery, &asked.stack, report);
            }
        }
    }

    fn end(&mut self, id: &DeliveryId, stack: &StackKey, report: StackReport) {
        let Some(delivery) = self.deliveries.get_mut(id) else {
            return;
        };
        // A delivery that lost two variables is told once.
        match delivery.part(stack) {
            Some(part) if !matches!(part.progress, Progress::Ended(_)) => {
                part.progress = Progress::Ended(report)
            }
            _ => return,
        }
        if delivery.has_ended() {
            self.ended.push_back(id.clone());
        }
        while self.ended.len() > limits::ENDED_DELIVERIES {
            if let Some(oldest) = self.ended.pop_front() {
                self.deliveries.remove(&oldest);
            }
        }
    }
}

impl Delivery {
    fn part(&mut self, stack: &StackKey) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.stack == *stack)
    }
}

fn skipped(stack: &StackKey, name: &str, message: String) -> StackReport {
    StackReport {
        stack: stack.to_string(),
        name: name.to_owned(),
        environment: None,
        outcome: Outcome::Skipped,
        verified: None,
        message,
        seconds: 0.0,
        services: Vec::new(),
        fault: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::delivery::{Asked, Status};
    use crate::stack::order::{Cause, Order, Selection};

    fn key(text: &str) -> StackKey {
        StackKey::parse(text).unwrap()
    }

    fn id(number: u8) -> DeliveryId {
        DeliveryId::new([number; 16])
    }

    fn report(outcome: Outcome) -> StackReport {
        StackReport {
            outcome,
            ..skipped(&key("app"), "app-stack", "over".to_owned())
        }
    }

    fn accept(ledger: &mut Ledger, number: u8, time: Option<u64>, set: &[(&str, &str)]) {
        let set: BTreeMap<String, String> = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let order = Order {
            images: Selection::All,
            set,
            force: false,
            cause: Cause::Asked,
        };
        let asked = Asked {
            stack: key("app"),
            name: "app-stack".to_owned(),
            order,
        };
        let wait = Duration::ZERO;
        let (id, hook) = (id(number), "update".to_owned());
        let accepted = Accepted {
            id,
            hook,
            strict: true,
            wait,
            time,
            orders: vec![asked],
        };
        ledger.apply(Entry::Accepted {
            accepted,
            unix: 1000 + u64::from(number),
        });
    }

    fn status(ledger: &Ledger, number: u8) -> Status {
        ledger.find(&id(number)).unwrap().status()
    }

    #[test]
    fn a_burst_makes_two_redeploys_and_everybody_gets_the_outcome_of_the_one_that_covered_it() {
        let mut ledger = Ledger::default();
        accept(&mut ledger, 0, None, &[]);
        let first = ledger.apply(Entry::Started(key("app"))).unwrap();
        (1..100).for_each(|number| accept(&mut ledger, number, None, &[]));
        assert_eq!(
            (first.deliveries.len(), ledger.ready(), ledger.open()),
            (1, None, 100)
        );
        ledger.apply(Entry::Ended(key("app"), report(Outcome::Failed)));
        assert_eq!(
            (status(&ledger, 0), status(&ledger, 1)),
            (Status::Failed, Status::Queued)
        );
        let second = ledger
            .apply(Entry::Started(ledger.ready().unwrap()))
            .unwrap();
        assert_eq!(
            (second.deliveries.len(), status(&ledger, 99)),
            (99, Status::Running)
        );
        ledger.apply(Entry::Ended(key("app"), report(Outcome::Updated)));
        assert!((1..100).all(|number| status(&ledger, number) == Status::Succeeded));
        assert_eq!(
            (status(&ledger, 0), ledger.ready(), ledger.open()),
            (Status::Failed, None, 0)
        );
    }

    #[test]
    fn a_running_redeploy_keeps_its_lane() {
        let mut ledger = Ledger::default();
        accept(&mut ledger, 0, None, &[]);
        ledger.apply(Entry::Started(key("app")));
        accept(&mut ledger, 1, None, &[]);
        assert!(ledger.apply(Entry::Started(key("app"))).is_none());
        assert_eq!(status(&ledger, 1), Status::Queued);
    }

    #[test]
    fn the_newest_variable_wins_by_signed_time_and_the_loser_is_told() {
        let mut ledger = Ledger::default();
        accept(&mut ledger, 1, Some(50), &[("TAG", "new")]);
        accept(&mut ledger, 2, Some(40), &[("TAG", "late")]);
        accept(&mut ledger, 3, Some(50), &[("OTHER", "x"), ("TAG", "new")]);
        accept(&mut ledger, 4, Some(60), &[("TAG", "newest")]);
        let told = |number| {
            ledger
                .find(&id(number))
                .unwrap()
                .reports()
                .map(|report| report.message.clone())
                .next()
        };
        let superseded = |by: u8| Some(format!("superseded by delivery {}, which set TAG", id(by)));
        assert_eq!(told(1), superseded(4));
        assert_eq!(told(2), superseded(1));
        assert_eq!(told(3), superseded(4));
        let job = ledger.lanes.start(&key("app")).unwrap();
        let set: Vec<_> = job
            .order
            .set
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(set, ["OTHER=x", "TAG=newest"]);
        assert_eq!(job.deliveries, [id(4)]);
    }

    #[test]
    fn ended_deliveries_are_forgotten_oldest_first() {
        let mut ledger = Ledger::default();
        for number in 0..=u16::try_from(limits::ENDED_DELIVERIES).unwrap() {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&number.to_be_bytes());
            let accepted = Accepted {
                id: DeliveryId::new(bytes),
                hook: "update".to_owned(),
                strict: true,
                wait: Duration::ZERO,
                time: None,
                orders: vec![Asked {
                    stack: key("app"),
                    name: "app-stack".to_owned(),
                    order: Order::default(),
                }],
            };
            ledger.apply(Entry::Accepted { accepted, unix: 1 });
            ledger.apply(Entry::Started(key("app")));
            ledger.apply(Entry::Ended(key("app"), report(Outcome::Unchanged)));
        }
        assert!(ledger.find(&DeliveryId::new([0; 16])).is_none());
        assert_eq!(ledger.ended.len(), limits::ENDED_DELIVERIES);
        assert_eq!(ledger.deliveries.len(), limits::ENDED_DELIVERIES);
    }
}
