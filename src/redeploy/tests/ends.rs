//! Ends that would be easy to get wrong: what is said of them must be what happened.

use super::{Bench, GOOD, Watcher};
use crate::fake::{Era, World};
use crate::stack::order::{Cause, Order};
use crate::stack::outcome::Outcome;

/// What it wants is not certain to us: compose alone knows what `:?` leads to.
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
fn a_stack_that_somebody_takes_away_after_the_update_is_not_called_well() {
    let (bench, _) = uncertain(false);
    let bench = std::sync::Arc::new(bench);
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    let watcher = Watcher::act(&bench.fake, "waiting for web", 1, remove_all);
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    let says = "nothing of the stack is there";
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
