//! What strangers do to a server in public, while honest senders go on. Each attack is one that brings a plain tiny_http down or
//! grows it without end.
//!
//! Past failures of others, and where each is kept from happening here (T: a test of that name, in the module named):
//!
//! | what went wrong elsewhere | kept from happening by |
//! |---|---|
//! | a shorter signature was compared up to its length: svix CVE-2024-21491 | T `signature::tests`, `signatures` |
//! | an exception on a malformed signature: octokit CVE-2023-50728 | T `no_bytes_of_a_request_make_it_panic` |
//! | a panic before the signature was checked: Argo CD CVE-2025-59531, -59537, -59538 | T `payloads_of_strangers_are_not_looked_at` |
//! | a body without bound before the signature: Argo CD CVE-2024-40634, Argo Workflows CVE-2026-42294 | T `lengths_that_are_only_stated_take_nothing`, `chunks_without_end_are_cut_off`, `bodies_share_a_bounded_room` |
//! | a comparison that tells how far it came: Jenkins CVE-2022-36885 and others | `secret::same` alone compares, T `tidy` |
//! | an empty secret was accepted: standard-webhooks 286, svix 2347, CVE-2026-119037 | T `secret::tests`, `config::tests` |
//! | no secret meant no check: n8n CVE-2026-86080, go-github | `Hook` has no unsigned mode, T `config::tests` |
//! | secrets of senders in headers that were logged: GitHub 2025 | T `headers_are_never_logged` |
//! | a body read as the next request: CVE-2026-66752 | T `nothing_is_smuggled_behind_an_ambiguous_length` |
//! | line ends in headers of replies: CVE-2026-66753 | T `gate::reply`, `control_characters_reach_neither_reply_nor_log` |

mod fairness;
mod limits;
mod siege;
mod smuggling;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::fake::Era;
use crate::support::shop::{self, WEB, portainer};
use crate::support::staff;
use siege::{Field, SECRET, besiege, crowd, setup, status};

/// How long each attack lasts.
const LASTING: Duration = Duration::from_millis(1200);

/// One test for each attack, and a list of them all for the long run.
macro_rules! attacks {
    ($($(#[$words:meta])* fn $name:ident($field:ident) $attack:block)*) => {
        $(
            $(#[$words])*
            #[test]
            fn $name() {
                let server = setup().serve();
                besiege(&server, LASTING, 2, attack::$name).holds(stringify!($name), &server);
            }
        )*

        mod attack {
            use super::*;

            $(pub(super) fn $name($field: &Field<'_>) $attack)*
        }

        /// All of them.
        const ATTACKS: &[(&str, fn(&Field<'_>))] = &[$((stringify!($name), attack::$name)),*];
    };
}

attacks! {
    /// tiny_http allocates what is stated, and aborts.
    fn lengths_that_are_only_stated_take_nothing(field) {
        for length in ["100000000000", "1000000000", "1048577", "99999999999999999999"] {
            let request = format!("POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            expect(field.ask(request.as_bytes()), 413);
        }
    }

    /// tiny_http panics in a worker.
    fn weights_that_are_no_numbers_harm_nobody(field) {
        let weights = "x;q=NaN,x;q=0.1,".repeat(20);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nTE: {weights}x\r\n\r\n");
        expect(field.ask(request.as_bytes()), 200);
    }

    /// Each costs tiny_http a thread and two descriptors for ever.
    fn other_versions_are_refused_and_forgotten(field) {
        for _ in 0..20 {
            drop(field.say(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"));
        }
        expect(field.ask(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
    }

    /// tiny_http asks a socket that is gone for its address, and panics.
    fn resets_at_any_moment_harm_nobody(field) {
        for request in ["", "GET", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /none HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let Some(stream) = field.say(request.as_bytes()) else {
                continue;
            };
            if request.ends_with("\r\n\r\n") {
                // What is closed with something unread is reset.
                let _ = stream.peek(&mut [0]);
            }
        }
    }

    /// tiny_http gives each a thread and never closes one.
    fn two_thousand_silent_connections_make_room(field) {
        let mut silent = Vec::new();
        while silent.len() < crowd() && field.goes_on() {
            silent.push(field.connect());
        }
        linger(field, Duration::from_millis(500));
    }

    fn request_lines_without_end_are_cut_off(field) {
        let taken = field.flood(b"GET /", &[b'x'; 65536], 200 << 20);
        assert!(taken < 100 << 20, "{taken}");
    }

    fn headers_without_end_are_cut_off(field) {
        let taken = field.flood(b"GET / HTTP/1.1\r\nX: ", &[b'x'; 65536], 200 << 20);
        assert!(taken < 100 << 20, "{taken}");
    }

    fn header_lines_without_end_are_cut_off(field) {
        let taken = field.flood(b"GET / HTTP/1.1\r\n", &b"X: y\r\n".repeat(10_000), 200 << 20);
        assert!(taken < 100 << 20, "{taken}");
    }

    fn chunks_without_end_are_cut_off(field) {
        let start = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat();
        for part in [&chunk, &b"0;".repeat(30_000), &b"00".repeat(30_000), &b"0\r\nX: y\r\n".repeat(9_000)] {
            let taken = field.flood(start, part, 200 << 20);
            assert!(taken < 100 << 20, "{taken}");
        }
    }

    /// Four of them stop tiny_http's workers.
    fn bodies_that_never_come_stop_nobody(field) {
        let head = |more: &str| format!("POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n{more}\r\n");
        let (plain, expecting) = (head(""), head("Expect: 100-continue\r\n"));
        let held: Vec<_> = (0..40).map(|number| match number % 2 {
            0 => field.say(plain.as_bytes()),
            _ => field.say(expecting.as_bytes()),
        }).collect();
        linger(field, Duration::from_millis(300));
        drop(held);
    }

    /// All but their last bytes, by more than there are places.
    fn bodies_share_a_bounded_room(field) {
        let mut large = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n".to_vec();
        large.resize(large.len() + 1_048_575, b'x');
        let held: Vec<_> = (0..30).map_while(|_| field.goes_on().then(|| field.say(&large))).collect();
        linger(field, Duration::from_millis(300));
        drop(held);
    }

    /// tiny_http answers each of 400,000, and keeps the answers.
    fn pipelined_requests_are_read_once(field) {
        let many = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2_000);
        let taken = field.flood(b"", &many, 200 << 20);
        assert!(taken < 100 << 20, "{taken}");
    }

    /// tiny_http may forget one of them.
    fn a_burst_of_connections_is_answered_to_the_last(field) {
        let together = Barrier::new(12);
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    together.wait();
                    let reply = field.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
                    assert_eq!(reply, 200, "one of a burst was forgotten");
                });
            }
        });
    }

    /// A byte now and then does not keep a connection open.
    fn trickles_hold_no_place(field) {
        let mut held: Vec<TcpStream> = (0..40).filter_map(|_| field.say(b"GET / HTTP/1.1\r\nX: ")).collect();
        for _ in 0..20 {
            held.retain_mut(|stream| stream.write_all(b"x").is_ok());
            linger(field, Duration::from_millis(20));
        }
    }

    fn noise_is_refused_at_once(field) {
        expect(field.ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400);
        expect(field.ask(b"SSH-2.0-OpenSSH_9.6\r\n"), 400);
        expect(field.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        expect(field.ask(b"\0\0\0\0"), 400);
    }

    /// One place and a few microseconds each; nothing for a worker.
    fn forged_deliveries_reach_no_worker(field) {
        let mut request = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nX-Portainer-Signature: ".to_vec();
        request.extend(b"0".repeat(64));
        request.extend(b"\r\nContent-Length: 1024\r\n\r\n");
        request.resize(request.len() + 1024, b'x');
        expect(field.ask(&request), 401);
    }

    fn half_closed_connections_are_answered_or_closed(field) {
        for (request, expected) in [("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200), ("GET /heal", 400), ("", 0)] {
            if let Some(stream) = field.say(request.as_bytes()) {
                let _ = stream.shutdown(Shutdown::Write);
                expect(status(stream), expected);
            }
        }
    }

    fn large_replies_that_nobody_reads_hold_no_worker(field) {
        let held: Vec<_> = (0..40).map(|_| field.say(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\n")).collect();
        linger(field, Duration::from_millis(200));
        drop(held);
    }

    /// Whatever stands where a signature is expected, or behind it.
    fn payloads_of_strangers_are_not_looked_at(field) {
        let kinds = ["X-GitHub-Event: push", "X-Gitlab-Event: Push Hook", "X-Event-Key: repo:push", "X-Gogs-Event: push"];
        let bodies = ["", "{", "null", "[[[[[[", "{\"push\":{\"changes\":[null]}}", "{\"ref\":0}", "\u{0}"];
        for kind in kinds {
            for body in bodies {
                let length = body.len();
                let request = format!("POST /webhook/update/ HTTP/1.1\r\nHost: a\r\n{kind}\r\nX-Hub-Signature-256: sha256=\r\nContent-Length: {length}\r\n\r\n{body}");
                expect(field.ask(request.as_bytes()), 401);
            }
        }
    }
}

/// There is room for all connections of these attacks, so none may be closed without a reply.
#[track_caller]
fn expect(found: u16, expected: u16) {
    assert_eq!(found, expected);
}

/// Goes on holding for a while.
fn linger(field: &Field<'_>, so_long: Duration) {
    let until = Instant::now() + so_long;
    while field.goes_on() && Instant::now() < until {
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
    let odd = |sign: char| sign.is_control() && sign != '\n';
    assert!(!log.contains(odd) && !log.contains("Set-Cookie"), "{log:?}");
}

/// Names come from Portainer, and its users choose them.
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
    // Known from the head, so the body is not waited for.
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
fn no_bytes_of_a_request_make_it_panic() {
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
