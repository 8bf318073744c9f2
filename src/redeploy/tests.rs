//! The redeploy of compose file stacks, era by era, against the fake Portainer.

mod earlier;
mod ends;
mod kinds;
mod pulls;
mod vanished;
mod verdicts;

use std::sync::Arc;

use super::bench::{Bench, GOOD, Watcher};
use crate::fake::{Behaviour, Era, World};
use crate::stack::order::Order;
use crate::stack::outcome::Outcome;
use crate::stack::{PullMode, RollBack};

const ERAS: [Era; 6] = Era::ALL;

#[test]
fn a_newer_image_restarts_exactly_its_service_in_every_era() {
    for era in ERAS {
        let bench = Bench::new(era);
        let before = bench.containers();
        let new = bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Updated, "{era:?} {report:?}");
        assert_eq!(report.message, "1 of 2 services updated, all healthy");
        assert_eq!(
            (report.verified, bench.recreated(&before)),
            (Some(true), vec!["web".to_owned()])
        );
        assert_eq!(bench.images()["web"], new);
        let puts = bench.fake.puts();
        assert_eq!(puts.len(), 1);
        assert_eq!(
            puts[0].body["Env"],
            serde_json::json!([{"name": "TAG", "value": "1"}, {"name": "GREETING", "value": "hello"}])
        );
    }
}

#[test]
fn nothing_newer_touches_nothing() {
    for era in ERAS {
        let bench = Bench::new(era);
        let before = bench.containers();
        let report = bench.run(&Order::default());
        assert_eq!(
            (report.outcome, report.verified),
            (Outcome::Unchanged, Some(true)),
            "{era:?} {report:?}"
        );
        assert_eq!(report.message, "nothing newer, all healthy");
        assert_eq!((bench.containers(), bench.fake.puts().len()), (before, 0));
    }
}

#[test]
fn an_unhealthy_image_is_a_failure_and_stays_one() {
    for era in ERAS {
        let bench = Bench::new(era);
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Failed, "{era:?} {report:?}");
        assert_eq!(report.message, "the update was made, but web is unhealthy");
        let again = bench.run(&Order::default());
        assert_eq!(again.outcome, Outcome::Failed, "{era:?} {again:?}");
        assert_eq!(again.message, "nothing newer, and web is still unhealthy");
    }
}

/// `worker` waits for a healthy `web`, so that a sick `web` makes `up` fail and, in era A, takes the stack down.
const DEPENDENT: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
  worker:
    image: ghcr.io/acme/worker:1
    restart: unless-stopped
    depends_on:
      web:
        condition: service_healthy
";

fn dependent(era: Era) -> Bench {
    let mut bench = Bench::new(era);
    bench
        .fake
        .world(|world| world.compose_stack("pair", DEPENDENT, &[]));
    bench.stack.name = "pair".to_owned();
    bench
}

#[test]
fn a_stack_that_an_update_took_down_is_brought_back() {
    let bench = dependent(Era::A);
    let before = bench
        .fake
        .world(|world| world.container("pair", "web").image_id);
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(
        report.message.contains("the previous images run again"),
        "{}",
        report.message
    );
    let web = bench.fake.world(|world| world.container("pair", "web"));
    assert_eq!((web.image_id, web.state), (before, "running"));
    assert_eq!(bench.fake.puts().len(), 2);
    // The failed image is blocked, however often it is delivered.
    let again = bench.run(&Order::default());
    assert_eq!(again.outcome, Outcome::Skipped, "{again:?}");
    assert_eq!(bench.fake.puts().len(), 2);
    let forced = bench.run(&Order {
        force: true,
        ..Order::default()
    });
    assert_eq!(forced.outcome, Outcome::Failed, "{forced:?}");
    // Something newer that proves well ends the hold.
    let newer = bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    let fixed = bench.run(&Order::default());
    assert_eq!(fixed.outcome, Outcome::Updated, "{fixed:?}");
    assert_eq!(
        bench
            .fake
            .world(|world| world.container("pair", "web").image_id),
        newer
    );
}

#[test]
fn a_stack_that_portainers_own_pull_took_down_is_brought_back() {
    let mut bench = dependent(Era::A);
    bench.stack.pull = PullMode::Portainer;
    let before = bench
        .fake
        .world(|world| world.container("pair", "web").image_id);
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
    let report = bench.run(&Order::default());
    assert!(
        report.message.contains("the previous images run again"),
        "{}",
        report.message
    );
    assert_eq!(
        bench
            .fake
            .world(|world| world.container("pair", "web").image_id),
        before
    );
}

#[test]
fn a_tag_that_moves_at_the_moment_of_the_update_is_named() {
    let bench = Arc::new(Bench::new(Era::A));
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    let meanwhile = Arc::clone(&bench);
    let act = move || {
        meanwhile.fake.world(|world| {
            let other = world.push("ghcr.io/acme/web:2", GOOD);
            world.pull("ghcr.io/acme/web:2", 1);
            world.retag("ghcr.io/acme/web:1", 1, &other);
        });
    };
    let watcher = Watcher {
        at: Some(("updating the stack", Box::new(act))),
        ..Watcher::default()
    };
    let report = bench.run_watched(&Order::default(), &watcher);
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert!(
        report
            .message
            .ends_with("not the image that its tag had when the update was sent: web"),
        "{}",
        report.message
    );
}

#[test]
fn unhealthy_is_rolled_back_only_where_that_is_wanted() {
    for (rollback, back) in [
        (RollBack::WhenDown, false),
        (RollBack::Never, false),
        (RollBack::WhenUnhealthy, true),
    ] {
        for era in ERAS {
            let mut bench = Bench::new(era);
            bench.stack.rollback = rollback;
            let before = bench.images();
            bench
                .fake
                .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
            let report = bench.run(&Order::default());
            assert_eq!(report.outcome, Outcome::Failed, "{era:?} {report:?}");
            assert_eq!(
                bench.images() == before,
                back,
                "{era:?} {rollback:?} {report:?}"
            );
        }
    }
}

#[test]
fn a_person_goes_back_once() {
    let bench = Bench::new(Era::A);
    let none = bench.roll_back();
    assert_eq!(
        (none.outcome, none.message.as_str()),
        (
            Outcome::Failed,
            "cannot roll back: nothing is kept without a state_dir"
        )
    );
    let before = bench.images();
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    assert_eq!(bench.run(&Order::default()).outcome, Outcome::Updated);
    let back = bench.roll_back();
    assert_eq!(back.outcome, Outcome::Updated, "{back:?}");
    assert_eq!(bench.images(), before);
    assert_eq!(bench.roll_back().outcome, Outcome::Failed);
}

#[test]
fn variables_go_back_too() {
    let bench = Bench::new(Era::A);
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:2", Behaviour::CannotStart));
    let before = bench.images();
    let set = [
        ("TAG".to_owned(), "2".to_owned()),
        ("NEW".to_owned(), "x".to_owned()),
    ]
    .into();
    let report = bench.run(&Order {
        set,
        ..Order::default()
    });
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(
        report.message.contains("the previous images run again"),
        "{}",
        report.message
    );
    assert_eq!(bench.images(), before);
    let env = bench
        .fake
        .world(|world| world.stack("web-stack").env.clone());
    assert_eq!(
        env,
        Some(vec![
            ("TAG".to_owned(), "1".to_owned()),
            ("GREETING".to_owned(), "hello".to_owned())
        ])
    );
}

#[test]
fn the_image_before_the_one_before_is_cleaned_up() {
    let mut bench = Bench::new(Era::A);
    bench.stack.cleanup = true;
    let mut ids = vec![bench.images()["web"].clone()];
    for _ in 0..3 {
        ids.push(
            bench
                .fake
                .world(|world| world.push("ghcr.io/acme/web:1", GOOD)),
        );
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    }
    let there = |id: &String| bench.fake.world(|world| world.local_id(id, 1).is_some());
    assert_eq!(
        ids.iter().map(there).collect::<Vec<_>>(),
        [false, false, true, true]
    );
}

/// The image that the update before replaced is needed again, and one that a person has tagged belongs to that person.
#[test]
fn an_image_that_is_used_or_tagged_is_not_cleaned_up() {
    let mut bench = Bench::new(Era::A);
    bench.stack.cleanup = true;
    let first = bench.images()["web"].clone();
    let push = |bench: &Bench| {
        let world = |world: &mut World| world.push("ghcr.io/acme/web:1", GOOD);
        bench.fake.world(world)
    };
    let second = push(&bench);
    assert_eq!(bench.run(&Order::default()).outcome, Outcome::Updated);
    bench
        .fake
        .world(|world| world.push_again("ghcr.io/acme/web:1", &first));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert!(!report.message.contains("the update before"), "{report:?}");
    assert_eq!(bench.images()["web"], first);
    bench
        .fake
        .world(|world| world.retag("ghcr.io/acme/keep:1", 1, &second));
    push(&bench);
    let report = bench.run(&Order::default());
    assert!(report.message.contains("it carries a tag"), "{report:?}");
    let kept = bench
        .fake
        .world(|world| world.local_id("ghcr.io/acme/keep:1", 1));
    assert_eq!(kept, Some(second));
}

#[test]
fn a_dry_run_says_what_would_happen_and_only_looks() {
    let bench = Bench::new(Era::A);
    bench
        .fake
        .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
    let lines = bench.preview(&Order::default()).unwrap().join("\n");
    for words in [
        "would pull ghcr.io/acme/web:1: the registry has a newer image",
        "would restart web",
        "keeps 2 variables",
    ] {
        assert!(lines.contains(words), "{words:?} is not in {lines}");
    }
    assert!(bench.fake.calls().iter().all(|call| call.method == "GET"));
}
