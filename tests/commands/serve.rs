//! `stackhook serve` as seen by its service manager; its answers are tested elsewhere.

use crate::support::fake::{Behaviour, Era, Fake};
use crate::support::program::Setup;

const SECRET: &str = "a-secret-of-32-characters-or-more";
const FILE: &str = "services:\n  web:\n    image: ghcr.io/acme/web:1\n    healthcheck:\n      test: [\"CMD\", \"true\"]\n      interval: 1s\n";

fn shop() -> (Fake, Setup) {
    let fake = Fake::start(Era::C);
    fake.world(|world| {
        world.push("ghcr.io/acme/web:1", Behaviour::Runs);
        world.compose_stack("shop", FILE, &[]);
        world.push("ghcr.io/acme/web:1", Behaviour::Runs);
    });
    let setup = Setup::with(&fake)
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET);
    (fake, setup)
}

#[test]
fn logs_its_address_answers_healthz_and_stops_on_sigterm() {
    let (_fake, setup) = shop();
    let server = setup.serve();
    let reply = server.get("/healthz");
    assert_eq!((reply.status, reply.text().trim()), (200, "ok"));
    let beside = Setup::new().env("STACKHOOK_LISTEN", &server.address.to_string());
    super::check(&beside, &["healthcheck"], 0, "", "");
    server.signal("HUP");
    server.wait_for_log("SIGHUP is ignored");
    server.signal("TERM");
    let (output, _) = server.wait();
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
}

#[test]
fn a_signed_delivery_updates_the_stack() {
    let (fake, setup) = shop();
    let server = setup.serve();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 200, "{}\n{}", reply.text(), server.log());
    assert_eq!(reply.json()["update_result"], "Stack updated successfully");
    assert_eq!(fake.puts().len(), 1);
    let reply = server.signed("/webhook/update/", "another-secret-nobody-configured", "{}");
    assert_eq!(reply.status, 401);
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn log_lines_are_json_where_that_is_asked_for() {
    let (_fake, setup) = shop();
    let server = setup.env("STACKHOOK_LOG_FORMAT", "json").serve();
    let (output, _) = server.kill();
    for line in output.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["time"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
    assert!(output.stderr.contains("listening on http://"), "{output:?}");
}

#[test]
fn the_journal_gets_priorities_instead_of_times() {
    let (_fake, setup) = shop();
    let log = std::fs::File::create(setup.path().join("log")).unwrap();
    let metadata = log.metadata().unwrap();
    let stream = {
        use std::os::unix::fs::MetadataExt as _;
        format!("{}:{}", metadata.dev(), metadata.ino())
    };
    // The variable is inherited by programs whose stderr leads elsewhere: then it means nothing.
    let server = setup.env("JOURNAL_STREAM", &stream).serve();
    assert!(!server.log().starts_with('<'), "{}", server.log());
}

#[test]
fn warns_about_a_service_manager_that_cannot_be_notified() {
    let (_fake, setup) = shop();
    let server = setup.env("NOTIFY_SOCKET", "/nope/socket").serve();
    server.wait_for_log("that the service is ready: no such file or directory");
}

#[test]
fn systemd_is_notified_when_it_is_ready_and_when_it_stops() {
    let (_fake, setup) = shop();
    let path = setup.path().join("notify");
    let systemd = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    systemd
        .set_read_timeout(Some(std::time::Duration::from_secs(30)))
        .unwrap();
    let receive = || {
        let mut message = [0; 500];
        let length = systemd.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let server = setup.env("NOTIFY_SOCKET", path.to_str().unwrap()).serve();
    assert!(receive().starts_with("READY=1\nSTATUS=listening on http://"));
    server.signal("TERM");
    assert_eq!(receive(), "STOPPING=1\nSTATUS=stopping");
    assert_eq!(server.wait().0.code, Some(0));
}
