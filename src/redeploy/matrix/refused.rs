//! Stacks that are not redeployed, and the words for it.

use crate::fake::{Behaviour, Era, Kind};
use crate::redeploy::bench::{GOOD, Watcher};
use crate::redeploy::matrix::case::only;
use crate::redeploy::matrix::check;
use crate::redeploy::matrix::expected::{Expected, NONE, failed, skipped};
use crate::redeploy::matrix::scene::{FILE, Scene, Sort};
use crate::stack::order::Order;

#[track_caller]
fn expect(set: impl Fn(&mut Scene), order: &Order, should: &Expected) {
    for sort in Sort::ALL {
        for era in [Era::A, Era::D] {
            let mut scene = Scene::new(sort, era);
            scene.push("web:1", GOOD);
            set(&mut scene);
            check(&scene, order, &Watcher::default(), should);
        }
    }
}

fn force() -> Order {
    Order {
        force: true,
        ..Order::default()
    }
}

#[test]
fn a_stack_that_is_not_there_is_refused_with_those_that_are() {
    let says = &[
        "no stack named \"wep-stack\"",
        "beside, web-stack",
        "made outside Portainer",
    ];
    expect(
        |scene| scene.bench.stack.name = "wep-stack".to_owned(),
        &Order::default(),
        &failed(0, NONE, says),
    );
}

#[test]
fn an_id_is_no_name_and_whose_it_is_is_said() {
    let says = &["is the id of the stack named web-stack"];
    expect(
        |scene| scene.bench.stack.name = scene.stack.to_string(),
        &Order::default(),
        &failed(0, NONE, says),
    );
}

#[test]
fn a_name_in_two_environments_is_refused_until_one_is_named() {
    let twice = |scene: &mut Scene| {
        scene.bench.fake.world(|world| {
            let there = world.environment("edge");
            world.compose_stack_in(
                there,
                "web-stack",
                "services: {x: {image: \"ghcr.io/acme/job:1\"}}",
                &[],
            );
        });
    };
    let says = &["several stacks", "edge, local", "\"environment\""];
    expect(twice, &Order::default(), &failed(0, NONE, says));
    let elsewhere = |scene: &mut Scene| {
        scene.bench.fake.world(|world| world.environment("edge"));
        scene.bench.stack.environment = Some("edge".to_owned());
    };
    expect(
        elsewhere,
        &Order::default(),
        &failed(0, NONE, &["not on environment \"edge\" but on local"]),
    );
}

#[test]
fn a_stopped_stack_stays_stopped_also_by_force() {
    let stop = |scene: &mut Scene| {
        scene
            .bench
            .fake
            .world(|world| world.stack_mut(scene.stack).status = 2)
    };
    for order in [Order::default(), force()] {
        expect(
            stop,
            &order,
            &skipped(&["is stopped in Portainer", "Start this stack"]),
        );
    }
}

#[test]
fn an_orphan_is_refused() {
    let orphan = |scene: &mut Scene| {
        scene.bench.fake.world(|world| {
            world.environment("other");
            let gone = world.environment("gone");
            world.stack_mut(scene.stack).environment = gone;
            world.remove_environment(gone);
        });
    };
    expect(
        orphan,
        &Order::default(),
        &failed(0, NONE, &["which Portainer no longer has"]),
    );
}

#[test]
fn kubernetes_is_refused() {
    let kind = |scene: &mut Scene| {
        scene
            .bench
            .fake
            .world(|world| world.stack_mut(scene.stack).kind = Kind::Kubernetes);
    };
    expect(kind, &Order::default(), &failed(0, NONE, &["Kubernetes"]));
}

#[test]
fn a_stack_with_portainer_in_it_is_refused_also_by_force() {
    for image in [
        "portainer/portainer-ce:2.24.0",
        "portainer/portainer-ee",
        "docker.io/portainer/agent:latest",
    ] {
        for order in [Order::default(), force()] {
            let scene = Scene::new(Sort::File, Era::A);
            scene.bench.fake.world(|world| {
                world.push(image, Behaviour::Runs);
                let file = FILE.replace("ghcr.io/acme/job:1", image);
                world.stack_mut(scene.stack).file = file;
            });
            let should = failed(
                0,
                NONE,
                &["contains Portainer itself", "docker on its host"],
            );
            check(&scene, &order, &Watcher::default(), &should);
        }
    }
    // The file may say so by an unknown variable; the container states it plainly.
    let mut scene = Scene::new(Sort::File, Era::A);
    let env = [
        ("TAG", "1"),
        ("GREETING", "hello"),
        ("IMAGE", "portainer/agent:2.24.0"),
    ];
    scene.bench.fake.world(|world| {
        world.push("portainer/agent:2.24.0", Behaviour::Runs);
        let file = FILE.replace("ghcr.io/acme/job:1", "${IMAGE:?missing}");
        world.compose_stack("agents", &file, &env);
    });
    scene.bench.stack.name = "agents".to_owned();
    check(
        &scene,
        &Order::default(),
        &Watcher::default(),
        &failed(0, NONE, &["portainer/agent:2.24.0"]),
    );
}

#[test]
fn a_limited_event_is_never_widened() {
    for (from, to, names) in [
        ("${TAG}", "${TAG/1/2}", "services.web.image"),
        ("${TAG}", "${OTHER:-2}", "default of a variable"),
        ("${TAG}", "${UNKNOWN}", "UNKNOWN"),
        ("services:", "include: [other.yml]\nservices:", "include"),
        (
            "    restart: \"no\"",
            "    extends: {service: web}",
            "extends",
        ),
        ("services:", "services: [", "not valid YAML"),
    ] {
        for era in Era::ALL {
            let scene = Scene::new(Sort::File, era);
            scene.push("web:1", GOOD);
            scene.bench.fake.world(|world| {
                world.stack_mut(scene.stack).file = FILE.replace(from, to);
            });
            let played = super::play(
                &scene,
                &only("ghcr.io/acme/web:1"),
                &Watcher::default(),
                || (),
            );
            let wrong = played.against(&failed(
                0,
                NONE,
                &[
                    "only ghcr.io/acme/web:1 should be updated",
                    "nothing was sent",
                ],
            ));
            assert!(wrong.is_empty(), "{era:?} {to}: {}", wrong.join("; "));
            let message = &played.report.message;
            assert!(
                message.to_lowercase().contains(&names.to_lowercase()),
                "{to}: {message}"
            );
        }
    }
}

#[test]
fn a_clean_up_that_is_refused_is_a_note() {
    let mut scene = Scene::new(Sort::File, Era::A);
    scene.bench.stack.cleanup = true;
    let first = scene
        .bench
        .fake
        .world(|world| world.container("web-stack", "web").image_id);
    scene.push("web:1", GOOD);
    scene.bench.run(&Order::default());
    // A person keeps the first one under another name.
    scene
        .bench
        .fake
        .world(|world| world.retag("kept:1", 1, &first));
    scene.push("web:1", GOOD);
    let report = scene.bench.run(&Order::default());
    assert!(
        report.message.contains("stays: it carries a tag"),
        "{report:?}"
    );
    assert!(
        scene
            .bench
            .fake
            .world(|world| world.local_id(&first, 1))
            .is_some()
    );
}
