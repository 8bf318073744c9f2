//! Recordings of newer releases: one test per kind of recording, each for every release that has one.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::replay::{Recording, Replay};
use crate::support::fake::{Behaviour, Era, Fake};

/// The number of a recorded release, the era that imitates it, and whether it is 2.41.
const RELEASES: [(&str, Era, bool); 6] = [
    ("33", Era::A, false),
    ("38", Era::B1, false),
    ("39", Era::B2, false),
    ("41", Era::C, true),
    ("43", Era::C, false),
    ("45", Era::D, false),
];

/// The kinds of recordings. Each has a test in this file, and each release has some of them.
const KINDS: [&str; 9] = [
    "update",
    "failures",
    "taken-port",
    "unhealthy-dependency",
    "prune",
    "misc",
    "proxy",
    "restart",
    "busy",
];

fn healthy() -> Behaviour {
    Behaviour::Healthy {
        after: Duration::from_millis(500),
    }
}

/// A fake in the initial state of the recording: its images, its stack, and a standard user with access.
fn fake_for(recording: &Recording, era: Era, is_2_41: bool) -> Fake {
    let fake = Fake::start(era);
    fake.skip_waiting(true);
    fake.world(|w| {
        if is_2_41 {
            w.imitate_2_41();
        }
        for (image, behaviour) in [
            ("web", healthy()),
            ("worker", Behaviour::Runs),
            ("dep", healthy()),
            ("slow", Behaviour::Runs),
        ] {
            let id = w.push(&recording.image(image), behaviour);
            if image == "slow" {
                w.image(&id).stops_in = Duration::from_secs(60);
            }
        }
        w.registry_down("127.0.0.1:5999", true);
        let (user, _) = w.user_standard("ops", "pw");
        w.may_use_environment(user, 1, true);
        if let Some((id, name, file, env)) = recording.stack() {
            w.next_stack_is(id);
            let env: Vec<(&str, &str)> =
                env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let id = w.compose_stack(&name, &file, &env);
            w.may_use_stack(user, id, true);
        }
    });
    fake
}

/// Replays one kind of recording for every release that has it.
#[track_caller]
fn check(kind: &str, prepare: impl Fn(Replay, &Recording) -> Replay) {
    assert!(KINDS.contains(&kind), "{kind}");
    for (number, era, is_2_41) in RELEASES {
        let name = format!("p{number}-{kind}");
        let Some(recording) = Recording::read(&name) else {
            continue;
        };
        let fake = fake_for(&recording, era, is_2_41);
        prepare(Replay::from_recording(&recording).on(fake), &recording).run();
    }
}

/// Pushes a newer image.
fn push(recording: &Recording, name: &str, behaviour: Behaviour) -> impl Fn(&Fake) + 'static {
    let reference = recording.image(name);
    move |fake| drop(fake.world(|w| w.push(&reference, behaviour.clone())))
}

#[test]
fn every_recording_of_a_newer_release_is_replayed() {
    let found: BTreeSet<String> = Recording::names()
        .into_iter()
        .filter(|name| name.starts_with('p') && name[1..].starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    let numbers = RELEASES.iter().map(|(number, _, _)| number);
    let replayed: BTreeSet<String> = numbers
        .flat_map(|number| KINDS.map(|kind| format!("p{number}-{kind}")))
        .collect();
    let missed: Vec<&String> = found.difference(&replayed).collect();
    assert!(missed.is_empty(), "not replayed: {missed:?}");
    // Each of these was recorded with all kinds that differ from the release before it.
    for (number, count) in [("39", 9), ("41", 4), ("43", 9)] {
        let prefix = format!("p{number}-");
        let own = found.iter().filter(|name| name.starts_with(&prefix));
        assert!(
            found.is_empty() || own.count() == count,
            "{number}: {found:?}"
        );
    }
}

#[test]
fn updates_of_newer_releases_are_as_recorded() {
    check("update", |replay, recording| {
        let newer = "web has a newer image; PullImage only";
        replay.before_note(newer, push(recording, "web", healthy()))
    });
}

#[test]
fn failures_of_newer_releases_are_as_recorded() {
    check("failures", |replay, _| replay);
}

#[test]
fn taken_ports_of_newer_releases_are_as_recorded() {
    check("taken-port", |replay, recording| {
        let port = recording.taken_port();
        replay.before_note("a port that is taken", move |fake| {
            fake.world(|w| w.take_port(1, &port));
        })
    });
}

#[test]
fn unhealthy_dependencies_of_newer_releases_are_as_recorded() {
    check("unhealthy-dependency", |replay, recording| {
        let sick = "the dependency has an unhealthy newer image";
        replay
            .before_note(sick, push(recording, "dep", Behaviour::NeverHealthy))
            .before_note("a good image", push(recording, "dep", healthy()))
    });
}

#[test]
fn prune_of_newer_releases_is_as_recorded() {
    check("prune", |replay, _| replay);
}

#[test]
fn credentials_and_routes_of_newer_releases_are_as_recorded() {
    check("misc", |replay, _| {
        // The recording continues after the end of the deployment.
        replay.before_note("it runs", |fake| {
            fake.clock().fetch_add(5000, Ordering::SeqCst);
        })
    });
}

#[test]
fn the_docker_proxy_of_newer_releases_is_as_recorded() {
    let by_hand = "registries are set up by the tests, not through the API";
    check("proxy", |replay, recording| {
        // The host had the private image when 2.43 was recorded, and did not when 2.39 was.
        let on_the_host = recording.number() == "43";
        replay
            .before_note("private, no credentials", move |fake| {
                fake.world(|w| {
                    w.push("127.0.0.1:5001/priv:1", Behaviour::Runs);
                    if on_the_host {
                        w.pull("127.0.0.1:5001/priv:1", 1);
                    }
                    w.registry_private("127.0.0.1:5001", "puller", "pull-pass-9");
                });
            })
            .without("tag", "the recorded image is unknown to the fake")
            .without("tag, standard user", "the same")
            .without("(made by hand)", by_hand)
            .without("the standard user may use it", by_hand)
            .without("standard user", by_hand)
            .without_path("/api/registries", by_hand)
            .without_path("/logs", "the recorded container wrote nothing")
    });
}

#[test]
fn a_restart_during_a_deployment_is_as_recorded() {
    check("restart", |replay, recording| {
        let (path, body) = recording.interrupted_update();
        let parallel = "compose replaces services side by side, the fake one after the other";
        replay
            .before_note("right after the kill", move |fake| {
                fake.world(|w| w.dies_in_next_deploy = true);
                let headers = [("X-API-Key", fake.api_key())];
                let put = |path: &str| {
                    super::super::client::send(fake, "PUT", path, &headers, Some(&body))
                };
                put(&path);
                fake.clock().fetch_add(30_000, Ordering::SeqCst);
                fake.world(|_| ());
            })
            .without("right after the kill", parallel)
            .without("after the restart", parallel)
            .without("after the next update", parallel)
            .without("after one more", parallel)
    });
}

#[test]
fn a_busy_portainer_is_as_recorded() {
    for (number, era, is_2_41) in RELEASES {
        let Some(recording) = Recording::read(&format!("p{number}-busy")) else {
            continue;
        };
        let fake = fake_for(&recording, era, is_2_41);
        let seen = recording.busy_answers();
        let locks = seen["5 GET stacks (API key, standard user; key not used for a minute)"][1]
            .as_f64()
            .unwrap()
            > 5.0;
        // Slow deployments; the first one is running.
        let file = "services:\n  web:\n    image: web:1\n    environment: {A: \"${A:-0}\"}\n";
        let id = fake.world(|w| {
            w.push("web:1", Behaviour::Runs);
            w.pace.create = Duration::from_secs(12);
            w.compose_stack("slow", file, &[("A", "1")])
        });
        let user = fake.world(|w| {
            let (user, key) = w.user_standard("idle", "pw");
            w.may_use_environment(user, 1, true);
            key
        });
        let path = format!("/api/stacks/{id}?endpointId=1");
        let body =
            serde_json::json!({ "StackFileContent": file, "Env": [{ "name": "A", "value": "2" }] });
        let body = body.to_string();
        let headers = [("X-API-Key", fake.api_key())];
        let send = super::super::client::send;
        std::thread::scope(|scope| {
            fake.skip_waiting(false);
            let first = scope.spawn(|| send(&fake, "PUT", &path, &headers, Some(&body)).unwrap());
            while !fake.world(|w| w.is_deploying()) {
                std::thread::yield_now();
            }
            let began = fake.world(|w| w.now());
            let known = send(&fake, "GET", "/api/stacks", &headers, None).unwrap();
            let took = fake.world(|w| w.now()) - began;
            assert!(known.status == 200 && took < 5_000, "p{number}: {took}");
            fake.skip_waiting(true);
            let idle = [("X-API-Key", user.as_str())];
            let other = send(&fake, "GET", "/api/stacks", &idle, None).unwrap();
            let took = fake.world(|w| w.now()) - began;
            assert_eq!(
                (other.status, took > 5_000),
                (200, locks),
                "p{number}: {took}"
            );
            if !locks {
                let second = send(&fake, "PUT", &path, &headers, Some(&body)).unwrap();
                assert_eq!(second.status, 409, "p{number}");
                let stop = format!("/api/stacks/{id}/stop?endpointId=1");
                let stop = send(&fake, "POST", &stop, &headers, None).unwrap();
                let details = &seen["8 stop while deploying"];
                assert_eq!(
                    (&details[0], &details[2]),
                    (&stop.status.into(), &stop.body["details"]),
                    "p{number}"
                );
            }
            assert_eq!(first.join().unwrap().status, 200, "p{number}");
        });
    }
}
