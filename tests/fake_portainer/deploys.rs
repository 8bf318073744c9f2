//! Deployments over time: intermediate states, the queue, and the remains of an interrupted deployment.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{get, put, send};
use super::{FILE, shop, update};
use crate::support::fake::{Behaviour, Era, Fake};

/// Polls until `look` returns something, for at most 10 seconds.
#[track_caller]
fn soon<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::yield_now();
    }
}

/// Makes `web` take a minute to stop, and pushes a new image for it.
fn slow_to_stop(fake: &Fake) {
    fake.world(|w| {
        let old = w.container("shop", "web");
        w.image(&old.image_id).stops_in = Duration::from_secs(60);
        let file = FILE.replace("restart:", "stop_grace_period: 90s\n    restart:");
        let id = w.stack("shop").id;
        w.stack_mut(id).file.clone_from(&file);
    });
    put(
        fake,
        "/api/stacks/1?endpointId=1",
        &update(&fake.world(|w| w.stack("shop").file.clone()), false),
    );
    fake.world(|w| w.push("ghcr.io/acme/web:1", Behaviour::Runs));
}

#[test]
fn a_running_deployment_shows_old_and_new_containers_and_continues_without_its_client() {
    let (fake, id) = shop(Era::A);
    slow_to_stop(&fake);
    let old = fake.world(|w| w.container("shop", "web"));
    let date = fake.world(|w| w.stack("shop").update_date);
    fake.clock().fetch_add(5000, Ordering::SeqCst);
    let file = fake.world(|w| w.stack("shop").file.clone());
    let path = format!("/api/stacks/{id}?endpointId=1");
    std::thread::scope(|scope| {
        let client = scope.spawn(|| put(&fake, &path, &update(&file, true)));
        let web = soon(|| {
            let web: Vec<_> = fake
                .world(|w| w.containers("shop"))
                .into_iter()
                .filter(|c| c.service == "web")
                .collect();
            (web.len() == 2).then_some(web)
        });
        assert_eq!(web[0].name, format!("{}_shop-web-1", &old.id[..12]));
        assert_eq!(
            (web[0].state, web[1].state, &web[1].id),
            ("created", "running", &old.id)
        );
        let record = get(&fake, &format!("/api/stacks/{id}")).body;
        assert_eq!(
            (&record["Status"], &record["UpdateDate"]),
            (&json!(1), &json!(date))
        );
        // The steps are executed by the next access, here by the request below.
        fake.clock().fetch_add(61_000, Ordering::SeqCst);
        soon(|| (fake.world(|w| w.stack("shop").update_date) > date).then_some(()));
        assert_eq!(client.join().unwrap().status, 200);
    });
    let new = fake.world(|w| w.container("shop", "web"));
    assert_eq!((new.name.as_str(), new.state), ("shop-web-1", "running"));
    assert_ne!(new.id, old.id);
}

#[test]
fn portainer_runs_one_deployment_at_a_time() {
    let (fake, id) = shop(Era::A);
    fake.world(|w| {
        w.push("other:1", Behaviour::Runs);
        w.compose_stack("other", "services:\n  a:\n    image: other:1\n", &[])
    });
    slow_to_stop(&fake);
    let file = fake.world(|w| w.stack("shop").file.clone());
    let other = json!({ "StackFileContent": "services:\n  a:\n    image: other:1\n", "Env": [] });
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            put(
                &fake,
                &format!("/api/stacks/{id}?endpointId=1"),
                &update(&file, true),
            )
        });
        soon(|| (fake.world(|w| w.containers("shop").len()) == 3).then_some(()));
        let quick = scope.spawn(|| put(&fake, "/api/stacks/2?endpointId=1", &other));
        soon(|| (fake.puts().len() == 3).then_some(()));
        assert_eq!(fake.world(|w| w.stack("other").update_date), 0, "it waits");
        fake.clock().fetch_add(61_000, Ordering::SeqCst);
        assert_eq!(
            (slow.join().unwrap().status, quick.join().unwrap().status),
            (200, 200)
        );
        let dates = fake.world(|w| (w.stack("shop").update_date, w.stack("other").update_date));
        assert!(dates.0 <= dates.1, "one after the other: {dates:?}");
    });
}

#[test]
fn an_interrupted_deployment_stays_half_done_and_causes_a_conflict_later() {
    let (fake, id) = shop(Era::A);
    fake.world(|w| {
        w.push("ghcr.io/acme/web:1", Behaviour::Runs);
        w.dies_in_next_deploy = true;
    });
    let path = format!("/api/stacks/{id}?endpointId=1");
    let body = update(FILE, true).to_string();
    assert!(
        send(
            &fake,
            "PUT",
            &path,
            &[("X-API-Key", fake.api_key())],
            Some(&body)
        )
        .is_none()
    );
    let states: Vec<_> = fake
        .world(|w| w.containers("shop"))
        .iter()
        .map(|c| c.state)
        .collect();
    assert_eq!(states, ["running", "created", "exited"]);
    let conflict = put(&fake, &path, &update(FILE, true));
    assert!(
        conflict
            .message()
            .contains("Conflict. The container name \"/"),
        "{conflict:?}"
    );
    assert!(fake.world(|w| w.containers("shop").is_empty()));
    assert_eq!(put(&fake, &path, &update(FILE, true)).status, 200);
    assert_eq!(fake.world(|w| w.containers("shop").len()), 2);
}

#[test]
fn a_failed_stack_of_2_45_1_is_taken_down_before_its_next_update() {
    let (fake, id) = shop(Era::D);
    let path = format!("/api/stacks/{id}?endpointId=1");
    let before = fake.world(|w| w.containers("shop"));
    assert_eq!(
        put(
            &fake,
            &path,
            &update(&FILE.replace("db:1", "db:nope"), true)
        )
        .status,
        200
    );
    fake.clock().fetch_add(5000, Ordering::SeqCst);
    assert_eq!(get(&fake, &format!("/api/stacks/{id}")).body["Status"], 4);
    assert_eq!(fake.world(|w| w.containers("shop")), before);
    assert_eq!(put(&fake, &path, &update(FILE, false)).status, 200);
    fake.clock().fetch_add(5000, Ordering::SeqCst);
    let after = fake.world(|w| w.containers("shop"));
    assert!(
        before.iter().zip(&after).all(|(b, a)| b.id != a.id),
        "all are new: {after:?}"
    );
}

#[test]
fn prune_is_ignored_until_2_39_and_honoured_and_remembered_from_2_40_on() {
    let remembered = json!({ "Prune": true, "HelmAtomic": false });
    for (era, is_2_40, left, stored) in [
        (Era::A, false, 2, Value::Null),
        (Era::B2, false, 2, Value::Null),
        (Era::B3, false, 2, Value::Null),
        (Era::B2, true, 1, remembered.clone()),
        (Era::C, false, 1, remembered.clone()),
        (Era::D, false, 1, remembered),
    ] {
        let (fake, id) = shop(era);
        if is_2_40 {
            fake.world(|w| w.imitate_2_40());
        }
        let body = json!({ "StackFileContent": "services:\n  web:\n    image: ghcr.io/acme/web:1\n", "Env": [], "Prune": true });
        assert_eq!(
            put(&fake, &format!("/api/stacks/{id}?endpointId=1"), &body).status,
            200
        );
        fake.clock().fetch_add(5000, Ordering::SeqCst);
        assert_eq!(fake.world(|w| w.containers("shop").len()), left, "{era:?}");
        assert_eq!(
            get(&fake, &format!("/api/stacks/{id}")).body["Option"],
            stored,
            "{era:?}"
        );
    }
}

#[track_caller]
fn check_dependency(condition: &str, behaviour: Behaviour, expected: (u16, &str)) {
    let fake = Fake::start(Era::B2);
    fake.skip_waiting(true);
    let file = format!(
        "services:\n  app:\n    image: app:1\n    depends_on:\n      job:\n        condition: {condition}\n  job:\n    image: job:1\n"
    );
    fake.world(|w| {
        w.push("app:1", Behaviour::Runs);
        w.push("job:1", behaviour);
        w.record_only(1, "s", crate::support::fake::Kind::Compose, &file, &[])
    });
    let body = json!({ "StackFileContent": file, "Env": [], "PullImage": true });
    let answer = put(&fake, "/api/stacks/1?endpointId=1", &body);
    let why = answer
        .message()
        .rsplit("operation failed: ")
        .next()
        .unwrap_or_default();
    assert_eq!((answer.status, why), expected, "{condition}");
    let app = fake.world(|w| w.container("s", "app").state);
    assert_eq!(
        app,
        if expected.0 == 200 {
            "running"
        } else {
            "created"
        },
        "{condition}"
    );
}

#[test]
fn dependencies_are_waited_for() {
    let job = |code| Behaviour::ExitsOnce { code };
    check_dependency("service_completed_successfully", job(0), (200, ""));
    let failed = "service \"job\" didn't complete successfully: exit 7";
    check_dependency("service_completed_successfully", job(7), (500, failed));
    check_dependency(
        "service_healthy",
        Behaviour::Healthy {
            after: Duration::from_secs(2),
        },
        (200, ""),
    );
    let unhealthy = "dependency failed to start: container s-job-1 is unhealthy";
    check_dependency("service_healthy", Behaviour::NeverHealthy, (500, unhealthy));
    check_dependency(
        "service_healthy",
        Behaviour::Runs,
        (500, "container s-job-1 has no healthcheck configured"),
    );
    check_dependency("service_started", job(3), (200, ""));
}

#[test]
fn variables_profiles_scale_and_names_are_parsed_as_by_compose() {
    let fake = Fake::start(Era::A);
    fake.world(|w| {
        w.push("a:7", Behaviour::Runs);
        w.push("b:latest", Behaviour::Runs);
        let file = "x-common: &common\n  restart: always\nservices:\n  a:\n    <<: *common\n    image: a:${V:-7}\n    environment: {W: \"${W-unset}\", D: $$X, E: \"${E:-}\", N: \"${A:-${B:-deep}}\"}\n    deploy: {replicas: 2}\n  b:\n    image: b\n    container_name: bee\n  c:\n    image: c:1\n    profiles: [debug]\n";
        w.compose_stack("s", file, &[("W", ""), ("V", "")])
    });
    let seen = fake.world(|w| w.containers("s"));
    let names: Vec<&str> = seen.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["s-a-1", "s-a-2", "bee"]);
    assert_eq!(seen[0].environment, ["W=", "D=$X", "E=", "N=deep"]);
    let inspected = get(
        &fake,
        &format!("/api/endpoints/1/docker/containers/{}/json", seen[0].id),
    )
    .body;
    assert_eq!(inspected["HostConfig"]["RestartPolicy"]["Name"], "always");
}

#[test]
fn one_off_containers_are_listed_and_left_alone() {
    let (fake, id) = shop(Era::B2);
    let run = fake.world(|w| w.run_one_off("shop", "web"));
    assert_eq!(
        put(
            &fake,
            &format!("/api/stacks/{id}?endpointId=1"),
            &update(FILE, true)
        )
        .status,
        200
    );
    let seen = fake.world(|w| w.containers("shop"));
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter().any(|c| c.id == run && c.state == "running"),
        "{seen:?}"
    );
}

#[test]
fn a_commit_is_recorded_after_its_deployment() {
    for era in [Era::A, Era::C] {
        let fake = Fake::start(era);
        let (id, first) = fake.world(|w| {
            w.push("ghcr.io/acme/web:1", Behaviour::Runs);
            w.push("ghcr.io/acme/db:1", Behaviour::Runs);
            let id = w.git_stack("shop", FILE, &[("TAG", "1")]);
            let first = w.stack("shop").git.as_ref().unwrap().config_hash.clone();
            w.commit(id, &FILE.replace("db:1", "db:nope"));
            (id, first)
        });
        let body = json!({ "RepositoryReferenceName": "refs/heads/main", "Env": [{ "name": "TAG", "value": "1" }], "PullImage": true });
        put(
            &fake,
            &format!("/api/stacks/{id}/git/redeploy?endpointId=1"),
            &body,
        );
        fake.clock().fetch_add(5000, Ordering::SeqCst);
        let hash =
            || get(&fake, &format!("/api/stacks/{id}")).body["GitConfig"]["ConfigHash"].clone();
        assert_eq!(hash(), json!(first), "{era:?}");
        let second = fake.world(|w| w.commit(id, FILE));
        put(
            &fake,
            &format!("/api/stacks/{id}/git/redeploy?endpointId=1"),
            &body,
        );
        fake.clock().fetch_add(5000, Ordering::SeqCst);
        assert_eq!(hash(), json!(second), "{era:?}");
    }
}
