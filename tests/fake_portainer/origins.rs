//! Git stacks by era, and Swarm services whose updates succeed or fail.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::FILE;
use super::client::{get, put};
use crate::support::fake::{Behaviour, Era, Fake};

#[track_caller]
fn check_omitted_git_fields(era: Era, status: u16, reference: &str, credentials: bool) {
    let fake = Fake::start(era);
    fake.skip_waiting(true);
    let id = fake.world(|w| {
        w.push("ghcr.io/acme/web:1", Behaviour::Runs);
        w.push("ghcr.io/acme/db:1", Behaviour::Runs);
        w.git_repository("https://git.example/shop.git", FILE, Some(("u", "p")));
        w.git_stack_from("https://git.example/shop.git", "shop", &[("TAG", "1")])
    });
    let mut body = json!({ "Env": [{ "name": "TAG", "value": "1" }] });
    if !credentials {
        body["RepositoryAuthentication"] = json!(true);
        body["RepositoryUsername"] = json!("u");
    }
    let answer = put(
        &fake,
        &format!("/api/stacks/{id}/git/redeploy?endpointId=1"),
        &body,
    );
    assert_eq!(answer.status, status, "{era:?} {answer:?}");
    let git = get(&fake, &format!("/api/stacks/{id}")).body["GitConfig"].clone();
    assert_eq!(git["ReferenceName"], reference, "{era:?}");
    assert_eq!(git["Authentication"]["Username"], "u", "{era:?}");
}

#[test]
fn omitted_git_fields_are_erased_or_kept_by_era() {
    check_omitted_git_fields(Era::A, 200, "", false);
    check_omitted_git_fields(Era::C, 200, "refs/heads/main", false);
    check_omitted_git_fields(Era::A, 500, "refs/heads/main", true);
    check_omitted_git_fields(Era::C, 500, "refs/heads/main", true);
    check_omitted_git_fields(Era::D, 200, "refs/heads/main", true);
}

fn swarm_file(action: &str) -> String {
    format!(
        "services:\n  web:\n    image: web:1\n    deploy:\n      update_config: {{order: stop-first, failure_action: {action}, monitor: 3s}}\n      restart_policy: {{delay: 1s}}\n"
    )
}

/// Updates to an image with this behaviour, and checks the state after each of the times.
#[track_caller]
fn check_swarm(action: &str, behaviour: Behaviour, states: &[(u64, &str)], new_image_stays: bool) {
    let fake = Fake::start(Era::A);
    let file = swarm_file(action);
    let id = fake.world(|w| {
        w.push("web:1", Behaviour::Runs);
        let id = w.swarm_stack("s", &file, &[]);
        w.push("web:1", behaviour);
        id
    });
    let old = fake.world(|w| w.swarm_image("s_web"));
    let body = json!({ "StackFileContent": file, "Env": [], "PullImage": true });
    assert_eq!(
        put(&fake, &format!("/api/stacks/{id}?endpointId=1"), &body).status,
        200
    );
    let mut at = 0;
    for (seconds, expected) in states {
        fake.clock()
            .fetch_add((seconds - at) * 1000, Ordering::SeqCst);
        at = *seconds;
        let services = get(&fake, "/api/endpoints/1/docker/services").body;
        assert_eq!(
            services[0]["UpdateStatus"]["State"], *expected,
            "{action} after {seconds} s"
        );
    }
    assert_eq!(
        fake.world(|w| w.swarm_image("s_web")) != old,
        new_image_stays,
        "{action}"
    );
    let tasks = get(
        &fake,
        "/api/endpoints/1/docker/tasks?filters=%7B%22service%22%3A%5B%22s_web%22%5D%7D",
    )
    .body;
    let failed = tasks
        .as_array()
        .unwrap()
        .iter()
        .filter(|t| t["Status"]["State"] == "failed")
        .count();
    let crashed = states
        .iter()
        .any(|(_, state)| *state == "paused" || state.starts_with("rollback"));
    assert_eq!(failed > 0, crashed, "{tasks}");
}

#[test]
fn swarm_updates_complete_pause_or_roll_back() {
    let crash = || Behaviour::CrashLoop {
        every: Duration::from_millis(500),
        code: 3,
    };
    check_swarm(
        "pause",
        Behaviour::Runs,
        &[(0, "updating"), (2, "updating"), (5, "completed")],
        true,
    );
    check_swarm(
        "pause",
        crash(),
        &[(0, "updating"), (2, "paused"), (20, "paused")],
        true,
    );
    let rolled = [
        (0, "updating"),
        (2, "rollback_started"),
        (10, "rollback_completed"),
    ];
    check_swarm("rollback", crash(), &rolled, false);
    // Exits by itself with 0: an early exit, too, which `continue` ignores; no task has failed.
    let ends = Behaviour::ExitsOnce { code: 0 };
    check_swarm("continue", ends, &[(5, "completed")], true);
}

#[test]
fn an_unknown_image_is_rejected_task_by_task() {
    let fake = Fake::start(Era::A);
    let file = swarm_file("pause").replace("stop-first", "start-first");
    let id = fake.world(|w| {
        w.push("web:1", Behaviour::Runs);
        w.swarm_stack("s", &file, &[])
    });
    let body = json!({ "StackFileContent": file.replace("web:1", "web:nope"), "Env": [], "PullImage": true });
    assert_eq!(
        put(&fake, &format!("/api/stacks/{id}?endpointId=1"), &body).status,
        200
    );
    fake.clock().fetch_add(5000, Ordering::SeqCst);
    let tasks = get(
        &fake,
        "/api/endpoints/1/docker/tasks?filters=%7B%22service%22%3A%5B%22s_web%22%5D%7D",
    )
    .body;
    let states: Vec<&Value> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["Status"]["State"])
        .collect();
    assert!(
        states.contains(&&json!("rejected")) && states.contains(&&json!("running")),
        "{tasks}"
    );
    assert_eq!(fake.world(|w| w.swarm_image("s_web")), "web:nope");
}

#[test]
fn old_tasks_stop_first_or_last_by_the_order_of_the_update() {
    for (order, old) in [("stop-first", "shutdown"), ("start-first", "running")] {
        let fake = Fake::start(Era::A);
        let file = swarm_file("pause").replace("stop-first", order);
        let id = fake.world(|w| {
            w.push("web:1", Behaviour::Runs);
            let id = w.swarm_stack("s", &file, &[]);
            w.push("web:1", Behaviour::NeverHealthy);
            id
        });
        let body = json!({ "StackFileContent": file, "Env": [], "PullImage": true });
        let path = format!("/api/stacks/{id}?endpointId=1");
        assert_eq!(put(&fake, &path, &body).status, 200);
        let tasks = get(&fake, "/api/endpoints/1/docker/tasks").body;
        assert_eq!(tasks[0]["DesiredState"], old, "{order}: {tasks}");
    }
}
