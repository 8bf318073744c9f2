//! Pulls on every engine, from every kind of registry, and images that are not pulled.

use std::collections::BTreeMap;

use super::kinds::{named, swarm};
use super::{Bench, ERAS, GOOD};
use crate::fake::{Behaviour, EngineStyle, Era, World};
use crate::secret::to_base64;
use crate::stack::order::Order;
use crate::stack::outcome::Outcome;

const ENGINES: [EngineStyle; 4] = [
    EngineStyle::Docker20,
    EngineStyle::Docker27,
    EngineStyle::Docker29,
    EngineStyle::Podman,
];

/// A stack of one service `app` whose image the test prepares.
fn app(style: EngineStyle, file: &str, prepare: impl FnOnce(&mut World)) -> Bench {
    Bench::with(Era::A, |world| {
        world.use_engine(style);
        world.push("ghcr.io/acme/web:1", GOOD);
        prepare(world);
        world.compose_stack("web-stack", file, &[]);
    })
}

/// `web` is pulled from a registry, `own` was built on the host.
const OWN: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
  own:
    image: acme/own:1
";

fn pulls(bench: &Bench) -> Vec<String> {
    let calls = bench.fake.calls().into_iter();
    calls
        .filter(|call| call.path.ends_with("/images/create"))
        .map(|call| {
            call.query
                .iter()
                .map(|(_, value)| format!("{value} "))
                .collect()
        })
        .collect()
}

#[test]
fn a_newer_image_is_deployed_on_every_engine() {
    for style in ENGINES {
        for era in ERAS {
            let bench = Bench::with(era, |world| {
                world.use_engine(style);
                world.push("ghcr.io/acme/web:1", GOOD);
                world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
                world.compose_stack(
                    "web-stack",
                    super::super::bench::FILE,
                    &[("TAG", "1"), ("GREETING", "hello")],
                );
            });
            let same = bench.run(&Order::default());
            assert_eq!(
                same.outcome,
                Outcome::Unchanged,
                "{style:?} {era:?} {same:?}"
            );
            bench
                .fake
                .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
            let report = bench.run(&Order::default());
            assert_eq!(
                report.outcome,
                Outcome::Updated,
                "{style:?} {era:?} {report:?}"
            );
            assert!(
                report.message.starts_with("1 of 2 services updated"),
                "{}",
                report.message
            );
        }
    }
}

#[test]
fn an_image_that_was_made_on_the_host_is_never_replaced_by_one_of_that_name() {
    for style in ENGINES {
        let bench = app(style, OWN, |world| {
            world.local_image("acme/own:1", 1, Behaviour::Runs);
            // Another owner has that name in a registry; an older engine with this store cannot tell.
            if style != EngineStyle::Docker27 {
                world.push("acme/own:1", Behaviour::Runs);
            }
        });
        let before = bench.fake.world(|world| world.local_id("acme/own:1", 1));
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Unchanged, "{style:?} {report:?}");
        assert!(
            report
                .message
                .contains("own: acme/own:1 was made on the host"),
            "{report:?}"
        );
        assert!(
            !pulls(&bench).iter().any(|pull| pull.contains("own")),
            "{style:?}"
        );
        let after = bench.fake.world(|world| world.local_id("acme/own:1", 1));
        assert_eq!(before, after, "{style:?}");
    }
}

#[test]
fn an_image_whose_origin_is_unknown_is_pulled_if_the_registry_has_it() {
    let bench = app(EngineStyle::Docker27, OWN, |world| {
        world.push("acme/own:1", Behaviour::Runs);
    });
    bench
        .fake
        .world(|world| world.push("acme/own:1", Behaviour::Runs));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert!(
        report
            .message
            .contains("does not record where acme/own:1 came from"),
        "{report:?}"
    );
}

#[test]
fn an_image_of_unknown_origin_that_needs_credentials_is_pulled_with_them() {
    let private = |world: &mut World| {
        world.push("reg.example/own:1", Behaviour::Runs);
        world.registry_private("reg.example", "robot", "pw-sentinel-registry");
    };
    let file = OWN.replace("acme/own:1", "reg.example/own:1");
    let bench = app(EngineStyle::Docker27, &file, private);
    bench
        .fake
        .world(|world| world.push("reg.example/own:1", Behaviour::Runs));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    // Refused, it is one that was made on the host.
    let bench = app(EngineStyle::Docker27, &file, |world| {
        world.local_image("reg.example/own:1", 1, Behaviour::Runs);
        world.registry_locked("reg.example", "robot", "pw-sentinel-registry");
        world.registry_stored("reg.example", "robot", "pw-sentinel-wrong");
    });
    let report = bench.run(&Order::default());
    assert!(report.outcome.is_good(), "{report:?}");
    assert!(
        report.message.contains("the image on the host is used"),
        "{report:?}"
    );
}

#[test]
fn every_matching_registry_is_tried_and_named() {
    let bench = app(EngineStyle::Docker20, OWN, |world| {
        world.local_image("acme/own:1", 1, Behaviour::Runs);
    });
    bench.fake.world(|world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.registry_stored("ghcr.io", "old", "pw-sentinel-old");
        world.registry_private("ghcr.io", "robot", "pw-sentinel-registry");
        world.registry_stored("ghcr.io", "other", "pw-sentinel-other");
    });
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    assert_eq!(pulls(&bench).len(), 2);
    bench
        .fake
        .world(|world| world.registry_locked("ghcr.io", "new", "pw-sentinel-new"));
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    for words in [
        "no basic auth credentials",
        "tried with Portainer's registries",
        "pull = \"portainer\"",
    ] {
        assert!(report.message.contains(words), "{}", report.message);
    }
    assert_eq!(pulls(&bench).len(), 5);
}

#[test]
fn pull_policy_missing_pulls_only_what_is_missing() {
    for policy in ["missing", "if_not_present"] {
        let file = OWN.replace(
            "acme/own:1",
            &format!("acme/own:1\n    pull_policy: {policy}"),
        );
        let bench = app(EngineStyle::Docker20, &file, |world| {
            world.push("acme/own:1", Behaviour::Runs);
        });
        let newer = bench
            .fake
            .world(|world| world.push("acme/own:1", Behaviour::Runs));
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Unchanged, "{report:?}");
        let report = bench.run(&named("acme/own:1"));
        assert_eq!(report.outcome, Outcome::Unchanged, "{report:?}");
        assert!(report.message.contains("its \"pull_policy\""), "{report:?}");
        let id = bench
            .fake
            .world(|world| world.local_id("acme/own:1", 1))
            .unwrap();
        assert_ne!(id, newer);
        bench.fake.world(|world| world.remove_local_image(&id, 1));
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
    }
}

#[test]
fn a_service_with_a_build_is_pulled_if_its_image_was() {
    let file = OWN.replace(
        "    image: acme/own:1",
        "    build: .\n    image: acme/own:1",
    );
    let bench = app(EngineStyle::Docker20, &file, |world| {
        world.push("acme/own:1", Behaviour::Runs);
        world.pull("acme/own:1", 1);
    });
    bench
        .fake
        .world(|world| world.push("acme/own:1", Behaviour::Runs));
    let report = bench.run(&named("acme/own:1"));
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
}

#[test]
fn a_default_that_the_running_container_contradicts_is_not_certain() {
    let file = OWN.replace("acme/own:1", "acme/own:${OTHER:-1}");
    let bench = Bench::with(Era::A, |world| {
        world.push("ghcr.io/acme/web:1", GOOD);
        world.push("acme/own:1", Behaviour::Runs);
        world.push("acme/own:2", Behaviour::Runs);
        let id = world.compose_stack("web-stack", &file, &[("OTHER", "2")]);
        // A source that the API does not show set it.
        world.stack_mut(id).env = None;
    });
    let report = bench.run(&named("acme/own:1"));
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(
        report.message.contains("the default of a variable"),
        "{report:?}"
    );
    assert!(pulls(&bench).is_empty());
    // The whole stack: Portainer pulls.
    let report = bench.run(&Order::default());
    assert!(
        report.message.contains("Portainer pulled by itself"),
        "{report:?}"
    );
}

#[test]
fn a_delivered_value_that_compose_parses_is_loaded_before_anything_is_touched() {
    let file = OWN.replace("acme/own:1", "acme/own:1\n    ports: ['${PORT:-80}:80']");
    let bench = app(EngineStyle::Docker20, &file, |world| {
        world.push("acme/own:1", Behaviour::Runs);
    });
    let before = bench.containers();
    let mut order = Order::default();
    order.set.insert("PORT".to_owned(), "8080".to_owned());
    let report = bench.run(&order);
    assert!(
        report
            .message
            .contains("the delivery changes variable \"PORT\""),
        "{report:?}"
    );
    let mut order = named("acme/own:1");
    order.set.insert("PORT".to_owned(), "http".to_owned());
    let report = bench.run(&order);
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(!before.is_empty());
}

#[test]
fn a_registry_that_is_assigned_to_the_stack_is_tried_first() {
    for mine_is_last in [true, false] {
        let (mut own, mut id) = (0, 0);
        let bench = Bench::with(Era::A, |world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.local_image("acme/own:1", 1, Behaviour::Runs);
            id = world.compose_stack("web-stack", OWN, &[]);
            let first = world.registry_private("ghcr.io", "robot", "pw-sentinel-registry");
            let last = world.registry_stored("ghcr.io", "robot", "pw-sentinel-registry");
            own = if mine_is_last { last } else { first };
            let extra = &mut world.stack_mut(id).extra;
            extra.insert("Registries".to_owned(), serde_json::json!([own]));
            world.push("ghcr.io/acme/web:1", GOOD);
        });
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
        let calls = bench.fake.calls().into_iter();
        let tried: Vec<Option<String>> = calls
            .filter(|call| call.path.ends_with("/images/create"))
            .map(|call| call.headers.get("x-registry-auth").cloned())
            .collect();
        let auth = to_base64(format!("{{\"registryId\":{own}}}").as_bytes());
        assert_eq!(tried, [Some(auth)], "last: {mine_is_last}");
    }
}

#[test]
fn the_platform_of_a_service_is_asked_of_the_engine() {
    for (platform, wanted) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("${ARCH}", "linux/arm64"),
    ] {
        let file = OWN.replace(
            "acme/own:1",
            &format!("acme/own:1\n    platform: {platform}"),
        );
        let bench = Bench::with(Era::A, |world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("acme/own:1", Behaviour::Runs);
            world.compose_stack("web-stack", &file, &[("ARCH", "linux/arm64")]);
        });
        bench.run(&Order::default());
        let calls = bench.fake.calls().into_iter();
        let asked: BTreeMap<String, Option<String>> = calls
            .filter(|call| call.path.ends_with("/images/create"))
            .map(|call| {
                let get = |name: &str| {
                    let mut pairs = call.query.iter();
                    pairs
                        .find(|(key, _)| key == name)
                        .map(|(_, value)| value.clone())
                };
                (get("fromImage").unwrap(), get("platform"))
            })
            .collect();
        let expected = [
            ("acme/own".to_owned(), Some(wanted.to_owned())),
            ("ghcr.io/acme/web".to_owned(), None),
        ];
        assert_eq!(asked, BTreeMap::from(expected), "{platform}");
    }
}

#[test]
fn a_default_that_a_file_of_the_repository_may_replace_is_not_certain() {
    let file = OWN.replace("acme/own:1", "acme/own:${OTHER:-1}");
    let scene = |from_git: bool, env: &[(&str, &str)]| {
        Bench::with(Era::A, |world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("acme/own:1", Behaviour::Runs);
            match from_git {
                true => world.git_stack("web-stack", &file, env),
                false => world.compose_stack("web-stack", &file, env),
            };
            world.push("acme/own:1", Behaviour::Runs);
        })
    };
    for order in [named("acme/own:1"), Order::default()] {
        let bench = scene(true, &[]);
        let report = bench.run(&order);
        assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
        assert!(pulls(&bench).is_empty(), "Portainer pulls: {report:?}");
        assert_eq!(bench.fake.puts()[0].body["PullImage"], true);
    }
    // Certain: the stack has the variable, or its file is its only source.
    for (from_git, env) in [(true, &[("OTHER", "1")][..]), (false, &[])] {
        let bench = scene(from_git, env);
        let report = bench.run(&named("acme/own:1"));
        assert_eq!(report.outcome, Outcome::Updated, "{from_git} {report:?}");
        assert_eq!(pulls(&bench).len(), 1, "{from_git} {report:?}");
    }
}

#[test]
fn a_swarm_service_that_loses_its_digest_is_unknown() {
    for whole in [true, false] {
        let bench = swarm(Era::A);
        bench
            .fake
            .world(|world| world.registry_down("ghcr.io", true));
        let order = match whole {
            true => Order::default(),
            false => named("ghcr.io/acme/web:1"),
        };
        let report = bench.run(&order);
        assert_eq!(report.outcome, Outcome::Unknown, "{whole} {report:?}");
        assert_eq!(report.verified, Some(false), "{report:?}");
        assert!(
            report.message.contains("has no digest any more"),
            "{report:?}"
        );
        assert!(
            report.services.iter().all(|one| !one.new_image),
            "{report:?}"
        );
    }
}

#[test]
fn a_single_swarm_service_whose_image_needs_credentials_is_not_updated() {
    let bench = swarm(Era::A);
    bench.fake.world(|world| {
        world.registry_private("ghcr.io", "robot", "pw-sentinel-registry");
        world.push("ghcr.io/acme/web:1", GOOD);
    });
    let report = bench.run(&named("ghcr.io/acme/web:1"));
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(report.message.contains("needs credentials"), "{report:?}");
    assert!(bench.fake.puts().is_empty());
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Updated, "{report:?}");
}

#[test]
fn a_swarm_stack_that_runs_portainer_is_refused_even_if_its_file_is_not_certain() {
    const FILE: &str =
        "services:\n  agent:\n    image: portainer/agent:${TAG}\n    platform: linux\n";
    let bench = Bench::with(Era::A, |world| {
        world.push("portainer/agent:1", Behaviour::Runs);
        world.swarm_stack("web-stack", FILE, &[("TAG", "1")]);
    });
    let report = bench.run(&Order::default());
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(
        report.message.contains("contains Portainer itself"),
        "{report:?}"
    );
    assert!(bench.fake.puts().is_empty());
}
