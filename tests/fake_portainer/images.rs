//! Images on the engine and in registries: credentials, tags, and images in use.

use serde_json::json;

use super::client::{get, post, put, send};
use super::{FILE, shop, update};
use crate::support::fake::{Behaviour, Era, Fake, Fault, When};

#[test]
fn a_private_registry_accepts_stored_credentials_only() {
    let fake = Fake::start(Era::A);
    let id = fake.world(|w| {
        w.push("reg.example:5000/web:1", Behaviour::Runs);
        w.registry_private("reg.example:5000", "robot", "pw")
    });
    let rows = get(&fake, "/api/endpoints/1/registries").body;
    assert_eq!(
        (&rows[0]["Id"], &rows[0]["URL"]),
        (&json!(id), &json!("reg.example:5000"))
    );
    let pull = |auth: Option<&str>| {
        let mut headers = vec![("X-API-Key", fake.api_key())];
        headers.extend(auth.map(|auth| ("X-Registry-Auth", auth)));
        let path = "/api/endpoints/1/docker/images/create?fromImage=reg.example:5000/web&tag=1";
        send(&fake, "POST", path, &headers, None).unwrap().status
    };
    // {"registryId":1} in standard base64 with padding, without padding, another registry, and text that is not base64.
    let standard = "eyJyZWdpc3RyeUlkIjoxfQ==";
    let other = "eyJyZWdpc3RyeUlkIjo5fQ==";
    let asked = [
        None,
        Some(standard),
        Some(standard.trim_end_matches('=')),
        Some(other),
        Some("{}"),
    ];
    assert_eq!(asked.map(pull), [500, 200, 500, 500, 500]);
    assert_eq!(
        get(
            &fake,
            "/api/endpoints/1/docker/distribution/reg.example:5000/web:1/json"
        )
        .status,
        500
    );
}

#[test]
fn a_deployment_pulls_with_the_stored_credentials() {
    let fake = Fake::start(Era::A);
    let file = "services:\n  web:\n    image: reg.example/web:1\n";
    fake.world(|w| {
        w.push("reg.example/web:1", Behaviour::Runs);
        w.registry_locked("reg.example", "robot", "pw");
        w.record_only(1, "s", crate::support::fake::Kind::Compose, file, &[])
    });
    let body = json!({ "StackFileContent": file, "Env": [], "PullImage": true });
    let refused = put(&fake, "/api/stacks/1?endpointId=1", &body);
    assert!(
        refused.message().ends_with("no basic auth credentials"),
        "{refused:?}"
    );
    fake.world(|w| w.registry_private("reg.example", "robot", "pw"));
    assert_eq!(put(&fake, "/api/stacks/1?endpointId=1", &body).status, 200);
}

#[test]
fn a_restored_tag_is_deployed_by_the_next_update() {
    let (fake, id) = shop(Era::A);
    let path = format!("/api/stacks/{id}?endpointId=1");
    let old = fake.world(|w| w.container("shop", "web").image_id);
    fake.world(|w| w.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
    assert_eq!(put(&fake, &path, &update(FILE, true)).status, 200);
    assert_ne!(fake.world(|w| w.container("shop", "web").image_id), old);
    let tagged = post(
        &fake,
        &format!("/api/endpoints/1/docker/images/{old}/tag?repo=ghcr.io%2Facme%2Fweb&tag=1"),
    );
    assert_eq!(tagged.status, 201);
    assert_eq!(put(&fake, &path, &update(FILE, false)).status, 200);
    assert_eq!(fake.world(|w| w.container("shop", "web").image_id), old);
    let digests =
        get(&fake, &format!("/api/endpoints/1/docker/images/{old}/json")).body["RepoDigests"]
            .clone();
    assert_eq!(
        digests.as_array().unwrap().len(),
        1,
        "the old image keeps its digest"
    );
}

#[test]
fn an_image_in_use_is_not_deleted() {
    let (fake, id) = shop(Era::A);
    let old = fake.world(|w| w.container("shop", "web").image_id);
    let delete = || {
        let path = format!("/api/endpoints/1/docker/images/{old}");
        send(
            &fake,
            "DELETE",
            &path,
            &[("X-API-Key", fake.api_key())],
            None,
        )
        .unwrap()
        .status
    };
    assert_eq!(delete(), 409);
    fake.world(|w| w.push("ghcr.io/acme/web:1", Behaviour::Runs));
    assert_eq!(
        put(
            &fake,
            &format!("/api/stacks/{id}?endpointId=1"),
            &update(FILE, true)
        )
        .status,
        200
    );
    assert_eq!([delete(), delete()], [200, 404]);
}

#[test]
fn an_update_without_pull_fails_if_an_image_is_missing_on_the_host() {
    let (fake, id) = shop(Era::B2);
    fake.world(|w| w.push("ghcr.io/acme/db:2", Behaviour::Runs));
    let body = update(&FILE.replace("db:1", "db:2"), false);
    let path = format!("/api/stacks/{id}?endpointId=1");
    assert_eq!(put(&fake, &path, &body).status, 500);
    fake.world(|w| w.up_pulls_missing = true);
    assert_eq!(put(&fake, &path, &body).status, 200);
}

#[test]
fn a_pull_may_fail_inside_its_stream() {
    let (fake, _) = shop(Era::A);
    let path = "/api/endpoints/1/docker/images/create";
    fake.fault(
        When::next("POST", path),
        Fault::PullBreaks("unexpected EOF".to_owned()),
    );
    let answer = post(&fake, &format!("{path}?fromImage=ghcr.io/acme/web&tag=1"));
    let text = String::from_utf8(answer.bytes).unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        text.ends_with("\"unexpected EOF\"}}\r\n") || text.contains("\"error\":\"unexpected EOF\""),
        "{text}"
    );
}

#[test]
fn the_containerd_store_identifies_images_by_digest_and_gives_built_ones_a_digest() {
    let fake = Fake::start(Era::A);
    let digests = |name: &str| {
        get(
            &fake,
            &format!("/api/endpoints/1/docker/images/{name}/json"),
        )
        .body["RepoDigests"]
            .clone()
    };
    let plain = fake.world(|w| w.local_image("plain:1", 1, Behaviour::Runs));
    assert_eq!(digests("plain:1"), json!([]));
    let (pushed, built) = fake.world(|w| {
        w.use_containerd_store();
        let pushed = w.push("a:1", Behaviour::Runs);
        assert_eq!(w.pull("a:1", 1), pushed);
        (
            w.digest(&pushed) == pushed && w.digest(&plain) != plain,
            w.local_image("built:1", 1, Behaviour::Runs),
        )
    });
    assert!(pushed);
    assert_eq!(digests("built:1"), json!([format!("built@{built}")]));
}
