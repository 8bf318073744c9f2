//! A service that is gone after the update while others of its stack stay: restored if the file defines it, otherwise only named.

use super::kinds::named;
use super::{Bench, ERAS, GOOD, Watcher};
use crate::fake::{Behaviour, Era, Fault, When, World};
use crate::redeploy;
use crate::redeploy::bench::Kept;
use crate::stack::order::Order;
use crate::stack::outcome::{Outcome, ServiceState, StackReport};

const SWARM: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    deploy:
      update_config: {monitor: 3s}
  db:
    image: ghcr.io/acme/worker:1
  spare:
    image: ghcr.io/acme/worker:1
    deploy:
      replicas: 0
  job:
    image: ghcr.io/acme/job:1
    deploy:
      mode: replicated-job
";

fn swarm(era: Era) -> Bench {
    let bench = Bench::with(era, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
        world.push("ghcr.io/acme/job:1", Behaviour::ExitsOnce { code: 0 });
        world.swarm_stack("web-stack", SWARM, &[]);
    });
    push_web(&bench);
    bench
}

fn push_web(bench: &Bench) {
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
}

fn rm(service: &'static str) -> impl Fn(&mut World) + Send + Sync {
    move |world| world.remove_swarm_service(&format!("web-stack_{service}"))
}

/// The update failed because a service had vanished, and one more submit restored it.
#[track_caller]
fn check_restored(bench: &Bench, report: &StackReport, service: &str, puts: usize) {
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    for text in [
        format!("{service} {IS_MISSED}; the stack was started again"),
        ", all running".to_owned(),
    ] {
        assert!(report.message.contains(&text), "{}", report.message);
    }
    let restored = report.services.iter().find(|one| one.service == service);
    assert_ne!(restored.unwrap().state, ServiceState::Missing, "{report:?}");
    assert!(!restored.unwrap().new_image, "{report:?}");
    assert_eq!(bench.fake.puts().len(), puts, "{report:?}");
}

#[track_caller]
fn check(report: &StackReport, outcome: Outcome, message: &str) {
    assert_eq!(
        (report.outcome, report.message.as_str()),
        (outcome, message),
        "{report:?}"
    );
}

const IS_MISSED: &str = "is without a container (the swarm has no such service)";

#[test]
fn a_vanished_swarm_service_is_restored() {
    for era in ERAS {
        for service in ["db", "spare", "job"] {
            let bench = swarm(era);
            let watcher = Watcher::act(&bench.fake, "waiting for web", 1, rm(service));
            let report = bench.run_watched(&Order::default(), &watcher);
            check_restored(&bench, &report, service, 2);
        }
    }
}

#[test]
fn a_vanished_swarm_service_is_restored_if_nothing_was_newer() {
    let bench = swarm(Era::C);
    assert_eq!(bench.run(&Order::default()).outcome, Outcome::Updated);
    let watcher = Watcher::act(&bench.fake, "waiting for the deployment", 1, rm("db"));
    let report = bench.run_watched(&Order::default(), &watcher);
    check_restored(&bench, &report, "db", 3);
}

#[test]
fn a_service_of_no_replicas_is_healthy() {
    for era in ERAS {
        let bench = swarm(era);
        let report = bench.run(&Order::default());
        let message = "1 of 4 services updated, all running";
        check(&report, Outcome::Updated, message);
    }
}

#[test]
fn a_service_that_the_file_no_longer_defines_is_only_named() {
    for era in ERAS {
        let bench = swarm(era);
        bench.fake.world(|world| {
            let id = world.stack("web-stack").id;
            let stack = world.stack_mut(id);
            stack.file = SWARM.replace("  db:\n    image: ghcr.io/acme/worker:1\n", "");
            stack.prune = Some(true);
        });
        let report = bench.run(&Order::default());
        let message = "1 of 3 services updated, all running; no longer there: db";
        check(&report, Outcome::Updated, message);
    }
}

#[test]
fn an_update_of_one_service_restores_what_vanishes_meanwhile() {
    let bench = swarm(Era::A);
    bench.fake.world(rm("db"));
    let report = bench.run(&named("ghcr.io/acme/web:1"));
    let message = "1 of 3 services updated, all running; not there, as before: db";
    check(&report, Outcome::Updated, message);
    push_web(&bench);
    let watcher = Watcher::act(&bench.fake, "waiting for web", 1, rm("job"));
    let report = bench.run_watched(&named("ghcr.io/acme/web:1"), &watcher);
    check_restored(&bench, &report, "job", 3);
    assert!(!report.message.contains("as before"), "{}", report.message);
}

#[test]
fn a_service_that_vanishes_is_named_if_the_file_is_uncertain() {
    const UNCERTAIN: &str = "
services:
  web:
    image: ghcr.io/acme/web:${TAG}
    platform: linux
    restart: unless-stopped
  db:
    image: ghcr.io/acme/worker:1
";
    for in_a_swarm in [false, true] {
        let bench = Bench::with(Era::A, |world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
            let env = [("TAG", "1")];
            match in_a_swarm {
                true => world.swarm_stack("web-stack", UNCERTAIN, &env),
                false => world.compose_stack("web-stack", UNCERTAIN, &env),
            };
        });
        push_web(&bench);
        let watcher = Watcher::act(&bench.fake, "waiting for web", 1, move |world| {
            if in_a_swarm {
                return rm("db")(world);
            }
            let db = world.container("web-stack", "db").id;
            world.remove_container(&db);
        });
        let report = bench.run_watched(&Order::default(), &watcher);
        assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
        let says = "; no longer there: db";
        assert!(report.message.contains(says), "{}", report.message);
    }
}

#[test]
fn a_lost_update_of_a_swarm_stack_restores_the_service_that_is_gone() {
    let bench = swarm(Era::A);
    bench
        .fake
        .fault(When::next("PUT", "/api/stacks/"), Fault::CloseBefore);
    let watcher = Watcher::act(&bench.fake, "waiting for the deployment", 1, rm("db"));
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let says = "the update was interrupted half-way; the stack was started again";
    assert!(report.message.contains(says), "{}", report.message);
    let restored = report.services.iter().find(|one| one.service == "db");
    assert_eq!(restored.unwrap().state, ServiceState::Running, "{report:?}");
}

#[test]
fn a_service_that_vanished_before_a_resume_is_restored() {
    let bench = swarm(Era::A);
    let kept = Kept::default();
    let context = bench.context(&kept);
    let report = redeploy::run(&context, &bench.stack, &Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    bench.fake.world(rm("db"));
    let submission = kept.0.lock().unwrap().take().unwrap();
    let report = redeploy::resume(&context, &bench.stack, submission);
    check_restored(&bench, &report, "db", 2);
}
