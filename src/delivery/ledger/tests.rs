//! Deliveries as the result of entries.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::delivery::{PartProgress, RequestedRedeploy};
use crate::image::Reference;
use crate::random::Random;
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
        ..super::report(&key("app"), "app-stack", outcome, "over".to_owned())
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
        staff: false,
        rollback: false,
    };
    let asked = RequestedRedeploy {
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
        replay: None,
        signed_at: None,
        duplicate: None,
        event: String::new(),
    };
    ledger.apply(Entry::Accepted {
        accepted,
        unix: 1000 + u64::from(number),
    });
}

fn ready(ledger: &Ledger) -> Option<StackKey> {
    ledger.ready().next().cloned()
}

fn status(ledger: &Ledger, number: u8) -> DeliveryStatus {
    ledger.find(&id(number)).unwrap().status()
}

impl Ledger {
    /// Checks the invariants that hold after every entry.
    #[track_caller]
    pub(crate) fn check(&self) {
        for delivery in self.deliveries.values() {
            assert_eq!(
                delivery.ended.is_some(),
                delivery.has_ended(),
                "{delivery:?}"
            );
            let covered = |part: &Part| {
                let queues = self.queues.all().filter(|(stack, _)| **stack == part.stack);
                queues
                    .filter(|(_, queue)| queue.covers().contains(&delivery.id))
                    .count()
            };
            for part in &delivery.parts {
                let expected = usize::from(!part.has_ended());
                assert_eq!(
                    covered(part),
                    expected,
                    "an open part is covered once: {delivery:?}"
                );
            }
        }
        let ended = self
            .deliveries
            .values()
            .filter(|delivery| delivery.ended.is_some());
        assert_eq!(ended.count(), self.ended.len());
        for (_, queue) in self.queues.all() {
            let covered = queue.covers();
            assert!(
                covered
                    .iter()
                    .all(|id| self.deliveries[*id].ended.is_none())
            );
        }
        assert!(
            self.duplicates
                .values()
                .all(|id| self.deliveries.contains_key(id))
        );
        for (hook, (open, ended)) in &self.per_hook {
            let own = || self.deliveries.values().filter(|one| one.hook == *hook);
            assert_eq!(own().filter(|one| one.ended.is_none()).count(), *open);
            assert_eq!(own().filter(|one| one.ended.is_some()).count(), *ended);
        }
    }

    /// Returns true if both are equal, apart from steps, which are not journalled, and empty queues.
    pub(crate) fn same(&self, other: &Ledger) -> bool {
        let mut states = [self.state(), other.state()];
        for state in &mut states {
            for entry in state {
                if let Entry::Delivery(delivery) = entry {
                    for part in &mut delivery.parts {
                        if let PartProgress::Running(step) = &mut part.progress {
                            step.clear();
                        }
                    }
                }
            }
        }
        states[0] == states[1]
            && (&self.replays, &self.duplicates) == (&other.replays, &other.duplicates)
    }
}

fn started() -> Entry {
    Entry::Started(key("app"))
}

fn ended(outcome: Outcome) -> Entry {
    Entry::Ended {
        stack: key("app"),
        report: report(outcome),
        unix: 2000,
    }
}

#[test]
fn a_burst_makes_two_redeploys_and_each_delivery_gets_the_outcome_of_its_own() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, 0, None, &[]);
    ledger.apply(started());
    (1..100).for_each(|number| accept(&mut ledger, number, None, &[]));
    let covered = |ledger: &Ledger| ledger.running(&key("app")).unwrap().job.deliveries.len();
    assert_eq!(
        (covered(&ledger), ready(&ledger), ledger.open()),
        (1, None, 100)
    );
    ledger.apply(ended(Outcome::Failed));
    assert_eq!(
        (status(&ledger, 0), status(&ledger, 1)),
        (DeliveryStatus::Failed, DeliveryStatus::Queued)
    );
    assert_eq!(ready(&ledger), Some(key("app")));
    ledger.apply(started());
    assert_eq!(
        (covered(&ledger), status(&ledger, 99)),
        (99, DeliveryStatus::Running)
    );
    ledger.apply(ended(Outcome::Updated));
    assert!((1..100).all(|number| status(&ledger, number) == DeliveryStatus::Succeeded));
    assert_eq!(
        (status(&ledger, 0), ready(&ledger), ledger.open()),
        (DeliveryStatus::Failed, None, 0)
    );
    ledger.check();
}

#[test]
fn a_running_redeploy_keeps_its_deliveries() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, 0, None, &[]);
    ledger.apply(started());
    accept(&mut ledger, 1, None, &[]);
    ledger.apply(started());
    assert_eq!(ledger.running(&key("app")).unwrap().job.deliveries, [id(0)]);
    assert_eq!(status(&ledger, 1), DeliveryStatus::Queued);
}

/// An image (none: all), force, and the value of `TAG`.
type Wish = (Option<u64>, bool, Option<u64>);

/// Random orders of deliveries, starts and ends on three stacks.
#[test]
fn the_latest_values_win_in_any_order_with_at_most_two_redeploys() {
    let image = |number: u64| {
        let reference = Reference::parse(&format!("example.org/web{number}:1")).unwrap();
        crate::stack::order::ImageFilter::Reference(reference)
    };
    for seed in 1..=100 {
        let mut random = Random::new(seed);
        let mut throw = |sides: u64| random.next() % sides;
        let mut ledger = Ledger::default();
        // What every delivery asked of every stack.
        let mut asked: BTreeMap<(DeliveryId, StackKey), Wish> = BTreeMap::new();
        let mut runs: BTreeMap<StackKey, usize> = BTreeMap::new();
        let stacks = ["a", "b", "c"].map(key);
        let mut number = 0_u64;
        for round in 0..40 {
            let stack = stacks[usize::try_from(throw(3)).unwrap()].clone();
            match throw(4) {
                0 | 1 => {
                    number += 1;
                    let mut bytes = [0; 16];
                    bytes[8..].copy_from_slice(&number.to_be_bytes());
                    let id = DeliveryId::new(bytes);
                    let both = throw(3) == 0;
                    let mut orders = Vec::new();
                    for stack in stacks.iter().filter(|one| both || **one == stack) {
                        let one = (throw(4) != 0).then(|| throw(5));
                        let force = throw(6) == 0;
                        let tag = (throw(3) == 0).then(|| throw(3));
                        asked.insert((id.clone(), stack.clone()), (one, force, tag));
                        let order = Order {
                            images: one
                                .map_or(Selection::All, |one| Selection::Only(vec![image(one)])),
                            set: tag
                                .iter()
                                .map(|tag| ("TAG".to_owned(), tag.to_string()))
                                .collect(),
                            force,
                            cause: Cause::Image,
                            staff: false,
                            rollback: false,
                        };
                        orders.push(RequestedRedeploy {
                            stack: stack.clone(),
                            name: stack.to_string(),
                            order,
                        });
                    }
                    ledger.apply(Entry::Accepted {
                        accepted: Accepted {
                            id,
                            hook: "update".to_owned(),
                            strict: true,
                            wait: Duration::ZERO,
                            time: None,
                            orders,
                            replay: None,
                            signed_at: None,
                            duplicate: None,
                            event: String::new(),
                        },
                        unix: 1000 + round,
                    });
                }
                2 => {
                    if let Some(stack) = ready(&ledger) {
                        let waited: Vec<DeliveryId> = ledger
                            .queues
                            .all()
                            .find(|(one, _)| **one == stack)
                            .unwrap()
                            .1
                            .covers()
                            .into_iter()
                            .cloned()
                            .collect();
                        ledger.apply(Entry::Started(stack.clone()));
                        *runs.entry(stack.clone()).or_default() += 1;
                        let running = ledger.running(&stack).unwrap();
                        let covered: Vec<_> = running
                            .job
                            .deliveries
                            .iter()
                            .map(|id| &asked[&(id.clone(), stack.clone())])
                            .collect();
                        assert_eq!(running.job.deliveries.len(), waited.len(), "seed {seed}");
                        // Everything that a covered delivery asked for is in the order.
                        for (one, force, tag) in covered {
                            match (&running.job.order.images, one) {
                                (Selection::All, _) => {}
                                (Selection::Only(named), Some(one)) => {
                                    assert!(named.contains(&image(*one)), "seed {seed}");
                                }
                                (Selection::Only(_), None) => panic!("all beats any, seed {seed}"),
                            }
                            assert!(!force || running.job.order.force, "seed {seed}");
                            if let Some(tag) = tag {
                                let deployed = &running.job.order.set["TAG"];
                                assert_eq!(
                                    *deployed,
                                    tag.to_string(),
                                    "a covered delivery got its value, seed {seed}"
                                );
                            }
                        }
                    }
                }
                _ => {
                    let running = ledger.all_running();
                    if let Some(stack) = running.first().filter(|_| !running.is_empty()) {
                        let outcome = if throw(2) == 0 {
                            Outcome::Updated
                        } else {
                            Outcome::Failed
                        };
                        let report = super::report(stack, stack.as_str(), outcome, String::new());
                        ledger.apply(Entry::Ended {
                            stack: stack.clone(),
                            report,
                            unix: 1000 + round,
                        });
                    }
                }
            }
            ledger.check();
        }
        // One more redeploy per queue covers everything that is still open.
        for _ in 0..2 {
            for stack in stacks.clone() {
                let report = super::report(&stack, stack.as_str(), Outcome::Updated, String::new());
                ledger.apply(Entry::Ended {
                    stack: stack.clone(),
                    report,
                    unix: 2000,
                });
                ledger.apply(Entry::Started(stack));
            }
        }
        assert_eq!(ledger.open(), 0, "seed {seed}");
    }
}

#[test]
fn recognises_replays_and_duplicates() {
    let print = |text: &str| Some(Fingerprint::of(&[text.as_bytes()]));
    let accepted =
        |number: u8, replay: Option<Fingerprint>, duplicate: Option<Fingerprint>| Accepted {
            id: id(number),
            hook: "update".to_owned(),
            strict: false,
            wait: Duration::ZERO,
            time: None,
            orders: vec![RequestedRedeploy {
                stack: key("app"),
                name: "app-stack".to_owned(),
                order: Order::default(),
            }],
            replay,
            signed_at: None,
            duplicate,
            event: String::new(),
        };
    #[track_caller]
    fn check(ledger: &Ledger, accepted: &Accepted, unix: u64, expected: Acceptance) {
        assert_eq!(ledger.recognize(accepted, unix), expected);
    }
    let first = accepted(1, print("signed"), print("id"));
    let replay = accepted(2, print("signed"), None);
    let duplicate = accepted(3, print("signed later"), print("id"));
    let other_body = accepted(4, print("other"), print("id, other body"));
    let of_first = || Acceptance::Repeated(id(1));
    for (outcome, duplicate_then) in [
        (Outcome::Updated, of_first()),
        (Outcome::Unchanged, of_first()),
        (Outcome::Failed, Acceptance::New),
        (Outcome::Unknown, Acceptance::New),
        (Outcome::Skipped, Acceptance::New),
    ] {
        let mut ledger = Ledger::default();
        check(&ledger, &first, 2000, Acceptance::New);
        ledger.apply(Entry::Accepted {
            accepted: first.clone(),
            unix: 2000,
        });
        for open in [None, Some(started())] {
            open.into_iter().for_each(|entry| ledger.apply(entry));
            check(&ledger, &replay, 2000, of_first());
            check(&ledger, &duplicate, 2000, of_first());
            check(&ledger, &other_body, 2000, Acceptance::New);
        }
        ledger.apply(ended(outcome));
        check(&ledger, &replay, 2000, of_first());
        check(&ledger, &duplicate, 2000 + 900, duplicate_then);
        check(&ledger, &duplicate, 2000 + 901, Acceptance::New);
        ledger.forget(0);
        check(&ledger, &replay, 2000 + 600, Acceptance::Forgotten);
        check(&ledger, &replay, 2000 + 601, Acceptance::New);
        check(&ledger, &duplicate, 2000, Acceptance::New);
    }
}

#[test]
fn a_lost_end_is_unknown_and_a_submission_is_not_sent_again() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, 1, None, &[]);
    let mut state = ledger.state();
    state.retain(|entry| !matches!(entry, Entry::Queue { .. }));
    let mut damaged = Ledger::default();
    state.into_iter().for_each(|entry| damaged.apply(entry));
    assert_eq!(damaged.fail_orphaned(3000), 1);
    assert_eq!(status(&damaged, 1), DeliveryStatus::Unknown);
    damaged.check();
    // Its start was lost, its submission was not.
    ledger.apply(Entry::Submitting {
        stack: key("app"),
        submission: serde_json::Value::Null,
    });
    assert_eq!(ready(&ledger), None);
    assert!(ledger.running(&key("app")).unwrap().submission.is_some());
}

#[test]
fn keeps_the_last_failure_of_a_stack() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, 1, None, &[]);
    ledger.apply(started());
    ledger.apply(ended(Outcome::Failed));
    for _ in 0..300 {
        accept(&mut ledger, 2, None, &[]);
        ledger.apply(started());
        ledger.apply(ended(Outcome::Updated));
    }
    let failures: Vec<_> = ledger.failures().map(|failure| failure.unix).collect();
    assert_eq!(failures, [2000]);
    assert!(ledger.history().count() <= limits::HISTORY);
}

#[test]
fn the_newest_variable_wins_by_signed_time_and_the_other_is_skipped() {
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
    ledger.apply(started());
    let job = &ledger.running(&key("app")).unwrap().job;
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
            orders: vec![RequestedRedeploy {
                stack: key("app"),
                name: "app-stack".to_owned(),
                order: Order::default(),
            }],
            replay: None,
            signed_at: None,
            duplicate: None,
            event: String::new(),
        };
        ledger.apply(Entry::Accepted { accepted, unix: 1 });
        ledger.apply(started());
        ledger.apply(ended(Outcome::Unchanged));
    }
    assert!(ledger.find(&DeliveryId::new([0; 16])).is_none());
    assert_eq!(ledger.ended.len(), limits::ENDED_DELIVERIES);
    assert_eq!(ledger.deliveries.len(), limits::ENDED_DELIVERIES);
}

#[test]
fn the_state_restores_failures_and_an_ordinary_stop() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, 1, None, &[]);
    ledger.apply(started());
    ledger.apply(ended(Outcome::Failed));
    ledger.apply(Entry::Stopped);
    let mut restored = Ledger::default();
    for entry in ledger.state() {
        restored.apply(entry);
    }
    assert_eq!(ledger.failures.len(), 1);
    assert_eq!(restored.failures, ledger.failures);
    assert!(restored.was_stopped);
}

/// Adds a delivery of a hook that has ended.
fn end_one(ledger: &mut Ledger, number: u32, hook: &str) -> DeliveryId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    let id = DeliveryId::new(bytes);
    ledger.apply(Entry::Delivery(Delivery {
        id: id.clone(),
        hook: hook.to_owned(),
        strict: true,
        wait: Duration::ZERO,
        at: 2000,
        ended: None,
        duplicate: None,
        event: String::new(),
        parts: vec![Part {
            stack: key("app"),
            name: "app".to_owned(),
            progress: PartProgress::Waiting,
        }],
    }));
    ledger.end(&id, &key("app"), report(Outcome::Updated), 2000);
    id
}

/// The state is what a rewritten journal holds and what memory is used for.
#[test]
fn the_state_grows_by_one_entry_with_each_delivery_of_two_hooks_up_to_a_limit() {
    let mut ledger = Ledger::default();
    let limit = limits::ENDED_DELIVERIES;
    for count in 1..=2 * limit {
        let number = u32::try_from(count).unwrap();
        let hook = ["first", "second"][count % 2];
        end_one(&mut ledger, number, hook);
        // Building the state takes time, so it is counted at a few places.
        if count % (limit / 4) <= 1 {
            assert_eq!(ledger.state().len(), count.min(limit), "{count} deliveries");
            let tables = [ledger.deliveries.len(), ledger.ended.len()];
            assert_eq!(tables, [count.min(limit); 2], "{count} deliveries");
            assert_eq!(ledger.per_hook.len(), count.min(2));
        }
    }
    ledger.check();
}

#[test]
fn one_hook_does_not_push_out_the_deliveries_of_others() {
    let mut ledger = Ledger::default();
    let first = end_one(&mut ledger, 0, "quiet");
    let limit = u32::try_from(limits::ENDED_DELIVERIES).unwrap();
    for number in 1..=2 * limit {
        end_one(&mut ledger, number, "noisy");
    }
    assert!(ledger.find(&first).is_some());
    assert_eq!(ledger.ended.len(), limits::ENDED_DELIVERIES);
}

#[test]
fn a_success_in_the_future_does_not_answer_duplicates_for_ever() {
    let mut ledger = Ledger::default();
    let ahead = 2000 + 365 * 86_400;
    accept(&mut ledger, 1, None, &[]);
    ledger.apply(started());
    ledger.apply(Entry::Ended {
        stack: key("app"),
        report: report(Outcome::Updated),
        unix: ahead,
    });
    assert_eq!(ledger.correct_clock(ahead), 0);
    assert_eq!(ledger.correct_clock(3000), 1);
    assert_eq!(ledger.find(&id(1)).unwrap().ended, Some(3000));
}

#[test]
fn only_new_progress_resets_the_count_of_unclean_ends() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, 1, None, &[]);
    ledger.apply(started());
    let app = key("app");
    let alone = |ledger: &Ledger| ledger.running(&key("app")).unwrap().must_run_alone();
    let pulling = || Entry::Pulling {
        stack: key("app"),
        before: Default::default(),
    };
    for _ in 0..2 {
        ledger.apply(Entry::Resumed);
    }
    ledger.apply(pulling());
    for _ in 0..3 {
        assert!(!alone(&ledger));
        ledger.apply(pulling());
        ledger.apply(Entry::Resumed);
    }
    assert!(alone(&ledger));
    // Counting continues only if it ran alone, and the count is kept when the journal is rewritten.
    ledger.apply(Entry::Resumed);
    ledger.apply(Entry::RunsAlone(app.clone()));
    let mut copy = Ledger::default();
    ledger
        .state()
        .into_iter()
        .for_each(|entry| copy.apply(entry));
    for ledger in [&mut ledger, &mut copy] {
        ledger.apply(Entry::Resumed);
        assert_eq!(ledger.running(&app).unwrap().is_given_up(), None);
        ledger.apply(Entry::RunsAlone(app.clone()));
        ledger.apply(Entry::Stopped);
        ledger.apply(Entry::Resumed);
        assert_eq!(ledger.running(&app).unwrap().is_given_up(), None);
        ledger.apply(Entry::RunsAlone(app.clone()));
        ledger.apply(Entry::Resumed);
        assert_eq!(ledger.running(&app).unwrap().is_given_up(), Some(5));
    }
}
