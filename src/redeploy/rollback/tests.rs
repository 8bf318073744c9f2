//! Stacks that an update took down: which are rolled back, which are started again, and which are left alone.

use std::collections::BTreeMap;

use crate::fake::{Behaviour, Era, Fault, When, World};
use crate::portainer::StackId;
use crate::redeploy::bench::{Bench, GOOD, Watcher, engine_away};
use crate::redeploy::record::Memory as _;
use crate::stack::RollBack;
use crate::stack::order::Order;
use crate::stack::outcome::{Outcome, StackReport};

/// Two services that the engine does not start again when it returns.
const FILE: &str = "
services:
  web: {image: \"ghcr.io/acme/web:1\"}
  worker: {image: \"ghcr.io/acme/worker:1\"}
";

fn bench(era: Era, create: impl FnOnce(&mut World)) -> Bench {
    Bench::with(era, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
        create(world);
    })
}

fn file_stack(world: &mut World) {
    world.compose_stack("web-stack", FILE, &[]);
}

fn git_stack(world: &mut World) {
    world.git_stack("web-stack", FILE, &[]);
}

fn forced() -> Order {
    Order {
        force: true,
        ..Order::default()
    }
}

fn states(bench: &Bench) -> BTreeMap<String, &'static str> {
    let containers = bench.fake.world(|world| world.containers("web-stack"));
    let containers = containers.into_iter();
    containers.map(|one| (one.service, one.state)).collect()
}

#[track_caller]
fn check_restarted(bench: &Bench, report: &StackReport) {
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let text = "the stack was started again, ";
    assert!(report.message.contains(text), "{report:?}");
    let running = ["web", "worker"].map(|name| (name.to_owned(), "running"));
    assert_eq!(states(bench), BTreeMap::from(running), "{report:?}");
    assert!(bench.memory.recall(StackId(1)).blocked.is_empty());
}

#[test]
fn starts_a_git_stack_again_that_the_engine_took_down() {
    for era in [Era::A, Era::D] {
        for step in ["updating the stack", "waiting for "] {
            let bench = bench(era, git_stack);
            let report = bench.run_watched(&forced(), &engine_away(&bench, step, 20));
            check_restarted(&bench, &report);
            assert_eq!(bench.fake.puts().len(), 2, "{era:?} {step}");
        }
    }
}

#[test]
fn starts_a_stack_again_although_it_is_never_rolled_back() {
    for era in [Era::A, Era::D] {
        for newer in [false, true] {
            let mut bench = bench(era, file_stack);
            bench.stack.rollback = RollBack::Never;
            let old = bench.images();
            if newer {
                let push = |world: &mut World| world.push("ghcr.io/acme/web:1", GOOD);
                bench.fake.world(push);
            }
            let watcher = engine_away(&bench, "updating the stack", 20);
            let report = bench.run_watched(&forced(), &watcher);
            check_restarted(&bench, &report);
            // The same content: what was pulled stays.
            assert_eq!(bench.images()["web"] != old["web"], newer, "{report:?}");
            assert_eq!(bench.images()["worker"], old["worker"]);
        }
    }
}

/// A second submit of what cannot run would only take more of the stack down.
#[test]
fn leaves_a_stack_down_whose_own_image_is_at_fault() {
    for create in [file_stack, git_stack] {
        for era in [Era::A, Era::D] {
            let mut bench = bench(era, create);
            bench.stack.rollback = RollBack::Never;
            let broken = Behaviour::ExitsOnce { code: 3 };
            bench
                .fake
                .world(|world| world.push("ghcr.io/acme/web:1", broken));
            let report = bench.run(&Order::default());
            assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
            assert!(!report.message.contains("again"), "{report:?}");
            assert_eq!(bench.fake.puts().len(), 1, "{era:?}");
        }
    }
}

#[test]
fn starts_a_swarm_stack_again_whose_service_is_gone() {
    for lost in [true, false] {
        let bench = bench(Era::A, |world| {
            world.swarm_stack("web-stack", FILE, &[]);
        });
        let fault = match lost {
            true => Fault::CloseBefore,
            false => Fault::Answer(
                500,
                "application/json",
                "{\"message\":\"failed to deploy\",\"details\":\"timeout\"}".to_owned(),
            ),
        };
        bench.fake.fault(When::next("PUT", "/api/stacks"), fault);
        let watcher = Watcher::act(&bench.fake, "updating the stack", 1, |world| {
            world.remove_swarm_service("web-stack_worker");
        });
        let report = bench.run_watched(&Order::default(), &watcher);
        assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
        let text = "the stack was started again, ";
        assert!(report.message.contains(text), "{report:?}");
        assert_eq!(report.services.len(), 2, "{report:?}");
        assert_eq!(bench.fake.puts().len(), 2, "{report:?}");
        bench
            .fake
            .world(|world| world.swarm_image("web-stack_worker"));
    }
}

/// The record of what ran before is about the last update that moved images; a restart moves none.
#[test]
fn keeps_the_images_of_the_last_update_when_it_starts_a_stack_again() {
    let bench = bench(Era::A, file_stack);
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    assert_eq!(bench.run(&Order::default()).outcome, Outcome::Updated);
    let previous = bench.memory.recall(StackId(1)).previous;
    assert!(!previous.is_empty());
    let watcher = engine_away(&bench, "updating the stack", 20);
    check_restarted(&bench, &bench.run_watched(&forced(), &watcher));
    assert_eq!(bench.memory.recall(StackId(1)).previous, previous);
}

#[test]
fn does_not_contradict_itself_when_a_rollback_recreates_nothing() {
    for era in [Era::A, Era::B2] {
        let bench = Bench::new(era);
        bench.fake.world(|world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.dies_in_next_deploy = true;
        });
        let report = bench.run(&Order::default());
        let message = &report.message;
        assert!(
            message.contains("the previous images run again, "),
            "{message}"
        );
        assert!(message.contains("all healthy"), "{message}");
        for contradiction in ["needed an update", "services updated", "nothing newer"] {
            assert!(!message.contains(contradiction), "{message}");
        }
    }
}

/// An exited container with the project's label and a service of the file that compose does not take for its own.
#[test]
fn ignores_foreign_containers_named_like_a_service_of_the_file() {
    let twins: [&[(&str, &str)]; 3] = [
        &[("config-hash", "")],
        &[("service", "")],
        &[("project.config_files", "/srv/other/docker-compose.yml")],
    ];
    for labels in twins {
        let mut bench = Bench::new(Era::A);
        bench.stack.rollback = RollBack::WhenUnhealthy;
        let add = |world: &mut World| world.foreign_twin("web-stack", "worker", labels);
        bench.fake.world(add);
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Unchanged, "{labels:?}: {report:?}");
        assert_eq!(report.services.len(), 2, "{labels:?}: {report:?}");
        let watcher = Watcher::act(&bench.fake, "waiting for web", 1, move |world| {
            world.foreign_twin("web-stack", "web", labels);
        });
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
        let report = bench.run_watched(&Order::default(), &watcher);
        assert_eq!(report.outcome, Outcome::Updated, "{labels:?}: {report:?}");
        assert_eq!(bench.fake.puts().len(), 1, "{labels:?}");
    }
}

/// The answer is lost, and the update was never received; the job that ran before completes while the record is watched.
#[test]
fn a_completed_job_is_not_down_when_the_answer_is_lost() {
    for job in ["    restart: \"no\"\n", "    restart: on-failure\n"] {
        let file = format!("{FILE}  migrate:\n    image: ghcr.io/acme/migrate:1\n{job}");
        let bench = bench(Era::A, |world| {
            let after = std::time::Duration::from_secs(3620);
            world.push(
                "ghcr.io/acme/migrate:1",
                Behaviour::Finishes { after, code: 0 },
            );
            world.compose_stack("web-stack", &file, &[]);
        });
        bench
            .fake
            .fault(When::next("PUT", "/api/stacks"), Fault::CloseBefore);
        let report = bench.run(&forced());
        assert_eq!(states(&bench)["migrate"], "exited");
        assert_eq!(report.outcome, Outcome::Unknown, "{report:?}");
        assert_eq!(bench.fake.puts().len(), 1, "{report:?}");
    }
}
