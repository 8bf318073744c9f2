//! A crash at every point of a redeploy: an observer panics there, and a second attempt knows what the first one stored.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fake::{Behaviour, Era, World};
use crate::portainer::StackId;
use crate::redeploy::bench::{Bench, FILE, GOOD};
use crate::redeploy::record::Memory as _;
use crate::redeploy::{self, Images, NotWritten, Observer, Step, Submission};
use crate::stack::order::Order;
use crate::stack::outcome::{Outcome, StackReport};

/// Stores what a journal stores of one redeploy, and panics at a given point.
#[derive(Default)]
struct CrashingJournal {
    crash_at: usize,
    seen: AtomicUsize,
    before: Mutex<Images>,
    submission: Mutex<Option<Submission>>,
}

impl CrashingJournal {
    fn point(&self) {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if number == self.crash_at {
            // Without a word on stderr, as a crash.
            resume_unwind(Box::new("crash"));
        }
    }
}

impl Observer for CrashingJournal {
    fn step(&self, _: &Step) {
        self.point();
    }

    fn pulling(&self, before: &Images) -> Result<(), NotWritten> {
        self.point();
        let mut kept = self.before.lock().unwrap();
        for (reference, id) in before {
            kept.entry(reference.clone()).or_insert(id.clone());
        }
        drop(kept);
        self.point();
        Ok(())
    }

    fn submitting(&self, submission: &Submission) -> Result<(), NotWritten> {
        self.point();
        *self.submission.lock().unwrap() = Some(submission.clone());
        self.point();
        Ok(())
    }

    fn not_sent(&self) {
        *self.submission.lock().unwrap() = None;
    }

    fn earlier(&self) -> Images {
        self.before.lock().unwrap().clone()
    }
}

/// Runs until the crash, and then as a new process would.
fn crash_and_go_on(bench: &Bench, crash_at: usize) -> (bool, CrashingJournal, StackReport) {
    let first = CrashingJournal {
        crash_at,
        ..CrashingJournal::default()
    };
    let run = || redeploy::run(&bench.context(&first), &bench.stack, &Order::default());
    if let Ok(report) = catch_unwind(AssertUnwindSafe(run)) {
        return (false, first, report);
    }
    let second = CrashingJournal {
        before: Mutex::new(first.earlier()),
        submission: Mutex::new(first.submission.lock().unwrap().clone()),
        ..CrashingJournal::default()
    };
    let submission = second.submission.lock().unwrap().clone();
    // As the journal does it: what was sent is serialised in between.
    let submission =
        submission.map(|one| serde_json::from_value(serde_json::to_value(one).unwrap()).unwrap());
    let context = bench.context(&second);
    let report = match submission {
        Some(submission) => redeploy::resume(&context, &bench.stack, submission),
        None => redeploy::run(&context, &bench.stack, &Order::default()),
    };
    (true, second, report)
}

#[test]
fn a_good_update_is_sent_once_wherever_it_is_cut_short() {
    for era in [Era::A, Era::D] {
        let mut crashes = 0;
        for crash_at in 1.. {
            let bench = Bench::new(era);
            let old = bench.images()["web"].clone();
            let new = bench
                .fake
                .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
            let (crashed, journal, report) = crash_and_go_on(&bench, crash_at);
            let puts = bench.fake.puts().len();
            assert!(puts <= 1, "{era:?} {crash_at}: sent twice");
            match puts {
                1 => {
                    assert_eq!(
                        report.outcome,
                        Outcome::Updated,
                        "{era:?} {crash_at} {report:?}"
                    );
                    assert_eq!(bench.images()["web"], new);
                    // The rollback restores what ran before the first attempt, not what that one pulled.
                    let past = bench.memory.recall(StackId(1));
                    let previous: Vec<_> = past.previous.values().cloned().collect();
                    assert_eq!(previous, [old], "{era:?} {crash_at}");
                }
                _ => {
                    assert_eq!(
                        report.outcome,
                        Outcome::Unknown,
                        "{era:?} {crash_at} {report:?}"
                    );
                    assert!(
                        report.message.contains("nothing has changed"),
                        "{}",
                        report.message
                    );
                    assert!(journal.submission.lock().unwrap().is_some());
                }
            }
            if !crashed {
                break;
            }
            crashes += 1;
        }
        assert!(crashes >= 9, "{era:?}: {crashes} points");
    }
}

#[test]
fn a_bad_update_fails_wherever_it_is_cut_short() {
    for crash_at in 1.. {
        let mut bench = Bench::new(Era::A);
        bench.stack.healthy_within = Duration::from_secs(3);
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
        let (crashed, _, report) = crash_and_go_on(&bench, crash_at);
        let expected = match bench.fake.puts().len() {
            1 => Outcome::Failed,
            0 => Outcome::Unknown,
            more => panic!("sent {more} times"),
        };
        assert_eq!(report.outcome, expected, "{crash_at} {report:?}");
        if !crashed {
            break;
        }
    }
}

#[test]
fn an_update_that_takes_the_stack_down_is_rolled_back_wherever_it_is_cut_short() {
    for crash_at in 1.. {
        let bench = Bench::new(Era::A);
        let before = bench.images();
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::CannotStart));
        let (crashed, _, report) = crash_and_go_on(&bench, crash_at);
        // Forward once, and back at most twice.
        let puts = bench.fake.puts().len();
        assert!(puts <= 3, "{crash_at}: {puts}");
        let expected = match puts {
            0 => Outcome::Unknown,
            _ => Outcome::Failed,
        };
        assert_eq!(report.outcome, expected, "{crash_at} {report:?}");
        assert_eq!(bench.images(), before, "{crash_at} {report:?}");
        if puts > 0 {
            // Where the reason was seen before the crash, the image is blocked; otherwise at the latest the second time.
            let again = bench.run(&Order::default());
            let blocked = match again.outcome {
                Outcome::Skipped => again,
                _ => bench.run(&Order::default()),
            };
            assert_eq!(blocked.outcome, Outcome::Skipped, "{crash_at} {blocked:?}");
        }
        if !crashed {
            break;
        }
    }
}

#[test]
fn an_update_of_a_git_or_swarm_stack_is_sent_once_wherever_it_is_cut_short() {
    let images = |world: &mut World| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
    };
    let git = |world: &mut World| {
        images(world);
        world.git_stack("web-stack", FILE, &[("TAG", "1"), ("GREETING", "hello")]);
    };
    let swarm = |world: &mut World| {
        images(world);
        world.swarm_stack("web-stack", SWARM, &[]);
    };
    type Set<'a> = (&'a str, &'a dyn Fn(&mut World));
    let both: [Set<'_>; 2] = [("git", &git), ("swarm", &swarm)];
    for (era, (kind, set)) in [Era::A, Era::D]
        .into_iter()
        .flat_map(|era| both.map(|one| (era, one)))
    {
        let (mut crashes, mut sent) = (0, 0);
        for crash_at in 1.. {
            let bench = Bench::with(era, set);
            bench
                .fake
                .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
            let (crashed, _, report) = crash_and_go_on(&bench, crash_at);
            let expected = match bench.fake.puts().len() {
                1 => Outcome::Updated,
                0 => Outcome::Unknown,
                more => panic!("{kind} {era:?} {crash_at}: sent {more} times"),
            };
            assert_eq!(
                report.outcome, expected,
                "{kind} {era:?} {crash_at} {report:?}"
            );
            sent += bench.fake.puts().len();
            if !crashed {
                break;
            }
            crashes += 1;
        }
        // Two points lie between the record and the update.
        assert!(crashes >= 5, "{kind} {era:?}: {crashes} points");
        assert_eq!(crashes + 1 - sent, 2, "{kind} {era:?}");
    }
}

const SWARM: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    deploy:
      replicas: 2
      update_config: {failure_action: pause, monitor: 3s}
  worker:
    image: ghcr.io/acme/worker:1
";
