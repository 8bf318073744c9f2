//! Access rights, logins, and a Portainer that is unreachable.

use serde_json::{Value, json};

use super::client::{get, send};
use super::{FILE, shop, update};
use crate::support::fake::{Era, Fake};

/// The statuses of list, stack, update, containers and inspect for a user; the first and fourth with the number of rows.
fn looks(fake: &Fake, key: &str, container: &str) -> Vec<String> {
    let filter = "%7B%22label%22%3A%5B%22com.docker.compose.project%3Dshop%22%5D%7D";
    let docker = "/api/endpoints/1/docker/containers";
    [
        ("GET", "/api/stacks".to_owned(), None),
        ("GET", "/api/stacks/1".to_owned(), None),
        (
            "PUT",
            "/api/stacks/1?endpointId=1".to_owned(),
            Some(update(FILE, false).to_string()),
        ),
        ("GET", format!("{docker}/json?all=1&filters={filter}"), None),
        ("GET", format!("{docker}/{container}/json"), None),
        ("GET", format!("{docker}/{container}/logs?stdout=1"), None),
    ]
    .into_iter()
    .map(|(method, path, body)| {
        let answer = send(fake, method, &path, &[("X-API-Key", key)], body.as_deref()).unwrap();
        match &answer.body {
            Value::Array(rows) => format!("{} rows {}", answer.status, rows.len()),
            _ if answer.status == 200 => "200".to_owned(),
            _ => format!("{} {}", answer.status, answer.message()),
        }
    })
    .collect()
}

#[test]
fn a_standard_user_sees_shared_stacks_only() {
    let (fake, id) = shop(Era::A);
    let web = fake.world(|w| w.container("shop", "web").id);
    let (user, key) = fake.world(|w| w.user_standard("ops", "pw"));
    let closed = "403 Permission denied to access environment";
    assert_eq!(
        looks(&fake, &key, &web),
        ["200 rows 0", closed, closed, closed, closed, closed]
    );
    fake.world(|w| w.may_use_environment(user, 1, true));
    let refused = "403 Access denied to resource";
    let logs = "500 Unable to proxy the request via the Docker socket";
    let inspect = "403 access denied to resource";
    assert_eq!(
        looks(&fake, &key, &web),
        ["200 rows 0", refused, refused, "200 rows 0", inspect, logs]
    );
    fake.world(|w| w.may_use_stack(user, id, true));
    assert_eq!(
        looks(&fake, &key, &web),
        ["200 rows 1", "200", "200", "200 rows 2", "200", "200"]
    );
    fake.world(|w| w.stack_management(1, false));
    let (read, edit) = (
        "403 Stack management is disabled for non-admin users",
        "403 Stack editing is disabled for non-admin users",
    );
    assert_eq!(
        looks(&fake, &key, &web),
        ["200 rows 1", read, edit, "200 rows 2", "200", "200"]
    );
    assert_eq!(fake.world(|w| w.stack("shop").updated_by.clone()), "ops");
}

#[test]
fn users_me_returns_the_role() {
    let fake = Fake::start(Era::A);
    let (_, key) = fake.world(|w| w.user_standard("ops", "pw"));
    let role = |key: &str| {
        send(&fake, "GET", "/api/users/me", &[("X-API-Key", key)], None)
            .unwrap()
            .body["Role"]
            .clone()
    };
    assert_eq!([role(fake.api_key()), role(&key)], [json!(1), json!(2)]);
}

#[test]
fn logins_are_limited_and_a_restart_invalidates_their_tokens() {
    let fake = Fake::start(Era::A);
    let right = json!({ "username": "admin", "password": fake.password() }).to_string();
    let log_in = || send(&fake, "POST", "/api/auth", &[], Some(&right)).unwrap();
    let bearer = format!("Bearer {}", log_in().body["jwt"].as_str().unwrap());
    let list = || {
        send(
            &fake,
            "GET",
            "/api/stacks",
            &[("Authorization", &bearer)],
            None,
        )
        .unwrap()
        .status
    };
    assert_eq!(list(), 200);
    fake.world(crate::support::fake::World::portainer_dies);
    assert_eq!((list(), get(&fake, "/api/stacks").status), (401, 200));
    let codes: Vec<u16> = (0..10).map(|_| log_in().status).collect();
    assert_eq!(
        codes.iter().filter(|code| **code == 403).count(),
        1,
        "the eleventh: {codes:?}"
    );
    fake.clock()
        .fetch_add(3_590_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(log_in().status, 403);
    fake.clock()
        .fetch_add(20_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(log_in().status, 200);
}

#[test]
fn portainer_stops_and_starts_listening_at_the_same_address() {
    let mut fake = Fake::start(Era::A);
    let url = fake.url();
    fake.go_down();
    assert!(send(&fake, "GET", "/api/status", &[], None).is_none());
    fake.come_back();
    assert_eq!((get(&fake, "/api/status").status, fake.url()), (200, url));
}
