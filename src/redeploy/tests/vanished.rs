//! A service that is gone after the update while others of its stack stay: missed where the file wants it, named where it does not.

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
fn a_swarm_service_that_vanishes_is_missed() {
    for era in ERAS {
        for service in ["db", "spare", "job"] {
            let bench = swarm(era);
            let watcher = Watcher::act(&bench.fake, "waiting for web", 1, rm(service));
            let report = bench.run_watched(&Order::default(), &watcher);
            let message = format!("the update was made, but {service} {IS_MISSED}");
            check(&report, Outcome::Failed, &message);
            let gone = report.services.iter().find(|one| one.service == service);
            assert_eq!(gone.unwrap().state, ServiceState::Missing, "{report:?}");
        }
    }
}

#[test]
fn a_swarm_service_that_vanishes_is_missed_where_nothing_was_newer() {
    let bench = swarm(Era::C);
    assert_eq!(bench.run(&Order::default()).outcome, Outcome::Updated);
    let watcher = Watcher::act(&bench.fake, "waiting for the deployment", 1, rm("db"));
    let report = bench.run_watched(&Order::default(), &watcher);
    let message = format!("nothing newer, but db {IS_MISSED}");
    check(&report, Outcome::Failed, &message);
}

#[test]
fn every_service_that_is_still_there_is_well_also_one_of_no_replicas() {
    for era in ERAS {
        let bench = swarm(era);
        let report = bench.run(&Order::default());
        let message = "1 of 4 services updated, all running";
        check(&report, Outcome::Updated, message);
    }
}

#[test]
fn a_swarm_service_that_the_file_does_not_have_any_more_is_named_and_not_missed() {
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
fn what_one_forced_service_has_nothing_to_do_with_is_named_and_what_vanishes_beside_it_is_missed() {
    let bench = swarm(Era::A);
    bench.fake.world(rm("db"));
    let report = bench.run(&named("ghcr.io/acme/web:1"));
    let message = "1 of 3 services updated, all running; not there, as before: db";
    check(&report, Outcome::Updated, message);
    push_web(&bench);
    let watcher = Watcher::act(&bench.fake, "waiting for web", 1, rm("job"));
    let report = bench.run_watched(&named("ghcr.io/acme/web:1"), &watcher);
    let message = format!("the update was made, but job {IS_MISSED}; not there, as before: db");
    check(&report, Outcome::Failed, &message);
}

/// Also where it is not certain what the file wants.
#[test]
fn whatever_is_gone_and_not_missed_is_named() {
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
fn a_failed_update_of_a_swarm_stack_says_which_service_is_gone() {
    let bench = swarm(Era::A);
    bench
        .fake
        .fault(When::next("PUT", "/api/stacks/"), Fault::CloseBefore);
    let watcher = Watcher::act(&bench.fake, "waiting for the deployment", 1, rm("db"));
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Unknown, "{report:?}");
    let says = "; no longer there: db";
    assert!(report.message.contains(says), "{}", report.message);
    let gone = report.services.iter().find(|one| one.service == "db");
    assert_eq!(gone.unwrap().state, ServiceState::Missing, "{report:?}");
}

#[test]
fn a_swarm_service_that_vanished_while_nobody_watched_is_missed() {
    let bench = swarm(Era::A);
    let kept = Kept::default();
    let context = bench.context(&kept);
    let report = redeploy::run(&context, &bench.stack, &Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    bench.fake.world(rm("db"));
    let submission = kept.0.lock().unwrap().take().unwrap();
    let report = redeploy::resume(&context, &bench.stack, submission);
    let message = format!("the update was made, but db {IS_MISSED}");
    check(&report, Outcome::Failed, &message);
}
