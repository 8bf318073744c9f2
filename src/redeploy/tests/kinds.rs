//! Git and swarm stacks.

use super::{Bench, ERAS, GOOD};
use crate::fake::{Behaviour, Era};
use crate::image::Reference;
use crate::stack::order::{Cause, ImageFilter, Order, Selection};
use crate::stack::outcome::Outcome;

const SWARM: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    deploy:
      replicas: 2
      update_config: {failure_action: pause, monitor: 3s}
  db:
    image: ghcr.io/acme/worker:1
    deploy:
      replicas: 1
";

pub(super) fn swarm(era: Era) -> Bench {
    let mut bench = Bench::new(era);
    bench
        .fake
        .world(|world| world.swarm_stack("sw", SWARM, &[]));
    bench.stack.name = "sw".to_owned();
    bench
}

pub(super) fn named(image: &str) -> Order {
    let images = Selection::Only(vec![ImageFilter::Reference(
        Reference::parse(image).unwrap(),
    )]);
    Order {
        images,
        cause: Cause::Image,
        ..Order::default()
    }
}

#[test]
fn a_swarm_rollout_is_followed_to_its_end() {
    for era in ERAS {
        let bench = swarm(era);
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Updated, "{era:?} {report:?}");
        assert_eq!(report.message, "1 of 2 services updated, all running");
        let again = bench.run(&Order::default());
        assert_eq!(
            (again.outcome, again.verified),
            (Outcome::Unchanged, Some(true)),
            "{era:?} {again:?}"
        );
    }
}

#[test]
fn a_swarm_image_that_crashes_or_does_not_exist_is_a_failure_with_the_tasks_words() {
    for era in ERAS {
        let bench = swarm(era);
        bench.fake.world(|world| {
            let crash = Behaviour::CrashLoop {
                every: std::time::Duration::from_millis(500),
                code: 3,
            };
            world.push("ghcr.io/acme/web:1", crash);
        });
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Failed, "{era:?} {report:?}");
        assert!(
            report.message.contains("non-zero exit (3)"),
            "{}",
            report.message
        );
    }
}

#[test]
fn a_named_image_updates_only_its_swarm_service() {
    let bench = swarm(Era::A);
    let before = bench.fake.world(|world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
        world.swarm_image("sw_db")
    });
    let report = bench.run(&named("ghcr.io/acme/web:1"));
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert_eq!(bench.fake.world(|world| world.swarm_image("sw_db")), before);
    let puts = bench.fake.puts();
    assert_eq!(puts.len(), 1);
    assert!(
        puts[0].path.ends_with("/forceupdateservice"),
        "{}",
        puts[0].path
    );
    let other = bench.run(&named("ghcr.io/acme/other:1"));
    assert_eq!(other.outcome, Outcome::Skipped, "{other:?}");
}

#[test]
fn a_swarm_service_that_is_still_being_written_is_sent_once_more() {
    for (times, outcome, puts) in [(1, Outcome::Updated, 2), (2, Outcome::Failed, 2)] {
        let bench = swarm(Era::A);
        bench.fake.world(|world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.swarm_out_of_sequence(times);
        });
        let report = bench.run(&Order::default());
        assert_eq!(
            (report.outcome, bench.fake.puts().len()),
            (outcome, puts),
            "{report:?}"
        );
    }
}

const GIT: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
  worker:
    image: ghcr.io/acme/worker:1
    restart: unless-stopped
";

fn git(era: Era) -> (Bench, i64) {
    let mut bench = Bench::new(era);
    let id = bench
        .fake
        .world(|world| world.git_stack("repo", GIT, &[("SECRET_KEY", "s-sentinel-value")]));
    bench.stack.name = "repo".to_owned();
    (bench, id)
}

#[test]
fn a_new_commit_is_deployed_and_the_same_one_is_not() {
    for era in ERAS {
        let (bench, id) = git(era);
        let commit = bench.fake.world(|world| {
            world.commit(
                id,
                &GIT.replace("worker:1\n", "worker:1\n    labels: {x: y}\n"),
            )
        });
        let push = Order {
            cause: Cause::Push(Some(commit)),
            ..Order::default()
        };
        let report = bench.run(&push);
        assert_eq!(report.outcome, Outcome::Updated, "{era:?} {report:?}");
        assert_eq!(bench.run(&push).outcome, Outcome::Unchanged);
        let puts = bench.fake.puts();
        assert_eq!(puts.len(), 1);
        assert!(puts[0].path.ends_with("/git/redeploy"), "{}", puts[0].path);
        assert_eq!(puts[0].body["RepositoryReferenceName"], "refs/heads/main");
        // A plain request always submits: a commit without a delivery may be there.
        bench.run(&Order::default());
        assert_eq!(bench.fake.puts().len(), 2);
    }
}

#[test]
fn a_bad_image_in_a_new_commit_leaves_what_runs() {
    for era in ERAS {
        let (bench, id) = git(era);
        let commit = bench
            .fake
            .world(|world| world.commit(id, &GIT.replace("web:1", "web:nope")));
        let report = bench.run(&Order {
            cause: Cause::Push(Some(commit)),
            ..Order::default()
        });
        assert_eq!(report.outcome, Outcome::Failed, "{era:?} {report:?}");
        assert!(
            report
                .message
                .contains("Portainer has checked out a newer file"),
            "{}",
            report.message
        );
        assert!(
            report.message.contains("the containers are as before"),
            "{era:?} {}",
            report.message
        );
    }
}

#[test]
fn an_image_that_a_git_stack_has_already_is_not_deployed_again() {
    let (bench, _) = git(Era::A);
    assert_eq!(
        bench.run(&named("ghcr.io/acme/web")).outcome,
        Outcome::Unchanged
    );
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::Runs));
    let report = bench.run(&named("ghcr.io/acme/web"));
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert!(report.message.contains("as a whole"), "{}", report.message);
    bench
        .fake
        .world(|world| world.remove_from_registry("ghcr.io/acme/web:1"));
    assert_eq!(
        bench.run(&named("ghcr.io/acme/web")).outcome,
        Outcome::Failed
    );
    assert_eq!(bench.fake.puts().len(), 1);
}

#[test]
fn an_image_that_was_pushed_is_not_forgotten_over_a_commit_that_is_deployed_already() {
    for era in ERAS {
        let (bench, id) = git(era);
        let commit = bench.fake.world(|world| world.commit(id, GIT));
        let push = Order {
            cause: Cause::Push(Some(commit)),
            ..Order::default()
        };
        assert_eq!(bench.run(&push).outcome, Outcome::Updated, "{era:?}");
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::Runs));
        // Both have waited for their turn.
        let mut both = push;
        both.merge(named("ghcr.io/acme/web:1"));
        let report = bench.run(&both);
        assert_eq!(report.outcome, Outcome::Updated, "{era:?} {report:?}");
    }
}
