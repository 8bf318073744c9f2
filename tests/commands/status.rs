//! `stackhook pause`, `resume` and `status`

use serde_json::Value;

use crate::support::fake::Era;
use crate::support::program::Setup;
use crate::support::shop::{self, GOOD, QUICK, SECRET, WEB};
use crate::support::staff::{self, page};

#[track_caller]
fn status(setup: &Setup) -> Value {
    let output = setup.run(&["status", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let mut all: Value = serde_json::from_str(&output.stdout).unwrap();
    all["stacks"][0].take()
}

#[test]
fn pauses_and_resumes_beside_a_server_while_portainer_is_away() {
    let mut fake = shop::portainer(Era::A);
    let server = staff::serve(&fake, QUICK);
    fake.world(|world| world.push(WEB, GOOD));
    fake.go_down();
    let setup = server.setup();
    let output = setup.run(&["pause", "shop", "--for", "2h"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.starts_with("shop: paused by staff since 20"),
        "{output:?}"
    );
    assert!(output.stdout.contains(" until 20"), "{output:?}");
    // Answered without waiting for Portainer.
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert!(
        reply.text().contains("paused by staff since 20"),
        "{}",
        reply.text()
    );
    assert!(page(&server).to_lowercase().contains("paused"));
    let paused = status(setup);
    assert_eq!(paused["state"], "paused");
    assert!(paused["pause"]["until"].is_string(), "{paused}");
    assert!(paused["error"].is_string(), "{paused}");
    assert_eq!(paused["deliveries"][0]["status"], "failed");
    let server = server.kill().1.serve();
    let reply = server.signed("/webhook/update/", SECRET, "{\"force\": false}");
    assert_eq!(reply.status, 409, "{}", reply.text());
    let setup = server.setup();
    let output = setup.run(&["resume", "shop"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.starts_with("shop: resumed"), "{output:?}");
    let output = setup.run(&["resume", "shop"]);
    assert_eq!(output.stdout, "shop: was not paused\n", "{output:?}");
    fake.come_back();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn status_reports_images_and_deliveries_beside_a_running_server() {
    let fake = shop::portainer(Era::A);
    let server = staff::serve(&fake, QUICK);
    fake.world(|world| world.push(WEB, GOOD));
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let setup = server.setup();
    let shop = status(setup);
    assert_eq!(
        (&shop["state"], &shop["pause"]),
        (&"healthy".into(), &Value::Null)
    );
    assert_eq!(shop["deliveries"][0]["status"], "succeeded");
    assert_eq!(shop["deliveries"][0]["hook"], "update");
    let web = &shop["services"][0];
    assert!(
        web["image"]
            .as_str()
            .is_some_and(|image| image.contains("web")),
        "{shop}"
    );
    assert!(
        shop["blocked"].as_array().is_some_and(Vec::is_empty),
        "{shop}"
    );
    let output = setup.run(&["status", "shop"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.starts_with("shop: healthy\n"), "{output:?}");
    let output = setup.run(&["pause", "shop", "--for", "2 weeks"]);
    assert_eq!(output.code, Some(2), "{output:?}");
}

#[test]
fn pause_needs_a_state_directory() {
    let fake = shop::portainer(Era::A);
    let file = "[[stack]]\nname = \"shop\"\n";
    let setup = Setup::with(&fake).file("stackhook.toml", file);
    let output = setup.run(&["pause", "shop"]);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(
        output.stderr.contains("\"state_dir\" is not set"),
        "{output:?}"
    );
}
