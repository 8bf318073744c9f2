//! Tests of the fake Portainer, which the other tests depend on: its behaviour by era, and replays of the recorded
//! exchanges (`transcripts`).

mod client;

mod access;
mod deploys;
mod images;
mod origins;
mod transcripts;

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use self::client::{get, post, put, send};
use crate::support::fake::{Behaviour, Era, Fake, Fault, StackId, When};

const FILE: &str = "services:\n  web:\n    image: ghcr.io/acme/web:${TAG}\n    restart: unless-stopped\n  db:\n    image: ghcr.io/acme/db:1\n    restart: unless-stopped\n";

/// A fake with a stack of two services that has run for an hour.
fn shop(era: Era) -> (Fake, StackId) {
    let fake = Fake::start(era);
    let id = fake.world(|w| {
        w.push("ghcr.io/acme/web:1", Behaviour::Runs);
        w.push("ghcr.io/acme/db:1", Behaviour::Runs);
        w.compose_stack("shop", FILE, &[("TAG", "1")])
    });
    (fake, id)
}

fn update(file: &str, pull: bool) -> Value {
    json!({
        "StackFileContent": file, "Env": [{ "name": "TAG", "value": "1" }],
        "Prune": false, "PullImage": pull, "RepullImageAndRedeploy": pull,
    })
}

#[test]
fn an_update_recreates_only_changed_services_on_2_24() {
    let (fake, id) = shop(Era::A);
    let before = fake.world(|w| w.containers("shop"));
    let image = fake.world(|w| w.push("ghcr.io/acme/web:1", Behaviour::Runs));
    let answer = put(
        &fake,
        &format!("/api/stacks/{id}?endpointId=1"),
        &update(FILE, true),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["Status"], 1);
    assert!(answer.body["UpdateDate"].as_i64().unwrap() > 0);
    let after = fake.world(|w| w.containers("shop"));
    assert_eq!(after[0], before[0], "db stays as it is");
    assert_ne!(after[1].id, before[1].id);
    assert_eq!(
        (after[1].image_id.as_str(), after[1].state),
        (image.as_str(), "running")
    );
}

#[test]
fn an_update_without_a_change_recreates_nothing_on_2_24_and_everything_from_2_36_on() {
    for era in [Era::A, Era::B2] {
        let (fake, id) = shop(era);
        let before = fake.world(|w| w.containers("shop"));
        assert_eq!(
            put(
                &fake,
                &format!("/api/stacks/{id}?endpointId=1"),
                &update(FILE, true)
            )
            .status,
            200
        );
        let after = fake.world(|w| w.containers("shop"));
        let kept = before
            .iter()
            .zip(&after)
            .filter(|(b, a)| b.id == a.id)
            .count();
        assert_eq!(kept, if era == Era::A { 2 } else { 0 }, "{era:?}");
    }
}

#[test]
fn a_failed_pull_changes_nothing() {
    let (fake, id) = shop(Era::A);
    let before = fake.world(|w| (w.containers("shop"), w.stack("shop").update_date));
    let file = FILE.replace("db:1", "db:nope");
    let answer = put(
        &fake,
        &format!("/api/stacks/{id}?endpointId=1"),
        &update(&file, true),
    );
    assert_eq!(
        (answer.status, answer.message()),
        (
            500,
            "failed to pull images of the stack: compose pull operation failed: Error response from daemon: manifest for \
             ghcr.io/acme/db:nope not found: manifest unknown: manifest unknown"
        )
    );
    assert_eq!(
        fake.world(|w| (w.containers("shop"), w.stack("shop").update_date)),
        before
    );
    assert_eq!(fake.world(|w| w.stack("shop").file.clone()), FILE);
}

#[test]
fn a_failed_up_takes_the_stack_down_on_2_24_and_leaves_it_running_on_2_39() {
    for (era, left) in [(Era::A, 0), (Era::B2, 2)] {
        let (fake, id) = shop(era);
        let file = FILE.replace("db:1", "db:nope");
        let answer = put(
            &fake,
            &format!("/api/stacks/{id}?endpointId=1"),
            &update(&file, false),
        );
        assert_eq!(answer.status, 500);
        assert!(
            answer
                .message()
                .starts_with("failed to deploy a stack: compose up operation failed: "),
            "{answer:?}"
        );
        assert_eq!(fake.world(|w| w.containers("shop").len()), left, "{era:?}");
        assert_eq!(fake.world(|w| w.stack("shop").status), 1);
    }
}

#[test]
fn newer_releases_answer_at_once_and_refuse_a_second_update_meanwhile() {
    let (fake, id) = shop(Era::C);
    fake.world(|w| {
        w.pace.pull = Duration::from_secs(60);
        w.push("ghcr.io/acme/web:1", Behaviour::Runs);
    });
    let path = format!("/api/stacks/{id}?endpointId=1");
    assert_eq!(put(&fake, &path, &update(FILE, true)).body["Status"], 3);
    let second = put(&fake, &path, &update(FILE, true));
    assert_eq!(
        (second.status, second.message()),
        (409, "Unable to update stack")
    );
    fake.clock().fetch_add(180_000, Ordering::SeqCst);
    assert_eq!(get(&fake, &format!("/api/stacks/{id}")).body["Status"], 1);
}

#[test]
fn newer_releases_report_a_failure_in_the_record() {
    let (fake, id) = shop(Era::D);
    let file = FILE.replace("db:1", "db:nope");
    assert_eq!(
        put(
            &fake,
            &format!("/api/stacks/{id}?endpointId=1"),
            &update(&file, true)
        )
        .status,
        200
    );
    fake.clock().fetch_add(10_000, Ordering::SeqCst);
    let stack = get(&fake, &format!("/api/stacks/{id}")).body;
    assert_eq!(stack["Status"], 4);
    let last = stack["DeploymentStatus"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert!(
        last["Message"]
            .as_str()
            .unwrap()
            .starts_with("failed to pull images"),
        "{last}"
    );
}

#[test]
fn a_crash_loop_increases_the_restart_count_and_backs_off() {
    let fake = Fake::start(Era::A);
    fake.world(|w| {
        w.push("a:1", Behaviour::Runs);
        w.compose_stack(
            "s",
            "services:\n  a:\n    image: a:1\n    restart: unless-stopped\n",
            &[],
        );
        w.push(
            "a:1",
            Behaviour::CrashLoop {
                every: Duration::from_millis(500),
                code: 3,
            },
        );
    });
    let body = json!({ "StackFileContent": fake.world(|w| w.stack("s").file.clone()), "Env": [], "PullImage": true });
    assert_eq!(put(&fake, "/api/stacks/1?endpointId=1", &body).status, 200);
    fake.clock().fetch_add(12_000, Ordering::SeqCst);
    let seen = fake.world(|w| w.container("s", "a"));
    assert_eq!(seen.restarts, 7);
    let inspected = get(
        &fake,
        &format!("/api/endpoints/1/docker/containers/{}/json", seen.id),
    )
    .body;
    assert_eq!(
        (&inspected["RestartCount"], &inspected["State"]["ExitCode"]),
        (&json!(7), &json!(3))
    );
}

#[test]
fn a_moved_tag_turns_the_listed_image_into_its_id() {
    let (fake, _) = shop(Era::A);
    let old = fake.world(|w| w.container("shop", "web").image_id);
    let new = fake.world(|w| w.push("ghcr.io/acme/web:1", Behaviour::Runs));
    let pulled = post(
        &fake,
        "/api/endpoints/1/docker/images/create?fromImage=ghcr.io/acme/web&tag=1",
    );
    let stream = String::from_utf8(pulled.bytes).unwrap();
    assert!(
        stream.ends_with("\"Status: Downloaded newer image for ghcr.io/acme/web:1\"}\r\n"),
        "{stream}"
    );
    let filters = "%7B%22label%22%3A%5B%22com.docker.compose.project%3Dshop%22%2C%22com.docker.compose.service%3Dweb%22%5D%7D";
    let list = get(
        &fake,
        &format!("/api/endpoints/1/docker/containers/json?all=1&filters={filters}"),
    )
    .body;
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["Image"]),
        (1, &json!(old))
    );
    assert_eq!(
        get(
            &fake,
            "/api/endpoints/1/docker/images/ghcr.io/acme/web:1/json"
        )
        .body["Id"],
        json!(new)
    );
}

#[test]
fn a_fault_applies_to_the_selected_requests() {
    let (fake, id) = shop(Era::A);
    let path = format!("/api/stacks/{id}");
    fake.fault(When::nth(2, "GET", &path), Fault::CloseBefore);
    let ask =
        || send(&fake, "GET", &path, &[("X-API-Key", fake.api_key())], None).map(|a| a.status);
    assert_eq!([ask(), ask(), ask()], [Some(200), None, Some(200)]);
    fake.fault(When::next("PUT", &path), Fault::CloseAfter);
    let body = update(FILE, true).to_string();
    let headers = [("X-API-Key", fake.api_key())];
    assert!(
        send(
            &fake,
            "PUT",
            &format!("{path}?endpointId=1"),
            &headers,
            Some(&body)
        )
        .is_none()
    );
    assert!(
        fake.world(|w| w.stack("shop").update_date) > 0,
        "the update took place"
    );
    assert_eq!(fake.puts().last().unwrap().status, None);
}

#[test]
fn waiting_can_be_skipped() {
    let (fake, id) = shop(Era::A);
    fake.skip_waiting(true);
    let old = fake.world(|w| w.container("shop", "web").image_id);
    fake.world(|w| {
        w.image(&old).stops_in = Duration::from_secs(8);
        let web = w.push("ghcr.io/acme/web:1", Behaviour::Runs);
        w.image(&web).stops_in = Duration::from_secs(8);
    });
    let path = format!("/api/stacks/{id}?endpointId=1");
    assert_eq!(put(&fake, &path, &update(FILE, true)).status, 200);
    fake.world(|w| w.push("ghcr.io/acme/web:1", Behaviour::Runs));
    let began = fake.world(|w| w.now());
    assert_eq!(put(&fake, &path, &update(FILE, true)).status, 200);
    assert!(
        fake.world(|w| w.now()) >= began + 8000,
        "the clock moved as far as the stop took"
    );
}

#[test]
fn every_answer_carries_the_date_of_the_fakes_clock() {
    let (fake, _) = shop(Era::A);
    let date = |fake: &Fake| {
        get(fake, "/api/system/status")
            .header("date")
            .unwrap()
            .to_owned()
    };
    let before = date(&fake);
    fake.clock().fetch_add(86_400_000, Ordering::SeqCst);
    assert!(before.ends_with(" GMT"));
    assert_ne!(before[..16], date(&fake)[..16]);
}
