//! Runs the commands and configurations that the documents show.

use std::process::Command;

use serde_json::Value;

use super::{GOOD, IMAGE, SECRET, blocks, documents, serve, shop};
use crate::support::program::{Setup, Stackhook};
use crate::support::sign;

#[test]
fn the_commands_for_a_delivery_work_as_they_are_printed() {
    let readme = documents();
    let deliveries: Vec<String> = blocks(&readme, "sh")
        .into_iter()
        .filter(|block| block.contains("curl"))
        .collect();
    assert_eq!(deliveries.len(), 1);
    let portainer = shop();
    let server = serve(&portainer);
    for script in &deliveries {
        portainer.world(|world| world.push(IMAGE, GOOD));
        let (worked, said) = typed(&server, script, SECRET);
        assert!(worked && said.contains("\"success\":true"), "{said}");
    }
    assert_eq!(portainer.puts().len(), 1);
    for script in &deliveries {
        let (worked, said) = typed(&server, script, "not-the-secret");
        assert!(!worked && said.contains("Nothing was deployed"), "{said}");
    }
    assert_eq!(portainer.puts().len(), 1);
}

/// Ids and seconds differ in every run, and a part of one reply is left out.
#[test]
fn the_documented_replies_match_the_real_ones() {
    let shown = blocks(&documents(), "json");
    let [failed, updated] = shown.as_slice() else {
        panic!("{shown:?}");
    };
    let portainer = shop();
    let server = serve(&portainer);
    let deliver = || server.signed("/webhook/update/", SECRET, "{}").json();
    portainer.world(|world| world.push(IMAGE, GOOD));
    same(
        &deliver(),
        updated,
        &[
            "delivery",
            "status_url",
            "seconds",
            "image_id",
            "previous_image_id",
        ],
    );
    portainer.world(|world| world.remove_from_registry(IMAGE));
    same(&deliver(), failed, &["delivery", "status_url", "stacks"]);
}

#[track_caller]
fn same(came: &Value, shown: &str, without: &[&str]) {
    let shown: Value = serde_json::from_str(shown).unwrap();
    let bare = |value: &Value| {
        let mut value = value.clone();
        without.iter().for_each(|key| forget(&mut value, key));
        value
    };
    assert_eq!(bare(came), bare(&shown));
}

fn forget(value: &mut Value, key: &str) {
    match value {
        Value::Object(object) => {
            object.remove(key);
            object.values_mut().for_each(|value| forget(value, key));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| forget(value, key)),
        _ => {}
    }
}

#[test]
fn the_documented_configuration_is_valid() {
    let shown = blocks(&documents(), "toml").concat();
    let setup = configured(&shown, Setup::new());
    let output = setup.run(&["show-config"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn the_documented_custom_senders_are_read() {
    let portainer = shop();
    let shown = blocks(&documents(), "toml");
    let shown = shown.iter().find(|block| block.contains("drone")).unwrap();
    let setup = Setup::with(&portainer).env("PORTAINER_STACK_NAME", "shop");
    let server = configured(shown, setup).serve();
    let drone = |status: &str, branch: &str| {
        let body = format!(
            r#"{{"repo":{{"name":"web"}},"build":{{"event":"push","branch":"{branch}","commit":"1f3a","status":"{status}"}}}}"#
        );
        let signature = format!("sha256={}", sign::hex_hmac(SECRET, body.as_bytes()));
        let headers = [
            ("X-Drone-Signature", signature.as_str()),
            ("Prefer", "wait=20"),
        ];
        let reply = server.post("/webhook/update/drone/", &headers, body.as_bytes());
        (reply.status, reply.json()["update_result"].to_string())
    };
    let updated = "\"Stack updated successfully\"".to_owned();
    portainer.world(|world| world.push(IMAGE, GOOD));
    assert_eq!(drone("success", "main"), (200, updated.clone()));
    let (status, why) = drone("failure", "main");
    assert!(status == 200 && why.contains("/build/status"), "{why}");
    let (status, why) = drone("success", "next");
    assert!(status == 200 && why.contains("branches"), "{why}");
    portainer.world(|world| world.push(IMAGE, GOOD));
    let token = format!("Bearer {SECRET}");
    let headers = [("Authorization", token.as_str()), ("Prefer", "wait=20")];
    let body = br#"{"title":"Watchtower updates","message":"Found new image"}"#;
    let reply = server.post("/webhook/update/watchtower/", &headers, body);
    assert_eq!(
        (reply.status, reply.json()["update_result"].to_string()),
        (200, updated)
    );
}

/// The configuration of a block in the documents, with files for its secrets.
fn configured(block: &str, setup: Setup) -> Setup {
    let setup = setup.file("stackhook.toml", &block.replace("/run/secrets/", ""));
    let names = block.split("/run/secrets/").skip(1);
    let names = names.map(|rest| rest.split('"').next().unwrap());
    names.fold(setup.secret(SECRET), |setup, name| setup.file(name, SECRET))
}

/// Runs lines of the documents in a shell; returns success and output.
fn typed(server: &Stackhook, script: &str, secret: &str) -> (bool, String) {
    let script = script.replace("127.0.0.1:8484", &server.address.to_string());
    assert!(script.contains(&server.address.to_string()), "{script}");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(server.setup().path())
        .env("PORTAINER_WEBHOOK_SECRET", secret)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}
