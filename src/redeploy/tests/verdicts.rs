//! Verdicts that follow from what was seen: jobs, blame, left-overs, and updates that Portainer or the engine did not survive.

use std::time::Duration;

use super::{Bench, ERAS, GOOD, Watcher};
use crate::fake::{Behaviour, Era, Fake, Fault as Obstacle, When, World};
use crate::portainer::StackId;
use crate::redeploy::record::Memory as _;
use crate::stack::order::Order;
use crate::stack::outcome::{Fault, Outcome, ServiceState, StackReport};
use crate::stack::{PullMode, RollBack};

/// `web` and a job with these lines in its definition.
fn with_job(lines: &str, job: Behaviour) -> Bench {
    let file = format!(
        "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
  migrate:
    image: ghcr.io/acme/migrate:1
{lines}"
    );
    Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/migrate:1", job);
        world.compose_stack("web-stack", &file, &[]);
    })
}

const NO: &str = "    restart: \"no\"\n";

fn push(bench: &Bench, image: &str, behaviour: Behaviour) -> String {
    let image = format!("ghcr.io/acme/{image}:1");
    bench.fake.world(|world| world.push(&image, behaviour))
}

fn finishes(after: u64, code: i64) -> Behaviour {
    Behaviour::Finishes {
        after: Duration::from_secs(after),
        code,
    }
}

fn state_of(report: &StackReport, service: &str) -> ServiceState {
    let mut services = report.services.iter();
    services.find(|one| one.service == service).unwrap().state
}

#[track_caller]
fn check(report: &StackReport, outcome: Outcome, verified: Option<bool>, says: &[&str]) {
    assert_eq!(
        (report.outcome, report.verified),
        (outcome, verified),
        "{report:?}"
    );
    for text in says {
        assert!(
            report.message.contains(text),
            "{text:?} is not in {}",
            report.message
        );
    }
}

#[test]
fn a_job_that_ends_with_zero_is_a_success_whatever_it_did_before() {
    for lines in [
        NO,
        "    restart: on-failure\n",
        "    deploy: {restart_policy: {condition: none}}\n",
    ] {
        // It still runs when the update begins, it failed last time, it completed last time.
        for before in [finishes(7200, 0), finishes(1, 1), finishes(1, 0)] {
            let mut bench = with_job(lines, before);
            bench.stack.rollback = RollBack::WhenUnhealthy;
            push(&bench, "web", GOOD);
            push(&bench, "migrate", finishes(20, 0));
            let report = bench.run(&Order::default());
            check(
                &report,
                Outcome::Updated,
                Some(true),
                &["2 of 2 services updated"],
            );
            assert_eq!(state_of(&report, "migrate"), ServiceState::Completed);
        }
    }
}

#[test]
fn a_job_that_fails_after_a_while_fails_the_update_although_it_completed_before() {
    for lines in [NO, "    deploy: {restart_policy: {condition: none}}\n", ""] {
        let bench = with_job(lines, finishes(1, 0));
        push(&bench, "migrate", finishes(14, 1));
        let report = bench.run(&Order::default());
        let says = &["migrate is exited (exit code 1)"];
        check(&report, Outcome::Failed, Some(true), says);
        // The other services run, so nothing is rolled back by default.
        assert_eq!(bench.fake.puts().len(), 1);
    }
}

#[test]
fn a_job_that_compose_starts_again_is_waited_for() {
    let bench = with_job(NO, finishes(14, 1));
    push(&bench, "web", GOOD);
    let report = bench.run(&Order::default());
    check(
        &report,
        Outcome::Failed,
        Some(true),
        &["migrate is exited (exit code 1)"],
    );
}

/// The job still ran when the update began, so its end could be mistaken for a loss.
#[test]
fn a_completed_job_does_not_count_as_down_when_another_service_fails() {
    for lines in [
        NO,
        "    restart: on-failure\n",
        "    deploy: {restart_policy: {condition: none}}\n",
    ] {
        let bench = with_job(lines, finishes(7200, 0));
        let web = push(&bench, "web", Behaviour::NeverHealthy);
        let migrate = push(&bench, "migrate", finishes(1, 0));
        let report = bench.run(&Order::default());
        check(&report, Outcome::Failed, Some(true), &["web"]);
        // By default only a stack that is down is rolled back.
        assert_eq!(bench.fake.puts().len(), 1, "{report:?}");
        assert_eq!(state_of(&report, "migrate"), ServiceState::Completed);
        assert_eq!(bench.images()["web"], web);
        assert_eq!(bench.images()["migrate"], migrate);
    }
}

#[test]
fn a_job_that_outlasts_the_time_is_not_verified_and_never_rolled_back() {
    for rollback in [RollBack::WhenDown, RollBack::WhenUnhealthy] {
        let mut bench = with_job(NO, finishes(1, 0));
        bench.stack.rollback = rollback;
        push(&bench, "migrate", finishes(7200, 0));
        let report = bench.run(&Order::default());
        let says = &["not finished yet: migrate"];
        check(&report, Outcome::Updated, Some(false), says);
        assert_eq!(bench.fake.puts().len(), 1);
    }
}

#[test]
fn a_service_without_a_policy_that_ends_is_a_failure() {
    let bench = with_job("", Behaviour::Runs);
    push(&bench, "migrate", finishes(3, 0));
    let report = bench.run(&Order::default());
    check(
        &report,
        Outcome::Failed,
        Some(true),
        &["migrate is exited (exit code 0)"],
    );
    // Running before and down now: rolled back.
    check(
        &report,
        Outcome::Failed,
        Some(true),
        &["the previous images run again"],
    );
}

#[test]
fn a_service_that_must_run_is_no_job_although_it_ended_with_zero() {
    let bench = with_job("    restart: always\n", finishes(1, 0));
    push(&bench, "web", GOOD);
    push(&bench, "migrate", finishes(2, 0));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
}

#[test]
fn only_the_image_whose_containers_failed_is_blocked() {
    let mut bench = Bench::new(Era::A);
    bench.stack.rollback = RollBack::WhenUnhealthy;
    let before = bench.images();
    let bad = push(&bench, "web", Behaviour::NeverHealthy);
    let innocent = push(&bench, "worker", Behaviour::Runs);
    let report = bench.run(&Order::default());
    check(
        &report,
        Outcome::Failed,
        Some(true),
        &["the previous images run again"],
    );
    assert_eq!(bench.images(), before);
    let blocked = bench.memory.recall(StackId(1)).blocked;
    let ids: Vec<String> = blocked.into_values().map(|image| image.id).collect();
    assert_eq!(ids, [bad]);
    // The innocent one is deployed with the next update, the culprit is not.
    let report = bench.run(&Order::default());
    let says = &[
        "1 of 2 services updated",
        "ghcr.io/acme/web:1 was rolled back at",
        "is blocked",
    ];
    check(&report, Outcome::Updated, Some(true), says);
    assert_eq!(bench.images()["worker"], innocent);
    assert_eq!(bench.images()["web"], before["web"]);
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Skipped, "{report:?}");
    let good = push(&bench, "web", GOOD);
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert_eq!(bench.images()["web"], good);
}

/// Compose does not name the container that cannot be started, and takes all of them down.
#[test]
fn where_one_of_several_images_is_at_fault_the_same_images_are_not_tried_again() {
    let bench = Bench::new(Era::A);
    push(&bench, "web", Behaviour::CannotStart);
    push(&bench, "worker", Behaviour::Runs);
    let report = bench.run(&Order::default());
    check(
        &report,
        Outcome::Failed,
        None,
        &["the previous images run again"],
    );
    assert_eq!(bench.run(&Order::default()).outcome, Outcome::Skipped);
    // A newer image of the culprit is enough.
    push(&bench, "web", GOOD);
    let report = bench.run(&Order::default());
    check(
        &report,
        Outcome::Updated,
        Some(true),
        &["2 of 2 services updated"],
    );
}

#[test]
fn a_taken_port_is_no_images_fault() {
    const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
    ports: [\"127.0.0.1:5000:80\"]
";
    let bench = Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.compose_stack("web-stack", FILE, &[]);
    });
    push(&bench, "web", GOOD);
    bench
        .fake
        .world(|world| world.take_port(1, "127.0.0.1:5000"));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(
        bench.memory.recall(StackId(1)).blocked.is_empty(),
        "{report:?}"
    );
}

#[test]
fn a_bad_value_of_a_variable_is_not_set_twice() {
    for era in [Era::A, Era::B2, Era::C] {
        let bench = Bench::new(era);
        bench.fake.world(|world| {
            world.push("ghcr.io/acme/web:2", Behaviour::CannotStart);
            world.push("ghcr.io/acme/web:3", GOOD);
        });
        let order = |tag: &str| Order {
            set: [("TAG".to_owned(), tag.to_owned())].into(),
            ..Order::default()
        };
        let report = bench.run(&order("2"));
        check(
            &report,
            Outcome::Failed,
            None,
            &["the previous images run again"],
        );
        // The value is the old one again, and the message does not say otherwise, although newer releases store it at the submit.
        assert!(!report.message.contains("stored"), "{}", report.message);
        let sent = bench.fake.puts().len();
        let report = bench.run(&order("2"));
        check(
            &report,
            Outcome::Skipped,
            None,
            &["the value of TAG was rolled back at"],
        );
        assert_eq!(bench.fake.puts().len(), sent);
        assert_eq!(bench.run(&Order::default()).outcome, Outcome::Unchanged);
        assert_eq!(bench.run(&order("3")).outcome, Outcome::Updated);
        assert!(bench.memory.recall(StackId(1)).blocked_variables.is_none());
    }
}

#[test]
fn containers_of_services_that_the_file_does_not_define_are_a_note() {
    for rollback in [RollBack::WhenDown, RollBack::WhenUnhealthy] {
        for era in ERAS {
            let mut bench = Bench::new(era);
            bench.stack.rollback = rollback;
            let foreign = |world: &mut World| world.foreign_container("web-stack", "worker", "old");
            bench.fake.world(foreign);
            let note = "left over, no part of the stack: old (exited)";
            let report = bench.run(&Order::default());
            check(&report, Outcome::Unchanged, Some(true), &[note]);
            push(&bench, "web", GOOD);
            let report = bench.run(&Order::default());
            check(
                &report,
                Outcome::Updated,
                Some(true),
                &["1 of 2 services updated", note],
            );
        }
    }
}

/// One that comes while the update is verified.
#[test]
fn a_foreign_container_that_dies_meanwhile_rolls_nothing_back() {
    let mut bench = Bench::new(Era::A);
    bench.stack.rollback = RollBack::WhenUnhealthy;
    push(&bench, "web", GOOD);
    let watcher = Watcher::act(&bench.fake, "waiting for web", 1, |world| {
        world.foreign_container("web-stack", "worker", "foreign");
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    check(&report, Outcome::Updated, Some(true), &["foreign (exited)"]);
}

#[test]
fn containers_are_found_whatever_the_case_of_the_stacks_name() {
    let bench = Bench::new(Era::A);
    let id = bench.fake.world(|world| world.stack("web-stack").id);
    bench
        .fake
        .world(|world| world.stack_mut(id).name = "Web-Stack".to_owned());
    let report = bench.run(&Order::default());
    check(&report, Outcome::Unchanged, Some(true), &["all healthy"]);
    assert_eq!(report.services.len(), 2);
}

#[test]
fn an_update_that_portainer_did_not_survive_is_rolled_back_within_two_minutes() {
    for era in [Era::A, Era::B2] {
        let bench = Bench::new(era);
        let before = bench.images();
        push(&bench, "web", GOOD);
        bench.fake.world(|world| world.dies_in_next_deploy = true);
        let report = bench.run(&Order::default());
        check(
            &report,
            Outcome::Failed,
            None,
            &["the previous images run again"],
        );
        assert!(report.seconds < 120.0, "{report:?}");
        assert_eq!(bench.images(), before);
        // Portainer died, not the image.
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    }
}

/// The answer is a proxy's, so only the polls that follow show that Portainer is away.
#[test]
fn a_portainer_that_dies_behind_a_proxy_is_noticed() {
    for era in [Era::A, Era::B2] {
        let bench = Bench::new(era);
        let before = bench.images();
        push(&bench, "web", GOOD);
        bench.fake.world(|world| world.dies_in_next_deploy = true);
        let gave_up = Obstacle::GaveUp(504);
        bench.fake.fault(When::next("PUT", "/api/stacks/"), gave_up);
        let watcher = Watcher::away(
            &bench.fake,
            "waiting for the deployment",
            20,
            Fake::stop_listening,
            Fake::start_listening,
        );
        let report = bench.run_watched(&Order::default(), &watcher);
        let says = &["half-way", "the previous images run again"];
        check(&report, Outcome::Failed, None, says);
        assert!(report.seconds < 150.0, "{era:?} {report:?}");
        assert_eq!(bench.images(), before);
        assert_eq!(bench.run(&Order::default()).outcome, Outcome::Updated);
    }
}

#[test]
fn an_image_that_portainer_is_to_pull_is_not_called_up_to_date() {
    let mut bench = Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
        let env = [("TAG", "1"), ("GREETING", "hello")];
        world.git_stack("web-stack", crate::redeploy::bench::FILE, &env);
    });
    bench.stack.pull = PullMode::Portainer;
    let new = push(&bench, "web", GOOD);
    let report = bench.run(&super::kinds::named("ghcr.io/acme/web:1"));
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert_eq!(bench.images()["web"], new);
}

/// The daemon dies when this step is reached, and is back after these seconds.
fn engine_away(bench: &Bench, step: &'static str, seconds: u64) -> Watcher {
    let die = |fake: &Fake| fake.world(|world| world.engine_dies(1));
    let come_back = |fake: &Fake| fake.world(|world| world.engine_returns(1));
    Watcher::away(&bench.fake, step, seconds, die, come_back)
}

/// Both services have a health check that passes after 25 s.
const SLOW: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
    healthcheck: {test: [\"CMD\", \"/app\"], interval: 1s, timeout: 1s, retries: 1, start_period: 28s}
  worker:
    image: ghcr.io/acme/worker:1
    restart: unless-stopped
";

fn slow_bench() -> Bench {
    let mut bench = Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
        world.compose_stack("web-stack", SLOW, &[]);
    });
    bench.stack.healthy_within = Duration::from_secs(32);
    bench
}

/// Acts at the n-th observation of the containers.
fn at_observation(
    bench: &Bench,
    n: usize,
    act: impl Fn(&mut World) + Send + Sync + 'static,
) -> Watcher {
    let count = std::sync::atomic::AtomicUsize::new(1);
    Watcher::act(&bench.fake, "waiting for", usize::MAX, move |world| {
        if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == n {
            act(world);
        }
    })
}

/// The engine is back before the next observation, so that no call fails.
#[test]
fn an_engine_that_restarts_late_gives_the_containers_their_time_again() {
    let bench = slow_bench();
    let healthy = Behaviour::Healthy {
        after: Duration::from_secs(25),
    };
    let web = push(&bench, "web", healthy.clone());
    let watcher = at_observation(&bench, 20, |world| {
        world.engine_dies(1);
        world.engine_returns(1);
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    let says = &["1 of 2 services updated, all healthy"];
    check(&report, Outcome::Updated, Some(true), says);
    assert!(report.seconds > 40.0, "{report:?}");
    assert_eq!(bench.images()["web"], web);
}

#[test]
fn a_rollback_survives_a_late_restart_of_the_engine() {
    let bench = slow_bench();
    let slow = Behaviour::Healthy {
        after: Duration::from_secs(25),
    };
    let previous = push(&bench, "web", slow);
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    push(&bench, "web", Behaviour::CannotStart);
    let watcher = at_observation(&bench, 20, |world| {
        world.engine_dies(1);
        world.engine_returns(1);
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let says = "the previous images run again";
    assert!(report.message.contains(says), "{}", report.message);
    assert_eq!(bench.images()["web"], previous);
    assert_eq!(state_of(&report, "web"), ServiceState::Healthy);
}

/// The engine does not start a container without a restart policy again.
#[test]
fn a_container_that_stays_down_after_a_restart_of_the_engine_is_restored_and_not_blamed() {
    let mut bench = Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
        let file = SLOW.replace(
            "worker:1\n    restart: unless-stopped",
            "worker:1\n    depends_on: [web]",
        );
        world.compose_stack("web-stack", &file, &[]);
    });
    bench.stack.healthy_within = Duration::from_secs(32);
    let slow = Behaviour::Healthy {
        after: Duration::from_secs(25),
    };
    push(&bench, "web", slow);
    push(&bench, "worker", Behaviour::Runs);
    let watcher = at_observation(&bench, 20, |world| {
        world.engine_dies(1);
        world.engine_returns(1);
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let kept = bench.memory.recall(StackId(1));
    assert!(kept.blocked.is_empty(), "{kept:?}");
    let worker = bench
        .fake
        .world(|world| world.container("web-stack", "worker"));
    assert_eq!(worker.state, "running", "{report:?}");
}

#[test]
fn a_resumed_update_survives_a_late_restart_of_the_engine() {
    let bench = slow_bench();
    let slow = Behaviour::Healthy {
        after: Duration::from_secs(25),
    };
    let web = push(&bench, "web", slow);
    let kept = crate::redeploy::bench::Kept::default();
    let report = crate::redeploy::run(&bench.context(&kept), &bench.stack, &Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    // The containers start once more, so that the resumed run has something to wait for.
    bench.fake.world(|world| {
        world.engine_dies(1);
        world.engine_returns(1);
    });
    let submission = kept.0.lock().unwrap().take().unwrap();
    let watcher = at_observation(&bench, 20, |world| {
        world.engine_dies(1);
        world.engine_returns(1);
    });
    let report = crate::redeploy::resume(&bench.context(&watcher), &bench.stack, submission);
    check(&report, Outcome::Updated, Some(true), &["all healthy"]);
    assert_eq!(bench.images()["web"], web);
}

#[test]
fn no_image_is_blocked_after_an_unnoticed_restart_of_the_engine() {
    let mut bench = slow_bench();
    bench.stack.rollback = RollBack::WhenUnhealthy;
    let web = push(&bench, "web", Behaviour::NeverHealthy);
    let watcher = at_observation(&bench, 20, |world| {
        world.engine_dies(1);
        world.engine_returns(1);
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    check(&report, Outcome::Failed, Some(true), &["web"]);
    assert_ne!(bench.images()["web"], web, "{report:?}");
    let kept = bench.memory.recall(StackId(1));
    assert!(kept.blocked.is_empty(), "{kept:?}");
}

#[test]
fn a_container_that_is_restarted_alone_does_not_get_its_time_again() {
    let mut bench = slow_bench();
    bench.stack.rollback = RollBack::WhenUnhealthy;
    push(&bench, "web", Behaviour::NeverHealthy);
    let watcher = at_observation(&bench, 20, |world| {
        let web = world.container("web-stack", "web").id;
        world.restart_container(&web);
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    check(&report, Outcome::Failed, Some(true), &["web"]);
    let kept = bench.memory.recall(StackId(1));
    assert_eq!(kept.blocked.len(), 1, "{kept:?}");
}

#[test]
fn an_absence_of_the_engine_gives_services_and_containers_their_time_again() {
    let healthy = Behaviour::Healthy {
        after: Duration::from_secs(60),
    };
    let file = SLOW.replace("start_period: 28s", "start_period: 90s");
    for is_swarm in [false, true] {
        let mut bench = Bench::with(Era::A, |world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
            match is_swarm {
                true => world.swarm_stack("web-stack", &file, &[]),
                false => world.compose_stack("web-stack", &file, &[]),
            };
        });
        bench.stack.healthy_within = Duration::from_secs(32);
        push(&bench, "web", healthy.clone());
        let leave = |fake: &Fake| fake.world(|world| world.engine_down(1, true));
        let come_back = |fake: &Fake| fake.world(|world| world.engine_down(1, false));
        let watcher = Watcher::away(&bench.fake, "waiting for w", 40, leave, come_back);
        let report = bench.run_watched(&Order::default(), &watcher);
        check(
            &report,
            Outcome::Updated,
            Some(true),
            &["1 of 2 services updated"],
        );
    }
}

#[test]
fn the_image_of_a_container_that_was_removed_is_not_blocked() {
    let bench = Bench::new(Era::A);
    push(&bench, "web", GOOD);
    push(&bench, "worker", Behaviour::Runs);
    let watcher = at_observation(&bench, 1, |world| {
        let worker = world.container("web-stack", "worker").id;
        world.remove_container(&worker);
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    let says = &[
        "worker is without a container",
        "the previous images run again",
    ];
    check(&report, Outcome::Failed, Some(true), says);
    let kept = bench.memory.recall(StackId(1));
    assert!(kept.blocked.is_empty(), "{kept:?}");
}

/// An update without an inspection would be left to Portainer, without images to roll back to.
#[test]
fn an_engine_that_is_away_before_the_submit_is_waited_for() {
    for step in ["finding", "inspecting", "pulling"] {
        let mut bench = Bench::new(Era::B1);
        let new = push(&bench, "web", GOOD);
        let watcher = engine_away(&bench, step, 30);
        let report = bench.run_watched(&Order::default(), &watcher);
        let says = &["1 of 2 services updated, all healthy"];
        check(&report, Outcome::Updated, Some(true), says);
        assert_eq!(bench.images()["web"], new, "{step}");
        let puts = bench.fake.puts();
        assert_eq!(puts.len(), 1, "{step}");
        assert_eq!(puts[0].body["PullImage"], false, "{step}");
        // A command does not wait.
        push(&bench, "web", GOOD);
        bench.patience = Duration::ZERO;
        bench.fake.world(|world| world.engine_down(1, true));
        let report = bench.run(&Order::default());
        check(&report, Outcome::Failed, None, &["nothing was sent"]);
        assert_eq!(report.fault, Some(Fault::NotReached), "{report:?}");
        assert_eq!(bench.fake.puts().len(), 1, "{step}");
    }
}

#[test]
fn an_engine_that_restarts_while_the_update_is_verified_is_waited_for() {
    let bench = Bench::new(Era::A);
    let new = push(&bench, "web", GOOD);
    let watcher = engine_away(&bench, "waiting for web", 30);
    let report = bench.run_watched(&Order::default(), &watcher);
    check(
        &report,
        Outcome::Updated,
        Some(true),
        &["1 of 2 services updated, all healthy"],
    );
    assert_eq!(bench.images()["web"], new);
}

/// `web` and `worker`, which the engine does not start again when it returns.
fn without_restart_policy() -> Bench {
    const FILE: &str = "
services:
  web: {image: \"ghcr.io/acme/web:1\"}
  worker: {image: \"ghcr.io/acme/worker:1\"}
";
    Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
        world.compose_stack("web-stack", FILE, &[]);
    })
}

#[test]
fn what_an_engine_that_restarts_takes_down_is_brought_back_and_not_blocked() {
    let bench = without_restart_policy();
    push(&bench, "web", GOOD);
    let watcher = engine_away(&bench, "waiting for web", 30);
    let report = bench.run_watched(&Order::default(), &watcher);
    check(
        &report,
        Outcome::Failed,
        Some(true),
        &["the previous images run again"],
    );
    for service in ["web", "worker"] {
        let container = bench
            .fake
            .world(|world| world.container("web-stack", service));
        assert_eq!(container.state, "running", "{report:?}");
    }
    assert_eq!(bench.run(&Order::default()).outcome, Outcome::Updated);
}

/// Without a restart policy the returning engine starts nothing by itself: only the repair brings the containers back.
#[test]
fn a_stack_that_a_failed_update_took_down_is_started_again_although_nothing_was_newer() {
    let bench = without_restart_policy();
    let before = bench.images();
    let watcher = engine_away(&bench, "updating the stack", 20);
    let force = Order {
        force: true,
        ..Order::default()
    };
    let report = bench.run_watched(&force, &watcher);
    check(
        &report,
        Outcome::Failed,
        None,
        &["the stack was started again"],
    );
    assert_eq!(bench.images(), before);
    for service in ["web", "worker"] {
        let container = bench
            .fake
            .world(|world| world.container("web-stack", service));
        assert_eq!(container.state, "running", "{report:?}");
    }
    assert!(bench.memory.recall(StackId(1)).blocked.is_empty());
}

#[test]
fn a_deployment_under_way_is_waited_for_while_something_changes() {
    let bench = Bench::new(Era::A);
    push(&bench, "web", GOOD);
    bench
        .fake
        .world(|world| world.half_replace("web-stack", "web"));
    // After a while compose goes on, and the person's variable is stored.
    let watcher = Watcher::act(&bench.fake, "waiting for another deployment", 1, |world| {
        let id = world.stack("web-stack").id;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let stack = world.stack_mut(id);
        stack.env = Some(vec![pair("TAG", "1"), pair("GREETING", "good day")]);
        stack.update_date += 1;
        for container in world.containers("web-stack") {
            if container.state == "created" {
                world.remove_container(&container.id);
            }
        }
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    let env = &bench.fake.puts()[0].body["Env"];
    let expected = serde_json::json!([{"name": "TAG", "value": "1"}, {"name": "GREETING", "value": "good day"}]);
    assert_eq!(*env, expected);
}

#[test]
fn traces_of_a_deployment_that_do_not_change_are_not_waited_for_longer_than_a_minute() {
    let bench = Bench::new(Era::A);
    push(&bench, "web", GOOD);
    bench
        .fake
        .world(|world| world.half_replace("web-stack", "web"));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert!((60.0..120.0).contains(&report.seconds), "{report:?}");
}

#[test]
fn the_traces_of_a_recorded_failure_are_not_waited_for() {
    let bench = Bench::new(Era::C);
    push(&bench, "web", GOOD);
    bench.fake.world(|world| {
        world.half_replace("web-stack", "web");
        let id = world.stack("web-stack").id;
        world.stack_mut(id).status = 4;
    });
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert!(report.seconds < 60.0, "{report:?}");
}

#[test]
fn containers_that_change_between_the_inspection_and_the_submit_are_another_deployment() {
    let bench = Bench::new(Era::A);
    push(&bench, "web", GOOD);
    let watcher = Watcher::act(&bench.fake, "pulling", 1, |world| {
        world.half_replace("web-stack", "worker");
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    assert!(report.seconds >= 60.0, "{report:?}");
    let steps = watcher.steps.lock().unwrap();
    assert!(
        steps
            .iter()
            .any(|step| step.starts_with("waiting for another deployment")),
        "{steps:?}"
    );
}

#[test]
fn reports_variables_that_a_person_changes_during_the_update() {
    let bench = Bench::new(Era::A);
    push(&bench, "web", GOOD);
    bench
        .fake
        .fault(When::next("PUT", "/api/stacks/"), Obstacle::CloseAfter);
    let watcher = Watcher::act(&bench.fake, "waiting for the deployment", 1, |world| {
        let id = world.stack("web-stack").id;
        let stack = world.stack_mut(id);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        stack.env = Some(vec![pair("TAG", "1"), pair("GREETING", "mine")]);
        stack.update_date += 1;
    });
    let report = bench.run_watched(&Order::default(), &watcher);
    check(
        &report,
        Outcome::Updated,
        Some(true),
        &["variables of the stack were changed", "GREETING"],
    );
    assert!(!report.message.contains("TAG"), "{}", report.message);
}

#[test]
fn a_crash_loop_does_not_get_the_longer_time_of_its_health_check() {
    const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
    healthcheck:
      test: [\"CMD\", \"/app\", \"health\"]
      interval: 30s
      retries: 3
";
    let mut bench = Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.compose_stack("web-stack", FILE, &[]);
    });
    bench.stack.healthy_within = Duration::from_secs(8);
    let crash = Behaviour::CrashLoop {
        every: Duration::from_millis(500),
        code: 3,
    };
    push(&bench, "web", crash);
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(report.seconds < 30.0, "{report:?}");
    assert!(
        report.message.contains("exit code 3") || report.message.contains("restarts"),
        "{report:?}"
    );
}

#[test]
fn a_slow_service_is_not_named_beside_a_failed_one_as_failed() {
    let bench = Bench::new(Era::A);
    push(
        &bench,
        "web",
        Behaviour::Healthy {
            after: Duration::from_secs(60),
        },
    );
    push(&bench, "worker", finishes(1, 4));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let (failed, rest) = report
        .message
        .split_once(';')
        .unwrap_or((&report.message, ""));
    assert!(
        failed.contains("worker") && !failed.contains("web"),
        "{}",
        report.message
    );
    assert!(
        rest.contains("not settled yet: web") || !rest.contains("web is"),
        "{}",
        report.message
    );
}

#[test]
fn a_git_redeploy_does_not_compare_the_images_with_those_before_its_own_pull() {
    let bench = Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
        let env = [("TAG", "1"), ("GREETING", "hello")];
        world.git_stack("web-stack", crate::redeploy::bench::FILE, &env);
    });
    push(&bench, "web", GOOD);
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert!(
        !report.message.contains("not the image"),
        "{}",
        report.message
    );
}

#[test]
fn a_reply_carries_the_ids_of_images() {
    let bench = Bench::new(Era::A);
    let old = bench.images()["web"].clone();
    let new = push(&bench, "web", GOOD);
    let report = bench.run(&Order::default());
    let web = report
        .services
        .iter()
        .find(|one| one.service == "web")
        .unwrap();
    assert_eq!(
        (web.image_id.clone(), web.previous_image_id.clone()),
        (Some(new), Some(old))
    );
    let worker = report
        .services
        .iter()
        .find(|one| one.service == "worker")
        .unwrap();
    assert!(worker.image_id.is_some() && worker.previous_image_id.is_none());
}
