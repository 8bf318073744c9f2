//! A stack that staff have paused stays paused over every request and restart.

use super::{accept, end, pulls};
use crate::support::fake::{Era, Fake};
use crate::support::program::{Setup, Stackhook};
use crate::support::shop::{self, GOOD, QUICK, SECRET, WEB};
use crate::support::staff::{self, page, press};

fn open() -> (Fake, Stackhook) {
    let fake = shop::portainer(Era::A);
    let server = staff::serve(&fake, QUICK);
    fake.world(|world| world.push(WEB, GOOD));
    fake.forget_calls();
    (fake, server)
}

#[track_caller]
fn is_paused(server: &Stackhook) {
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 409, "{}", reply.text());
    for words in [
        "paused by staff since 20",
        "resume it on the settings page",
        "stackhook redeploy shop --force",
    ] {
        assert!(reply.text().contains(words), "{}", reply.text());
    }
}

#[test]
fn a_pause_survives_a_restart_and_skipped_deliveries_are_not_replayed() {
    let (fake, server) = open();
    press(&server, "pause", "shop");
    is_paused(&server);
    let server = server.kill().1.serve();
    assert!(page(&server).contains("<strong>Paused</strong>"));
    is_paused(&server);
    press(&server, "resume", "shop");
    let server = server.kill().1.serve();
    assert!(!page(&server).contains("<strong>Paused</strong>"));
    assert_eq!(fake.puts().len(), 0, "a skipped delivery was replayed");
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn a_delivery_accepted_before_a_pause_ends_with_its_reason() {
    let (fake, server) = open();
    let gate = shop::pull_held(&fake);
    let first = accept(&server, "{}").unwrap();
    pulls(&fake);
    let second = accept(&server, "{}").unwrap();
    press(&server, "pause", "shop");
    gate.open();
    assert_eq!(end(&server, &first).0, 200, "it had begun");
    let (code, body) = end(&server, &second);
    assert_eq!(code, 409, "{body}");
}

#[test]
fn commands_respect_a_pause_unless_forced() {
    let (fake, server) = open();
    press(&server, "pause", "shop");
    let beside: &Setup = server.setup();
    let output = beside.run(&["redeploy"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let words = "stackhook: shop: skipped: paused by staff since 20";
    assert!(output.stderr.starts_with(words), "{output:?}");
    assert_eq!(fake.puts().len(), 0);
    let output = beside.run(&["redeploy", "--force"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    is_paused(&server);
}
