//! Ends that would be easy to get wrong: what is said of them must be what happened.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Bench, GOOD, Watcher};
use crate::fake::{Behaviour, Era, Fault, Gate, When, World};
use crate::portainer::StackId;
use crate::redeploy::bench::Kept;
use crate::redeploy::record::Memory as _;
use crate::redeploy::{self, Images, NotWritten, Observer, Step, Submission};
use crate::stack::order::{Cause, Order};
use crate::stack::outcome::Outcome;
use crate::stack::{PullMode, RollBack};
use crate::store::lock::{LockError, LockGuard, LockKey};

/// A file whose services are uncertain: only compose knows the effect of `:?`.
const UNCERTAIN: &str = "
services:
  web:
    image: ghcr.io/acme/web:${TAG:?say which}
    restart: unless-stopped
";

fn uncertain(from_git: bool) -> (Bench, i64) {
    let mut id = 0;
    let bench = Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        let env = [("TAG", "1")];
        id = match from_git {
            true => world.git_stack("web-stack", UNCERTAIN, &env),
            false => world.compose_stack("web-stack", UNCERTAIN, &env),
        };
    });
    (bench, id)
}

fn remove_all(world: &mut World) {
    for container in world.containers("web-stack") {
        world.remove_container(&container.id);
    }
}

#[test]
fn a_stack_that_is_removed_after_the_update_is_not_called_healthy() {
    let (bench, _) = uncertain(false);
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    let watcher = Watcher::act(&bench.fake, "waiting for web", 1, remove_all);
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let says = "no containers or services";
    assert!(report.message.contains(says), "{}", report.message);
}

#[test]
fn a_git_stack_that_is_down_is_deployed_although_its_commit_is_the_one_that_was_pushed() {
    let (bench, id) = uncertain(true);
    let commit = bench.fake.world(|world| world.commit(id, UNCERTAIN));
    let push = Order {
        cause: Cause::Push(Some(commit)),
        ..Order::default()
    };
    assert_eq!(bench.run(&push).outcome, Outcome::Updated);
    assert_eq!(bench.run(&push).outcome, Outcome::Unchanged);
    bench.fake.world(remove_all);
    let report = bench.run(&push);
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert_eq!(bench.containers().len(), 1);
}

/// An hour passes when a step is reached whose text begins so.
fn an_hour_at(bench: &Bench, begin: &'static str) -> Watcher {
    let ahead = bench.fake.clock();
    let act = move || {
        ahead.fetch_add(3_600_000, Ordering::SeqCst);
    };
    Watcher {
        at: Some((begin, Box::new(act))),
        ..Watcher::default()
    }
}

#[test]
fn nothing_is_sent_once_the_time_is_over() {
    let mut bench = Bench::new(Era::A);
    bench.stack.pull = PullMode::Never;
    bench.fake.world(|world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.pull("ghcr.io/acme/web:1", 1);
    });
    let report = bench.run_watched(&Order::default(), &an_hour_at(&bench, "inspecting"));
    let says = "the time was over, nothing was sent";
    assert_eq!(
        (report.outcome, report.message.as_str()),
        (Outcome::Failed, says)
    );
    assert_eq!(bench.fake.puts().len(), 0);
}

#[test]
fn a_rollback_has_a_time_limit_of_its_own() {
    let mut bench = Bench::new(Era::A);
    bench.stack.rollback = RollBack::WhenUnhealthy;
    let before = bench.images();
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
    let report = bench.run_watched(&Order::default(), &an_hour_at(&bench, "waiting for web"));
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let says = "the previous images run again";
    assert!(report.message.contains(says), "{}", report.message);
    assert_eq!(bench.images(), before);
}

/// The answer never comes, and with waiting for it the time is over; the update was made all the same.
#[test]
fn an_update_whose_answer_is_waited_for_to_the_end_is_looked_at_once() {
    let mut bench = Bench::new(Era::A);
    // The client's own time is real: no clock skips what a socket waits for.
    bench.timeout = Duration::from_secs(2);
    let bench = Arc::new(bench);
    let new = bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    let path = "/api/stacks/";
    let gate = Gate::default();
    bench.fake.fault(When::next("PUT", path), Fault::Hold(gate));
    let meanwhile = Arc::clone(&bench);
    let act = move || {
        // The result on the other side, shortly before the wait for its answer ends.
        meanwhile.fake.world(|world| {
            world.pull("ghcr.io/acme/web:1", 1);
            let stack = world.stack("web-stack").id;
            world.deploy_hour_old(stack);
            world.stack_mut(stack).update_date += 1;
        });
    };
    let watcher = Watcher {
        at: Some(("updating", Box::new(act))),
        ..Watcher::default()
    };
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert_eq!(bench.images()["web"], new);
}

/// Another redeploy holds the environment when the rollback needs it; when it is free again, a person has edited the stack.
struct Edited<'b> {
    bench: &'b Bench,
}

impl Observer for Edited<'_> {
    fn step(&self, _: &Step) {}

    fn pulling(&self, _: &Images) -> Result<(), NotWritten> {
        Ok(())
    }

    fn submitting(&self, _: &Submission) -> Result<(), NotWritten> {
        Ok(())
    }

    fn acquire_lock(&self, thing: LockKey, _: Duration) -> Result<LockGuard, LockError> {
        if matches!(thing, LockKey::Environment(_)) {
            self.bench.fake.world(|world| {
                let id = world.stack("web-stack").id;
                let stack = world.stack_mut(id);
                stack.env = edited();
                stack.update_date += 1;
            });
        }
        Ok(LockGuard::unlocked())
    }
}

fn edited() -> Option<Vec<(String, String)>> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Some(vec![pair("TAG", "1"), pair("GREETING", "good day")])
}

#[test]
fn a_rollback_keeps_an_edit_made_while_it_waited_for_its_lock() {
    let bench = Bench::new(Era::A);
    let before = bench.images();
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    assert_eq!(bench.run(&Order::default()).outcome, Outcome::Updated);
    let observer = Edited { bench: &bench };
    let context = bench.context(&observer);
    let report = redeploy::roll_back(&context, &bench.stack);
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert_eq!(bench.images(), before);
    let env = bench
        .fake
        .world(|world| world.stack("web-stack").env.clone());
    assert_eq!(env, edited());
}

/// A short glitch, a long wait for another deployment, and another glitch are not one long absence.
#[test]
fn patience_starts_again_when_portainer_has_answered() {
    let mut bench = Bench::new(Era::C);
    bench.patience = Duration::from_secs(60);
    let bench = Arc::new(bench);
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    let glitch = |bench: &Bench| {
        let gone = Fault::Answer(502, "text/html", "<html>".to_owned());
        bench.fake.fault(When::next("GET", "/api/stacks"), gone);
    };
    glitch(&bench);
    let (meanwhile, deploys) = (Arc::clone(&bench), std::sync::atomic::AtomicUsize::new(0));
    let status = |bench: &Bench, status| {
        bench.fake.world(|world| {
            let id = world.stack("web-stack").id;
            world.stack_mut(id).status = status;
        });
    };
    let act = move || match deploys.fetch_add(1, Ordering::SeqCst) {
        // After the first glitch a person deploys, for longer than the retry window.
        1 => status(&meanwhile, 3),
        2..40 => {}
        40 => {
            status(&meanwhile, 1);
            glitch(&meanwhile);
        }
        _ => {}
    };
    let watcher = Watcher {
        at: Some(("finding", Box::new(act))),
        ..Watcher::default()
    };
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
}

/// An update with an unknown end may have to be undone by a person.
#[test]
fn an_update_that_a_crash_left_unclear_can_be_rolled_back() {
    let bench = Bench::new(Era::A);
    let old = bench.images()["web"].clone();
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    let kept = Kept::default();
    let fault = When::next("PUT", "/api/stacks/");
    bench.fake.fault(fault, Fault::CloseBefore);
    let context = bench.context(&kept);
    let cut_short = redeploy::run(&context, &bench.stack, &Order::default());
    assert_eq!(cut_short.outcome, Outcome::Unknown, "{cut_short:?}");
    bench.memory.keep(StackId(1), &Default::default()).unwrap();
    let submission = kept.0.lock().unwrap().take().unwrap();
    let report = redeploy::resume(&context, &bench.stack, submission);
    assert_eq!(report.outcome, Outcome::Unknown, "{report:?}");
    let previous = bench.memory.recall(StackId(1)).previous;
    assert_eq!(previous.into_values().collect::<Vec<_>>(), [old]);
}

#[test]
fn the_step_names_a_service_that_is_restarting() {
    let bench = Bench::new(Era::A);
    let crash = Behaviour::CrashLoop {
        every: Duration::from_millis(500),
        code: 3,
    };
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", crash));
    let watcher = Watcher::default();
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let steps = watcher.steps.lock().unwrap();
    let told = |step: &String| {
        step.starts_with("waiting for web (restarting, ")
            && step.ends_with(" restarts) to be healthy")
    };
    assert!(steps.iter().any(told), "{steps:?}");
}
