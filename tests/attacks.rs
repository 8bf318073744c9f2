//! Attacks by unauthenticated clients, with honest traffic beside them. Each attack crashes the server of tiny_http, blocks it, or
//! makes it grow without bound.
//!
//! Failures of other programs, and the measures against them here (T: test):
//!
//! | failure elsewhere | prevented by |
//! |---|---|
//! | a shorter signature was compared up to its length: svix CVE-2024-21491 | T `signature::tests`, `signatures` |
//! | an exception on a malformed signature: octokit CVE-2023-50728 | T `mutated_requests_never_cause_a_panic` |
//! | a panic before the signature was checked: Argo CD CVE-2025-59531, -59537, -59538 | T `unsigned_payloads_are_not_parsed` |
//! | an unbounded body before the signature: Argo CD CVE-2024-40634, Argo Workflows CVE-2026-42294 | T `an_announced_length_takes_no_memory`, `endless_chunks_are_rejected`, `bodies_share_bounded_memory` |
//! | a comparison whose duration depends on the secret: Jenkins CVE-2022-36885 and others | only `secret` compares secrets, T `tidy` |
//! | an empty secret was accepted: standard-webhooks 286, svix 2347, CVE-2026-119037 | T `secret::tests`, `config::tests` |
//! | without a secret, nothing was checked: n8n CVE-2026-86080, go-github | `Hook` has no unsigned mode, T `config::tests` |
//! | logged headers contained secrets of senders: GitHub 2025 | T `headers_are_never_logged` |
//! | a body read as the next request: CVE-2026-66752 | T `nothing_is_smuggled_behind_an_ambiguous_length` |
//! | line ends in reply headers: CVE-2026-66753 | T `http::reply`, `control_characters_reach_neither_reply_nor_log` |

mod fairness;
mod limits;
mod harness;
mod smuggling;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::fake::Era;
use crate::support::shop::{self, WEB, portainer};
use crate::support::staff;
use harness::{Attacker, SECRET, connections_per_attacker, run_attack, setup, status};

/// The duration of each attack.
const DURATION: Duration = Duration::from_millis(1200);

/// Defines one test for each attack, and a list of all attacks for the long run.
macro_rules! attacks {
    ($($(#[$attribute:meta])* fn $name:ident($attacker:ident) $attack:block)*) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() {
                let server = setup().serve();
                run_attack(&server, DURATION, 2, attack::$name).assert_limits(stringify!($name), &server);
            }
        )*

        mod attack {
            use super::*;

            $(pub(super) fn $name($attacker: &Attacker<'_>) $attack)*
        }

        /// All of them.
        const ATTACKS: &[(&str, fn(&Attacker<'_>))] = &[$((stringify!($name), attack::$name)),*];
    };
}

attacks! {
    /// tiny_http allocates the announced length and aborts.
    fn an_announced_length_takes_no_memory(attacker) {
        for length in ["100000000000", "1000000000", "1048577", "99999999999999999999"] {
            let request = format!("POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            expect(attacker.request_status(request.as_bytes()), 413);
        }
    }

    /// tiny_http panics in a worker.
    fn malformed_te_weights_are_ignored(attacker) {
        let weights = "x;q=NaN,x;q=0.1,".repeat(20);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nTE: {weights}x\r\n\r\n");
        expect(attacker.request_status(request.as_bytes()), 200);
    }

    /// Each costs tiny_http a thread and two descriptors forever.
    fn other_http_versions_are_rejected(attacker) {
        for _ in 0..20 {
            drop(attacker.send(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"));
        }
        expect(attacker.request_status(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
    }

    /// tiny_http panics when it requests the address of a closed socket.
    fn resets_at_any_time_do_no_harm(attacker) {
        for request in ["", "GET", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /none HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let Some(stream) = attacker.send(request.as_bytes()) else {
                continue;
            };
            if request.ends_with("\r\n\r\n") {
                // Closing a socket with unread input resets the connection.
                let _ = stream.peek(&mut [0]);
            }
        }
    }

    /// tiny_http starts a thread for each and never closes one.
    fn silent_connections_do_not_block_others(attacker) {
        let mut silent = Vec::new();
        while silent.len() < connections_per_attacker() && attacker.is_running() {
            silent.push(attacker.connect());
        }
        hold(attacker, Duration::from_millis(500));
    }

    fn endless_request_lines_are_rejected(attacker) {
        let sent = attacker.flood(b"GET /", &[b'x'; 65536], 200 << 20);
        assert!(sent < 100 << 20, "{sent}");
    }

    fn endless_headers_are_rejected(attacker) {
        let sent = attacker.flood(b"GET / HTTP/1.1\r\nX: ", &[b'x'; 65536], 200 << 20);
        assert!(sent < 100 << 20, "{sent}");
    }

    fn endless_header_lines_are_rejected(attacker) {
        let sent = attacker.flood(b"GET / HTTP/1.1\r\n", &b"X: y\r\n".repeat(10_000), 200 << 20);
        assert!(sent < 100 << 20, "{sent}");
    }

    fn endless_chunks_are_rejected(attacker) {
        let start = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat();
        for part in [&chunk, &b"0;".repeat(30_000), &b"00".repeat(30_000), &b"0\r\nX: y\r\n".repeat(9_000)] {
            let sent = attacker.flood(start, part, 200 << 20);
            assert!(sent < 100 << 20, "{sent}");
        }
    }

    /// Four of them block all workers of tiny_http.
    fn missing_bodies_do_not_block_others(attacker) {
        let head = |more: &str| format!("POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n{more}\r\n");
        let (plain, expecting) = (head(""), head("Expect: 100-continue\r\n"));
        let held: Vec<_> = (0..40).map(|number| match number % 2 {
            0 => attacker.send(plain.as_bytes()),
            _ => attacker.send(expecting.as_bytes()),
        }).collect();
        hold(attacker, Duration::from_millis(300));
        drop(held);
    }

    /// All but the last byte of each, and more than fit into memory.
    fn bodies_share_bounded_memory(attacker) {
        let mut large = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n".to_vec();
        large.resize(large.len() + 1_048_575, b'x');
        let held: Vec<_> = (0..30).map_while(|_| attacker.is_running().then(|| attacker.send(&large))).collect();
        hold(attacker, Duration::from_millis(300));
        drop(held);
    }

    /// tiny_http answers each of 400,000 and keeps the replies in memory.
    fn only_the_first_pipelined_request_is_read(attacker) {
        let many = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2_000);
        let sent = attacker.flood(b"", &many, 200 << 20);
        assert!(sent < 100 << 20, "{sent}");
    }

    /// tiny_http may leave one without a reply.
    fn a_burst_of_connections_is_answered(attacker) {
        let together = Barrier::new(12);
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    together.wait();
                    let reply = attacker.request_status(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
                    assert_eq!(reply, 200, "a connection got no reply");
                });
            }
        });
    }

    fn trickled_heads_do_not_block_others(attacker) {
        let mut held: Vec<TcpStream> = (0..40).filter_map(|_| attacker.send(b"GET / HTTP/1.1\r\nX: ")).collect();
        for _ in 0..20 {
            held.retain_mut(|stream| stream.write_all(b"x").is_ok());
            hold(attacker, Duration::from_millis(20));
        }
    }

    fn other_protocols_are_rejected_at_once(attacker) {
        expect(attacker.request_status(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400);
        expect(attacker.request_status(b"SSH-2.0-OpenSSH_9.6\r\n"), 400);
        expect(attacker.request_status(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        expect(attacker.request_status(b"\0\0\0\0"), 400);
    }

    fn forged_deliveries_are_rejected(attacker) {
        let mut request = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nX-Portainer-Signature: ".to_vec();
        request.extend(b"0".repeat(64));
        request.extend(b"\r\nContent-Length: 1024\r\n\r\n");
        request.resize(request.len() + 1024, b'x');
        expect(attacker.request_status(&request), 401);
    }

    fn half_closed_connections_are_answered_or_closed(attacker) {
        for (request, expected) in [("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200), ("GET /heal", 400), ("", 0)] {
            if let Some(stream) = attacker.send(request.as_bytes()) {
                let _ = stream.shutdown(Shutdown::Write);
                expect(status(stream), expected);
            }
        }
    }

    fn unread_replies_do_not_block_others(attacker) {
        let held: Vec<_> = (0..40).map(|_| attacker.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\n")).collect();
        hold(attacker, Duration::from_millis(200));
        drop(held);
    }

    /// Malformed signatures and malformed bodies of several senders.
    fn unsigned_payloads_are_not_parsed(attacker) {
        let kinds = ["X-GitHub-Event: push", "X-Gitlab-Event: Push Hook", "X-Event-Key: repo:push", "X-Gogs-Event: push"];
        let bodies = ["", "{", "null", "[[[[[[", "{\"push\":{\"changes\":[null]}}", "{\"ref\":0}", "\u{0}"];
        for kind in kinds {
            for body in bodies {
                let length = body.len();
                let request = format!("POST /webhook/update/ HTTP/1.1\r\nHost: a\r\n{kind}\r\nX-Hub-Signature-256: sha256=\r\nContent-Length: {length}\r\n\r\n{body}");
                expect(attacker.request_status(request.as_bytes()), 401);
            }
        }
    }
}

/// None of these attacks exceeds the limit of connections, so none may be closed without a reply.
#[track_caller]
fn expect(found: u16, expected: u16) {
    assert_eq!(found, expected);
}

/// Keeps connections open for a while.
fn hold(attacker: &Attacker<'_>, duration: Duration) {
    let until = Instant::now() + duration;
    while attacker.is_running() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn control_characters_reach_neither_reply_nor_log() {
    let server = setup().env("STACKHOOK_LOG", "debug").serve();
    for path in [
        "/%0d%0aSet-Cookie:x",
        "/%00",
        "/\r/x",
        "/\n/x",
        "/%1b[31m",
        "/x\0",
        "/%c2%9b",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let reply = String::from_utf8(server.raw(request.as_bytes())).unwrap();
        assert!(reply.starts_with("HTTP/1.1 400 "), "{path:?}: {reply}");
        assert!(!reply.contains("Set-Cookie"), "{reply}");
    }
    for line in ["X: a\rb", "X: a\nb", "X: a\0b", "X: \u{1b}]0;x\u{7}"] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        let reply = server.raw(request.as_bytes());
        assert!(reply.starts_with(b"HTTP/1.1 400 "), "{line:?}");
    }
    let log = server.log();
    let is_unexpected = |character: char| character.is_control() && character != '\n';
    assert!(
        !log.contains(is_unexpected) && !log.contains("Set-Cookie"),
        "{log:?}"
    );
}

/// Users of Portainer choose the names of stacks.
#[test]
fn misleading_characters_in_names_reach_no_output() {
    let hostile = "sh\u{202e}\u{2066}\u{61c}op";
    let fake = portainer(Era::A);
    fake.world(|world| {
        let file = format!("services:\n  web:\n    image: {WEB}\n");
        world.compose_stack(hostile, &file, &[]);
    });
    let name = hostile
        .chars()
        .map(|character| format!("\\u{:04X}", u32::from(character)));
    let file = format!(
        "[[stack]]\nkey = \"evil\"\nname = \"{}\"\nhealthy_within = \"1s\"\n",
        name.collect::<String>()
    );
    let setup = staff::set_up(&fake, &file);
    let is_clean = |text: &str| {
        !text.contains(|character: char| {
            (character.is_control() && character != '\n')
                || matches!(character, '\u{61c}' | '\u{202e}')
        })
    };
    for command in [
        ["redeploy", "evil", "--json"],
        ["redeploy", "evil", "--dry-run"],
    ] {
        let output = setup.run(&command);
        assert!(is_clean(&output.stdout), "{:?}", output.stdout);
        assert!(is_clean(&output.stderr), "{:?}", output.stderr);
        if command[2] == "--json" {
            let json: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!(json["stacks"][0]["name"], hostile);
        }
    }
    let server = setup.serve();
    let reply = server.signed("/webhook/update/", shop::SECRET, r#"{"stack":"evil"}"#);
    assert!(is_clean(reply.text()), "{:?}", reply.text());
    assert_eq!(reply.json()["stacks"][0]["name"], hostile);
    let page = staff::page(&server);
    assert!(is_clean(&page) && page.contains("\\u{202e}"), "{page:?}");
}

#[test]
fn only_permitted_addresses_may_post() {
    let file = format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[[stack]]\nname = \"shop\"\n[[hook]]\nname = \"update\"\n\
         stacks = [\"shop\"]\nallow_from = [\"192.0.2.0/24\"]\nsecret = \"{SECRET}\"\n"
    );
    let setup = crate::support::program::Setup::new();
    let server = setup
        .file("stackhook.toml", &file)
        .env("PORTAINER_URL", "http://127.0.0.1:9")
        .env("PORTAINER_API_KEY", "ptr_of-no-importance")
        .serve();
    let body = r#"{"event":"ping"}"#;
    for (forwarded, expected) in [
        (None, 403),
        (Some("192.0.3.1"), 403),
        (Some("192.0.2.1, 192.0.3.1"), 403),
        (Some("192.0.2.1"), 200),
        (Some("192.0.3.1, 192.0.2.1"), 200),
    ] {
        let forwarded = forwarded.map(|address| ("X-Forwarded-For", address));
        let headers: Vec<(&str, &str)> = forwarded.into_iter().collect();
        let reply = server.signed_with("/webhook/update/", SECRET, &headers, body);
        assert_eq!(reply.status, expected, "{headers:?}: {}", reply.text());
    }
    // The head decides, so the server does not wait for the body.
    let head = "POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    assert!(server.raw(head.as_bytes()).starts_with(b"HTTP/1.1 403 "));
}

#[test]
fn headers_are_never_logged() {
    let server = setup().env("STACKHOOK_LOG", "debug").serve();
    let words = ["X-GitHub-Encoded-Secret", "hush-hush-secret-of-a-sender"];
    for start in [
        "GET /healthz",
        "GET /none",
        "POST /webhook/update/",
        "BREW /",
    ] {
        let request = format!(
            "{start} HTTP/1.1\r\nHost: a\r\n{}: {}\r\n\r\n",
            words[0], words[1]
        );
        assert!(!server.raw(request.as_bytes()).is_empty());
    }
    let log = server.log().to_ascii_lowercase();
    assert!(
        words
            .iter()
            .all(|word| !log.contains(&word.to_ascii_lowercase())),
        "{log}"
    );
}

#[test]
fn mutated_requests_never_cause_a_panic() {
    let server = setup().serve();
    let body = br#"{"event":"ping"}"#;
    let signature = crate::support::sign::hex_hmac(SECRET, body);
    let headers = [
        ("X-Portainer-Signature", signature.as_str()),
        ("Prefer", "wait=0"),
        ("X-Forwarded-For", "1.1.1.1"),
    ];
    let whole = crate::support::client::request(
        server.address,
        "POST",
        "/webhook/update/?a=%20",
        &headers,
        body,
    );
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chance = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(end).unwrap()).unwrap()
    };
    let rounds = std::env::var("STACKHOOK_ROUNDS")
        .ok()
        .and_then(|times| times.parse().ok())
        .unwrap_or(1);
    for _ in 0..400 * rounds {
        let mut request = whole.clone();
        for _ in 0..1 + chance(3) {
            let at = chance(request.len());
            match chance(3) {
                0 => request[at] = u8::try_from(chance(256)).unwrap(),
                1 => drop(request.remove(at)),
                _ => request.insert(at, b"\r\n:; ,=%\0\xff\"{}0"[chance(14)]),
            }
        }
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let _ = stream.write_all(&request);
        let _ = stream.shutdown(Shutdown::Write);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        assert!(
            reply.starts_with(b"HTTP/1.1 ") && !reply.starts_with(b"HTTP/1.1 500"),
            "{:?}: {:?}",
            String::from_utf8_lossy(&request),
            String::from_utf8_lossy(&reply)
        );
    }
    assert_eq!(server.get("/healthz").status, 200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
