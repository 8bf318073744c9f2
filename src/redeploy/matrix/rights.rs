//! Standard users: what Portainer shows them, allows them, and keeps from them (contract 7).

use crate::fake::{Behaviour, Era, Fault, When};
use crate::redeploy::bench::{GOOD, Watcher};
use crate::redeploy::matrix::check;
use crate::redeploy::matrix::expected::{
    ALL, Expected, NONE, WEB, after_rollback, failed, unchanged, updated,
};
use crate::redeploy::matrix::scene::{Scene, Sort};
use crate::stack::RollBack;
use crate::stack::order::Order;

/// The rights of a standard user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Has {
    Nothing,
    Environment,
    Stack,
    StackWithoutManagement,
}

fn scene(sort: Sort, era: Era, has: Has) -> Scene {
    let mut scene = Scene::new(sort, era);
    let key = scene.bench.fake.world(|world| {
        let (user, key) = world.user_standard("robot", "pw-sentinel-robot");
        world.may_use_environment(user, 1, has >= Has::Environment);
        world.may_use_stack(user, scene.stack, has >= Has::Stack);
        world.stack_management(1, has != Has::StackWithoutManagement);
        key
    });
    scene.bench.log_in_as(&key);
    scene
}

#[track_caller]
fn expect(scene: &Scene, should: &Expected) {
    check(scene, &Order::default(), &Watcher::default(), should);
}

#[test]
fn a_stack_that_is_not_shared_may_as_well_not_exist() {
    for sort in Sort::ALL {
        for has in [Has::Nothing, Has::Environment] {
            let scene = scene(sort, Era::A, has);
            let says = &[
                "shows this user no stack at all",
                "not shared with this user",
            ];
            expect(&scene, &failed(0, NONE, says));
        }
    }
}

#[test]
fn a_shared_stack_is_redeployed_and_verified() {
    for era in Era::ALL {
        let scene = scene(Sort::File, era, Has::Stack);
        expect(&scene, &unchanged(0, NONE, &["all healthy"]));
        scene.push("web:1", GOOD);
        expect(
            &scene,
            &updated(1, WEB, &["1 of 3 services updated, all healthy"]),
        );
    }
}

#[test]
fn management_that_is_switched_off_is_said() {
    for sort in Sort::ALL {
        let scene = scene(sort, Era::A, Has::StackWithoutManagement);
        scene.push("web:1", GOOD);
        expect(
            &scene,
            &failed(
                0,
                NONE,
                &["Stack management is disabled for non-admin users"],
            ),
        );
    }
}

#[test]
fn an_empty_list_proves_nothing_to_a_standard_user() {
    for era in Era::ALL {
        let scene = scene(Sort::File, era, Has::Stack);
        scene.push("web:1", GOOD);
        let none = Fault::Answer(200, "application/json", "[]".to_owned());
        let list = "/api/endpoints/1/docker/containers/json";
        scene.bench.fake.fault(When::every("GET", list), none);
        let changed = if era == Era::A { WEB } else { ALL };
        let should = updated(1, changed, &["shows this user no container"]).unverified();
        expect(&scene, &should);
    }
}

#[test]
fn a_user_who_does_not_see_all_containers_can_roll_back() {
    for era in Era::ALL {
        let mut scene = scene(Sort::File, era, Has::Stack);
        scene.push("web:1", Behaviour::CannotStart);
        let changed = after_rollback(era);
        let says = &["the previous images run again"];
        expect(&scene, &failed(2, changed, says));
        scene = self::scene(Sort::File, era, Has::Stack);
        scene.bench.stack.rollback = RollBack::WhenUnhealthy;
        let newer = scene.push("web:1", Behaviour::NeverHealthy);
        expect(
            &scene,
            &failed(
                2,
                WEB,
                &["web is unhealthy", "the previous images run again"],
            ),
        );
        // Other stacks may use the newer image: their tag is given back.
        let tag = scene
            .bench
            .fake
            .world(|world| world.local_id("ghcr.io/acme/web:1", 1));
        assert_eq!(tag, Some(newer), "{era:?}");
    }
}
