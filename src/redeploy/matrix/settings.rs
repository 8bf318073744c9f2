//! The effect of a stack's settings and an order's images: the pulls, the containers that stay, the time limit, the rollback.

use std::time::Duration;

use crate::fake::{Behaviour, Era};
use crate::image::Pattern;
use crate::redeploy::bench::{GOOD, Watcher};
use crate::redeploy::matrix::case::only;
use crate::redeploy::matrix::check;
use crate::redeploy::matrix::expected::{
    ALL, Expected, NONE, WEB, after_rollback, failed, skipped, unchanged, updated,
};
use crate::redeploy::matrix::scene::{SHARED, Scene, Sort};
use crate::stack::order::Order;
use crate::stack::{PullMode, RollBack};

fn scene(sort: Sort, era: Era, pull: PullMode) -> Scene {
    let mut scene = Scene::new(sort, era);
    scene.bench.stack.pull = pull;
    scene
}

#[track_caller]
fn expect(scene: &Scene, order: &Order, should: &Expected) {
    check(scene, order, &Watcher::default(), should);
}

fn tag(value: &str) -> Order {
    Order {
        set: [("TAG".to_owned(), value.to_owned())].into(),
        ..Order::default()
    }
}

#[test]
fn portainer_may_do_the_pulling() {
    for era in Era::ALL {
        let scene = scene(Sort::File, era, PullMode::Portainer);
        let repulled = if era == Era::A { NONE } else { ALL };
        let same = match era {
            Era::A => unchanged(1, NONE, &["nothing needed an update"]),
            _ => updated(1, repulled, &["with the same image: job, web, worker"]),
        };
        expect(&scene, &Order::default(), &same);
        scene.push("web:1", GOOD);
        let one = if era == Era::A { WEB } else { ALL };
        expect(
            &scene,
            &Order::default(),
            &updated(1, one, &["updated, all healthy"]),
        );
        expect(
            &scene,
            &only("ghcr.io/acme/web:1"),
            &failed(0, NONE, &["cannot be limited"]),
        );
        let missing = tag("9");
        let pulls = &["failed to pull images", "manifest unknown", "as before"];
        check(
            &scene,
            &missing,
            &Watcher::default(),
            &failed(1, NONE, pulls),
        );
    }
}

#[test]
fn what_portainer_pulled_and_took_down_is_brought_back() {
    for era in Era::ALL {
        let scene = scene(Sort::File, era, PullMode::Portainer);
        scene.push("web:1", Behaviour::CannotStart);
        expect(
            &scene,
            &Order::default(),
            &failed(2, ALL, &["the previous images run again"]),
        );
    }
}

#[test]
fn nothing_is_pulled_where_nothing_may_be() {
    for era in Era::ALL {
        let scene = scene(Sort::File, era, PullMode::Never);
        scene.push("web:1", GOOD);
        expect(
            &scene,
            &Order::default(),
            &unchanged(0, NONE, &["nothing newer"]),
        );
        scene
            .bench
            .fake
            .world(|world| world.pull("ghcr.io/acme/web:1", 1));
        expect(&scene, &Order::default(), &updated(1, WEB, &["1 of 3"]));
        let missing = ["ghcr.io/acme/web:9 is not on the host", "nothing was sent"];
        expect(&scene, &tag("9"), &failed(0, NONE, &missing));
    }
}

#[test]
fn excepted_images_stay_even_if_their_tags_were_moved() {
    for era in Era::ALL {
        let mut scene = Scene::new(Sort::File, era);
        scene.bench.stack.except = vec![Pattern::parse("ghcr.io/acme/shared:*").unwrap()];
        scene.push("web:1", GOOD);
        scene.push("job:1", Behaviour::ExitsOnce { code: 0 });
        scene.move_shared_tag();
        expect(
            &scene,
            &Order::default(),
            &updated(1, &["job", "web"], &["2 of 3"]),
        );
        // An event that names it updates it.
        expect(&scene, &only(SHARED), &updated(1, &["worker"], &["1 of 3"]));
    }
}

#[test]
fn excepted_images_of_git_stacks_cannot_stay_and_of_swarm_stacks_do() {
    let except = || vec![Pattern::parse("ghcr.io/acme/shared:*").unwrap()];
    for era in Era::ALL {
        let mut git = Scene::new(Sort::Git, era);
        git.bench.stack.except = except();
        expect(
            &git,
            &Order::default(),
            &failed(0, NONE, &["shared:*", "as a whole"]),
        );
        let mut swarm = Scene::new(Sort::Swarm, era);
        swarm.bench.stack.except = except();
        swarm.push("web:1", GOOD);
        swarm.push("shared:1", Behaviour::Runs);
        expect(
            &swarm,
            &Order::default(),
            &updated(2, &["job", "web"], &["2 of 3"]),
        );
    }
}

#[test]
fn an_event_reaches_the_services_that_use_its_image() {
    for sort in [Sort::File, Sort::Swarm] {
        let scene = Scene::new(sort, Era::A);
        scene.push("web:1", GOOD);
        scene.push("shared:1", Behaviour::Runs);
        let uses = &["ghcr.io/acme/shared:1", "ghcr.io/acme/web:1"];
        expect(&scene, &only("ghcr.io/acme/other"), &skipped(uses));
        expect(&scene, &only("ghcr.io/acme/web:2"), &skipped(uses));
        expect(
            &scene,
            &only("ghcr.io/acme/web"),
            &updated(1, WEB, &["1 of 3"]),
        );
        expect(&scene, &only(SHARED), &updated(1, &["worker"], &["1 of 3"]));
    }
}

#[test]
fn it_goes_back_when_it_should_and_only_then() {
    let crash = Behaviour::CrashLoop {
        every: Duration::from_millis(500),
        code: 3,
    };
    for (rollback, new, back) in [
        (RollBack::Never, Behaviour::CannotStart, false),
        (RollBack::Never, Behaviour::NeverHealthy, false),
        (RollBack::WhenDown, Behaviour::CannotStart, true),
        (RollBack::WhenDown, Behaviour::NeverHealthy, false),
        (RollBack::WhenDown, crash.clone(), false),
        (RollBack::WhenUnhealthy, Behaviour::CannotStart, true),
        (RollBack::WhenUnhealthy, Behaviour::NeverHealthy, true),
        (RollBack::WhenUnhealthy, crash, true),
    ] {
        for era in Era::ALL {
            let mut scene = Scene::new(Sort::File, era);
            scene.bench.stack.rollback = rollback;
            let before = scene.look();
            scene.push("web:1", new.clone());
            let down = new == Behaviour::CannotStart;
            let changed = match (down, era, back) {
                (true, Era::A | Era::B1, false) => NONE,
                (true, Era::A | Era::B1 | Era::D, true) => ALL,
                _ => WEB,
            };
            let puts = if back { 2 } else { 1 };
            let says = if back {
                "the previous images run again"
            } else {
                "web"
            };
            let says = if changed == NONE {
                "no container is left"
            } else {
                says
            };
            expect(&scene, &Order::default(), &failed(puts, changed, &[says]));
            if back {
                let again = &["was rolled back at", "--force"];
                assert_eq!(before.images(), scene.look().images());
                expect(&scene, &Order::default(), &skipped(again));
            }
        }
    }
}

#[test]
fn health_may_be_left_alone_and_then_is_not_claimed() {
    for sort in Sort::ALL {
        let mut scene = Scene::new(sort, Era::A);
        scene.bench.stack.healthy_within = Duration::ZERO;
        scene.push("web:1", Behaviour::NeverHealthy);
        let played = super::play(&scene, &Order::default(), &Watcher::default(), || ());
        assert_eq!(played.report.verified, Some(false), "{:?}", played.report);
        assert!(
            played.report.message.contains("not verified"),
            "{:?}",
            played.report
        );
    }
}

#[test]
fn force_submits_although_nothing_is_newer() {
    let order = Order {
        force: true,
        ..Order::default()
    };
    for era in Era::ALL {
        let file = Scene::new(Sort::File, era);
        expect(
            &file,
            &order,
            &unchanged(1, NONE, &["nothing needed an update"]),
        );
        let git = Scene::new(Sort::Git, era);
        expect(&git, &order, &updated(1, ALL, &["with the same image"]));
    }
}

#[test]
fn a_variable_is_set_and_the_others_are_kept() {
    let order = Order {
        set: [("GREETING".to_owned(), "good day".to_owned())].into(),
        ..Order::default()
    };
    for sort in Sort::ALL {
        for era in Era::ALL {
            let mut scene = Scene::new(sort, era);
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            scene.env = Some(vec![pair("TAG", "1"), pair("GREETING", "good day")]);
            let changed = if sort == Sort::Git { ALL } else { WEB };
            expect(
                &scene,
                &order,
                &updated(1, changed, &["3 services updated"]),
            );
            // What is set already needs no update.
            if sort == Sort::File {
                expect(&scene, &order, &unchanged(0, NONE, &["nothing newer"]));
            }
        }
    }
}

#[test]
fn a_container_started_by_hand_is_not_part_of_the_stack() {
    for era in Era::ALL {
        let scene = Scene::new(Sort::File, era);
        scene
            .bench
            .fake
            .world(|world| world.run_one_off("web-stack", "web"));
        expect(
            &scene,
            &Order::default(),
            &unchanged(0, NONE, &["nothing newer"]),
        );
        scene.push("web:1", GOOD);
        expect(&scene, &Order::default(), &updated(1, WEB, &["1 of 3"]));
        // It still runs the old image, and that makes nothing stale.
        expect(
            &scene,
            &Order::default(),
            &unchanged(0, NONE, &["nothing newer"]),
        );
    }
}

#[test]
fn the_old_value_of_a_variable_comes_back_with_the_old_image() {
    for era in Era::ALL {
        let scene = Scene::new(Sort::File, era);
        scene.push("web:2", Behaviour::CannotStart);
        let changed = after_rollback(era);
        let says = &["the previous images run again"];
        let before = scene.look();
        expect(&scene, &tag("2"), &failed(2, changed, says));
        let after = scene.look();
        assert_eq!(
            (&after.env, after.images()),
            (&scene.env, before.images()),
            "{era:?}"
        );
    }
}
