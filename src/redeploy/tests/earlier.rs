//! An update whose answer was lost is not judged by the state that an earlier deployment left in the record.

use std::sync::Arc;

use super::kinds::{named, swarm};
use super::{Bench, GOOD, Watcher};
use crate::fake::{Behaviour, Era, Fault, When, World};
use crate::redeploy::bench::Kept;
use crate::redeploy::{self, Submission};
use crate::stack::order::Order;
use crate::stack::outcome::{Outcome, StackReport};

/// The releases in which the status tells how the last deployment went.
const TELLING: [Era; 2] = [Era::C, Era::D];
const OLD: &str = "words of last week";

fn fail(world: &mut World, name: &str, words: &str) {
    let id = world.stack(name).id;
    let stack = world.stack_mut(id);
    stack.status = 4;
    stack.deployment_status = vec![(3, 1, String::new()), (4, 2, words.to_owned())];
}

/// The last deployment of the stack failed, and there is a newer image.
fn failed_once(era: Era, newer: Behaviour) -> Bench {
    let bench = Bench::new(era);
    bench.fake.world(|world| {
        fail(world, "web-stack", OLD);
        world.push("ghcr.io/acme/web:1", newer);
    });
    bench
}

fn on_update(bench: &Bench, number: usize, fault: Fault) {
    bench
        .fake
        .fault(When::nth(number, "PUT", "/api/stacks/"), fault);
}

/// Resumes a redeploy from the submission that was journalled, after a change to its JSON.
fn go_on(bench: &Bench, kept: &Kept, change: impl Fn(&mut serde_json::Value)) -> StackReport {
    let sent = kept.0.lock().unwrap().clone().unwrap();
    let mut entry = serde_json::to_value(sent).unwrap();
    change(&mut entry);
    let sent: Submission = serde_json::from_value(entry).unwrap();
    redeploy::resume(&bench.context(&Kept::default()), &bench.stack, sent)
}

#[track_caller]
fn check(report: &StackReport, outcome: Outcome, says: &str) {
    assert_eq!(report.outcome, outcome, "{report:?}");
    assert!(report.message.contains(says), "{}", report.message);
    assert!(!report.message.contains(OLD), "{}", report.message);
}

#[test]
fn an_update_that_never_arrived_did_not_fail_last_week() {
    for era in TELLING {
        let bench = failed_once(era, GOOD);
        on_update(&bench, 1, Fault::CloseBefore);
        let kept = Kept::default();
        let report = redeploy::run(&bench.context(&kept), &bench.stack, &Order::default());
        check(&report, Outcome::Unknown, "the containers are as before");
        // Nor after a crash, nor where an earlier release has written down what it sent.
        check(&go_on(&bench, &kept, |_| ()), Outcome::Unknown, "nothing");
        let without = |entry: &mut serde_json::Value| {
            assert!(entry.as_object_mut().unwrap().remove("status").is_some());
        };
        check(&go_on(&bench, &kept, without), Outcome::Unknown, "nothing");
    }
}

#[test]
fn an_update_after_an_earlier_failure_is_judged_by_its_own_end() {
    for era in TELLING {
        let bench = failed_once(era, GOOD);
        on_update(&bench, 1, Fault::CloseAfter);
        let report = bench.run(&Order::default());
        check(&report, Outcome::Updated, "all healthy");
        let bench = failed_once(era, Behaviour::CannotStart);
        on_update(&bench, 1, Fault::CloseAfter);
        let report = bench.run(&Order::default());
        check(&report, Outcome::Failed, "the previous images run again");
    }
}

/// The rollback begins while the record says that the update failed.
#[test]
fn a_rollback_that_never_arrived_did_not_fail_as_the_update_did() {
    for era in TELLING {
        let bench = Bench::new(era);
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::CannotStart));
        on_update(&bench, 2, Fault::CloseBefore);
        let report = bench.run(&Order::default());
        check(&report, Outcome::Failed, "the previous images run again");
        assert_eq!(bench.fake.puts().len(), 3);
    }
}

const NEW: &str = "words of today";

/// Portainer says so, although the date of the last success stays.
#[test]
fn a_failure_that_was_not_there_before_is_the_end_also_after_a_crash() {
    for era in TELLING {
        let bench = Bench::new(era);
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
        on_update(&bench, 1, Fault::CloseBefore);
        let kept = Kept::default();
        let report = redeploy::run(&bench.context(&kept), &bench.stack, &Order::default());
        check(&report, Outcome::Unknown, "the containers are as before");
        bench.fake.world(|world| fail(world, "web-stack", NEW));
        check(&go_on(&bench, &kept, |_| ()), Outcome::Failed, NEW);
    }
}

/// Acts when the answer is lost: the next look at the record finds a deployment under way, and the date as it was.
fn under_way(bench: &Bench, then: impl Fn(&mut World) + Send + Sync + 'static) -> Watcher {
    let fake = Arc::clone(&bench.fake);
    let act = move || {
        let date = fake.world(|world| world.stack("web-stack").update_date);
        fake.world(&then);
        let record = serde_json::json!({
            "Id": 1, "Name": "web-stack", "Type": 2, "EndpointId": 1, "Status": 3, "UpdateDate": date,
        });
        let answer = Fault::Answer(200, "application/json", record.to_string());
        fake.fault(When::next("GET", "/api/stacks/1"), answer);
        let none = Fault::Answer(200, "application/json", "[]".to_owned());
        let list = "/api/endpoints/1/docker/containers/json";
        fake.fault(When::next("GET", list), none);
    };
    Watcher {
        at: Some(("waiting for the deployment", Box::new(act))),
        ..Watcher::default()
    }
}

#[test]
fn a_failure_after_a_deployment_that_was_seen_under_way_is_no_old_one() {
    let bench = failed_once(Era::C, GOOD);
    on_update(&bench, 1, Fault::CloseBefore);
    let watcher = under_way(&bench, |world| fail(world, "web-stack", NEW));
    let report = bench.run_watched(&Order::default(), &watcher);
    check(&report, Outcome::Failed, NEW);
}

fn deploy(world: &mut World) {
    let id = world.stack("web-stack").id;
    world.pull("ghcr.io/acme/web:1", 1);
    world.deploy_hour_old(id);
}

/// A stack that has failed before is taken down first.
#[test]
fn a_service_without_a_container_is_awaited_while_the_deployment_is_under_way() {
    let bench = failed_once(Era::C, GOOD);
    on_update(&bench, 1, Fault::CloseBefore);
    let watcher = under_way(&bench, deploy);
    let report = bench.run_watched(&Order::default(), &watcher);
    check(&report, Outcome::Updated, "all healthy");
}

/// The date of an update that follows within the second is the same.
#[test]
fn a_success_after_an_earlier_failure_is_seen_without_another_date() {
    let bench = failed_once(Era::C, GOOD);
    on_update(&bench, 1, Fault::CloseBefore);
    let watcher = Watcher::act(&bench.fake, "waiting for the deployment", 1, deploy);
    let report = bench.run_watched(&Order::default(), &watcher);
    check(&report, Outcome::Updated, "all healthy");
}

/// Services that are updated one by one leave the record as it is.
#[test]
fn forced_services_are_not_judged_by_an_old_failure() {
    for era in TELLING {
        let bench = swarm(era);
        bench.fake.world(|world| {
            fail(world, "sw", OLD);
            world.push("ghcr.io/acme/web:1", GOOD);
        });
        let kept = Kept::default();
        let order = Order {
            force: true,
            ..named("ghcr.io/acme/web:1")
        };
        let report = redeploy::run(&bench.context(&kept), &bench.stack, &order);
        check(&report, Outcome::Updated, "1 of 2");
        check(&go_on(&bench, &kept, |_| ()), Outcome::Updated, "1 of 2");
        // Nor such as never arrived.
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
        let path = "/api/endpoints/1/forceupdateservice";
        bench
            .fake
            .fault(When::next("PUT", path), Fault::CloseBefore);
        let report = redeploy::run(&bench.context(&kept), &bench.stack, &order);
        check(&report, Outcome::Unknown, "the services are as before");
        check(&go_on(&bench, &kept, |_| ()), Outcome::Unknown, "nothing");
    }
}
