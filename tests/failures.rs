//! Obstacles between stackhook and an update: each ends with the same message for a delivery and for the commands, each with its
//! own code, and nothing is changed.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::support::fake::{Era, Fake, Fault, When};
use crate::support::program::Setup;
use crate::support::shop::{
    GOOD, QUICK, SECRET, Shop, WEB, fails, portainer, says, side_by_side, variables,
};
use crate::support::tls::TlsFront;

const TRIGGERED: &str = "Stack update triggered";
const UPDATED: &str = "Stack updated successfully";
/// Limits the time for which a delivery tries to reach Portainer.
const SHORT: &str = "[portainer]\ntimeout = \"2s\"\n";

/// Asserts that a delivery ends with `code` and the commands with `exit`, all with these texts, and that the stack is unchanged.
#[track_caller]
fn check(fake: &Fake, setup: Setup, code: u16, exit: i32, words: &[&str]) {
    let before = fake.world(|world| world.containers("shop"));
    let config = format!("{SHORT}{QUICK}");
    let server = variables(setup).file("stackhook.toml", &config).serve();
    std::thread::scope(|scope| {
        for command in ["redeploy", "test-connection"] {
            let setup = server.setup();
            scope.spawn(move || {
                let output = setup.run(&[command]);
                assert_eq!(output.code, Some(exit), "{command}: {output:?}");
                for word in words {
                    assert!(output.stderr.contains(word), "{word:?}: {output:?}");
                }
            });
        }
        let reply = server.signed("/webhook/update/", SECRET, "{}");
        fails(&reply, code, words);
        for word in words {
            server.wait_for_log(word);
        }
        let nothing_was_sent = reply.text().contains("nothing was sent");
        assert!(nothing_was_sent || code != 504, "{}", reply.text());
    });
    assert_eq!(fake.puts().len(), 0);
    assert_eq!(fake.world(|world| world.containers("shop")), before);
}

/// Number of login attempts.
fn logins(fake: &Fake) -> usize {
    let calls = fake.calls();
    let of = calls.iter().filter(|call| call.path == "/api/auth");
    of.count()
}

fn address(fake: &Fake) -> SocketAddr {
    fake.url().trim_start_matches("http://").parse().unwrap()
}

#[test]
fn reports_an_unknown_api_key_with_portainers_message() {
    let fake = portainer(Era::A);
    fake.world(|world| world.revoke_keys(1));
    let words = ["401", "Invalid JWT token", "does not know the API key"];
    check(&fake, Setup::with(&fake), 502, 1, &words);
}

#[test]
fn tries_a_wrong_password_once_a_minute() {
    let fake = portainer(Era::A);
    let setup = Setup::new()
        .env("PORTAINER_URL", &fake.url())
        .env("PORTAINER_USER", "admin")
        .env("PORTAINER_PASSWORD", "not-the-right-one");
    let server = variables(setup).serve();
    for _ in 0..3 {
        let reply = server.signed("/webhook/update/", SECRET, "{}");
        let words = [
            "422",
            "Invalid credentials",
            "check user and password",
            "$$",
        ];
        fails(&reply, 502, &words);
    }
    assert_eq!(logins(&fake), 1);
    for command in ["redeploy", "test-connection"] {
        let output = server.setup().run(&[command]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(
            output.stderr.contains("check user and password"),
            "{output:?}"
        );
    }
    assert_eq!(logins(&fake), 3, "one each");
}

#[test]
fn renews_an_expired_session_once_for_all_calls() {
    let fake = portainer(Era::A);
    let setup = Setup::new()
        .env("PORTAINER_URL", &fake.url())
        .env("PORTAINER_USER", fake.user())
        .env("PORTAINER_PASSWORD", fake.password());
    let shop = Shop::with(fake, setup);
    assert_eq!(shop.deliver("{}").status, 200);
    assert_eq!(shop.deliver("{}").status, 200);
    assert_eq!(logins(&shop.fake), 1);
    // All JWTs become invalid when the process ends.
    shop.fake.world(|world| world.portainer_dies());
    shop.push(WEB, GOOD);
    says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
    assert_eq!(logins(&shop.fake), 2);
}

#[test]
fn distinguishes_other_servers_from_portainer() {
    let html = "<html><body>bad gateway</body></html>";
    let denied = r#"{"message":"Access denied","details":"Access denied to resource"}"#;
    let broken = r#"{"message":"Unable to retrieve stacks from the database","details":"database not open"}"#;
    let answer = |status, kind, body: &str| Fault::Answer(status, kind, body.to_owned());
    let json = "application/json";
    let rows: [(Fault, u16, i32, &[&str]); 7] = [
        (
            Fault::LoginPage,
            502,
            1,
            &["text/html", "check the address of Portainer"],
        ),
        (
            answer(403, json, denied),
            502,
            1,
            &["403", "Access denied", "share both"],
        ),
        (
            answer(500, json, broken),
            502,
            1,
            &[
                "500",
                "Unable to retrieve stacks from the database",
                "database not open",
            ],
        ),
        (
            answer(404, "text/plain", "404 page not found\n"),
            502,
            1,
            &["404", "text/plain"],
        ),
        (
            answer(401, "text/plain", "no\n"),
            502,
            1,
            &["something before Portainer refuses"],
        ),
        (
            answer(502, "text/html", html),
            504,
            75,
            &["a proxy answers 502"],
        ),
        (
            answer(503, "text/html", html),
            504,
            75,
            &["a proxy answers 503"],
        ),
    ];
    side_by_side(rows, |(fault, code, exit, words)| {
        let fake = portainer(Era::A);
        fake.fault(When::every("*", "/api/"), fault);
        check(&fake, Setup::with(&fake), code, exit, words);
    });
}

#[test]
fn reports_an_address_without_portainer() {
    let fake = portainer(Era::A);
    let setup = Setup::with(&fake).env("PORTAINER_URL", &format!("{}/elsewhere", fake.url()));
    check(&fake, setup, 502, 1, &["404", "text/plain"]);
}

#[test]
fn does_not_follow_a_redirect() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let target = format!("http://{}", other.local_addr().unwrap());
    let fake = portainer(Era::A);
    let location = format!("{target}/login?back=secret-of-the-query");
    fake.fault(When::every("*", "/api/"), Fault::Redirect(location));
    let setup = Setup::with(&fake).secret("secret-of-the-query");
    let words = ["redirected", &target, "nothing was sent"];
    check(&fake, setup, 502, 1, &words);
    let nobody = other.accept().unwrap_err().kind();
    assert_eq!(nobody, std::io::ErrorKind::WouldBlock);
}

#[test]
fn prints_the_fingerprint_of_an_untrusted_certificate() {
    let fake = portainer(Era::A);
    let front = TlsFront::start(address(&fake));
    let url = format!("https://{}", front.addr);
    let pin: Vec<String> = front
        .sha256
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let pin = pin.join(":");
    let setup = || Setup::with(&fake).env("PORTAINER_URL", &url);
    let words = ["not trusted", &pin, "PORTAINER_CERTIFICATE_SHA256"];
    check(&fake, setup(), 502, 1, &words);
    assert_eq!(fake.calls().len(), 0, "no credentials were sent");

    let pinned = setup().env("PORTAINER_CERTIFICATE_SHA256", &pin);
    let server = variables(pinned).serve();
    fake.world(|world| world.push(WEB, GOOD));
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    says(&reply, 200, TRIGGERED, UPDATED);

    let other = pin.replacen(
        &pin[..2],
        if pin.starts_with("00") { "01" } else { "00" },
        1,
    );
    let wrong = setup().env("PORTAINER_CERTIFICATE_SHA256", &other);
    let output = variables(wrong).run(&["test-connection"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(&pin), "{output:?}");
}

#[test]
fn reports_plain_http_on_a_tls_port() {
    let fake = portainer(Era::A);
    let front = TlsFront::start(address(&fake));
    let setup = Setup::with(&fake).env("PORTAINER_URL", &format!("http://{}", front.addr));
    check(&fake, setup, 502, 1, &["https://"]);
}

#[test]
fn retries_a_refused_connection_for_a_delivery_but_not_for_a_command() {
    let mut fake = portainer(Era::A);
    let setup = Setup::with(&fake);
    fake.go_down();
    check(&fake, setup, 504, 75, &["connection refused"]);
}

#[test]
fn submits_the_waiting_update_when_portainer_returns() {
    let mut shop = Shop::open(Era::A);
    let image = shop.push(WEB, GOOD);
    shop.fake.go_down();
    let headers = [("Prefer", "respond-async")];
    let reply = shop
        .server
        .signed_with("/webhook/update/", SECRET, &headers, "{}");
    assert_eq!(reply.status, 202);
    let url = reply.json()["status_url"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let body = shop.server.get(&url).json();
        if body["stacks"][0]["step"] == "waiting for Portainer" {
            break;
        }
        assert!(Instant::now() < deadline, "{body}");
        std::thread::yield_now();
    }
    shop.fake.come_back();
    let waits = [("Prefer", "wait=30")];
    let reply = shop.server.request("GET", &url, &waits, b"");
    says(&reply, 200, TRIGGERED, UPDATED);
    assert_eq!(shop.now()["web"].image_id, image);
}

#[test]
fn times_out_on_a_silent_server() {
    let fake = portainer(Era::A);
    fake.fault(When::every("GET", "/api/"), Fault::Silent);
    // This delivery waits for a minute; other deliveries do not.
    check(
        &fake,
        Setup::with(&fake),
        504,
        75,
        &["no answer within 30 s"],
    );
}

#[test]
fn follows_an_update_whose_answer_is_lost_and_never_resends_it() {
    let faults = [Fault::CloseAfter, Fault::CutShort, Fault::GaveUp(504)];
    let cells = faults.map(|fault| [Era::A, Era::C].map(|era| (era, fault.clone())));
    side_by_side(cells.into_iter().flatten(), |(era, fault)| {
        let shop = Shop::quick(era);
        let image = shop.push(WEB, GOOD);
        shop.fake.fault(When::next("PUT", "/api/stacks/"), fault);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(shop.now()["web"].image_id, image);
        assert_eq!(shop.fake.puts().len(), 1);
    });
}

#[test]
fn reports_a_refused_update_and_does_not_resend_it() {
    let shop = Shop::quick(Era::A);
    shop.push(WEB, GOOD);
    let body = r#"{"message":"Unable to update the stack","details":"read-only file system"}"#;
    let answer = Fault::Answer(500, "application/json", body.to_owned());
    shop.fake.fault(When::every("PUT", "/api/stacks/"), answer);
    let words = ["Unable to update the stack", "read-only file system"];
    fails(&shop.deliver("{}"), 502, &words);
    assert_eq!(shop.fake.puts().len(), 1);
    assert_eq!(shop.now(), shop.before);
}
