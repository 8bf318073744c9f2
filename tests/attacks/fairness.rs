//! Clients at one or many addresses that exhaust a shared resource must not keep others out.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::harness::{SECRET, StopOnDrop, run_attack, setup};
use crate::support::fake::Era;
use crate::support::program::Setup;
use crate::support::shop::{Shop, pull_held};
use crate::support::{sign, staff};

/// A connection from one of many client addresses: all of 127.0.0.0/8 is loopback. It receives little at a time.
fn connect_from(server: SocketAddr, client: u16) -> Option<TcpStream> {
    let [high, low] = client.to_be_bytes();
    // A server that another test starts meanwhile must not inherit it.
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).ok()?;
    set_socket_recv_buffer_size(&socket, 4096).ok()?;
    bind(&socket, &SocketAddr::from(([127, 1, high, low], 0))).ok()?;
    connect(&socket, &server).ok()?;
    Some(TcpStream::from(socket))
}

/// Silent connections, trickled heads and bodies, and large unread replies: 200 connections a second from 5, 50 and 500 addresses.
/// `STACKHOOK_SOAK` sets the duration for each number of addresses (seconds).
#[test]
fn slow_clients_from_many_addresses_do_not_delay_others() {
    let seconds = std::env::var("STACKHOOK_SOAK").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    for (addresses, limit) in [(5, "-n 1024"), (50, "-n 64"), (500, "-n 256")] {
        let server = setup()
            .env("STACKHOOK_STAFF_PASSWORD", staff::PASSWORD)
            .limited(limit)
            .serve();
        // Starts the thread that inspects Portainer for the page.
        staff::page(&server);
        let page = format!(
            "GET /settings/webhooks/ HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\n\r\n",
            staff::basic(staff::PASSWORD)
        );
        let kinds: [&[u8]; 4] = [
            b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nx",
            b"",
            b"GET /healthz HTTP/1.1\r\nX: ",
            page.as_bytes(),
        ];
        let duration = Duration::from_secs(seconds.unwrap_or(3));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _end = StopOnDrop(&is_over);
            scope.spawn(|| {
                let listen = server.address.to_string();
                let checker = Setup::new().env("STACKHOOK_LISTEN", &listen);
                while !is_over.load(Ordering::SeqCst) {
                    let output = checker.run(&["healthcheck"]);
                    assert_eq!(output.code, Some(0), "{}", output.stderr);
                }
            });
            let report = run_attack(&server, duration, 1, |attacker| {
                let mut held: VecDeque<(usize, TcpStream)> = VecDeque::new();
                for number in (0..u16::MAX).cycle() {
                    if !attacker.is_running() {
                        return;
                    }
                    let kind = usize::from(number) % kinds.len();
                    if let Some(mut stream) = connect_from(attacker.address, number % addresses) {
                        let _ = stream.write_all(kinds[kind]);
                        held.push_back((kind, stream));
                    }
                    if held.len() > 400 {
                        held.pop_front();
                    }
                    // An older one sends another byte.
                    if let Some((0 | 2, stream)) = held.get_mut(usize::from(number) % 400) {
                        let _ = stream.write_all(b"x");
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            });
            assert!(report.most.threads <= 20 + RUNNERS, "{:?}", report.most);
            report.assert_limits(
                &format!("slow clients from {addresses} addresses, {limit}"),
                &server,
            );
        });
    }
}

/// Threads that may run redeploys.
const RUNNERS: u64 = 16;

/// Announced bytes take no memory, whether the route exists or not.
#[test]
fn announced_bodies_do_not_keep_large_deliveries_out() {
    let server = setup().env("STACKHOOK_MAX_BODY", "32MiB").serve();
    let mut held = Vec::new();
    for path in ["/webhook/update/", "/nothing/here"] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(server.address).unwrap();
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 33554432\r\n\r\nx");
            stream.write_all(head.as_bytes()).unwrap();
            held.push(stream);
        }
    }
    for _ in 0..20 {
        for stream in &mut held {
            let _ = stream.write_all(b"x");
        }
        let body = format!(r#"{{"event":"ping","more":"{}"}}"#, "x".repeat(900_000));
        let reply = server.signed("/webhook/update/", SECRET, &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[test]
fn no_unauthenticated_request_gets_past_the_log_limiter() {
    let shop = Shop::open(Era::A);
    let gate = pull_held(&shop.fake);
    let headers = [("Prefer", "respond-async")];
    let reply = shop.server.signed_with(
        "/webhook/update/",
        crate::support::shop::SECRET,
        &headers,
        "{}",
    );
    let known = reply.json()["status_url"].as_str().unwrap().to_owned();
    let unknown = format!("/webhook/deliveries/{}/", "0".repeat(32));
    let begun = Instant::now();
    for number in 0..100 {
        for path in [
            &unknown,
            &known,
            "/",
            "/healthz",
            "/metrics",
            "/settings/webhooks/",
            "/none",
        ] {
            shop.server.get(path);
        }
        shop.server.post("/webhook/update/", &[], b"{}");
        shop.server
            .raw(format!("BREW /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }
    let lines = shop.server.log().lines().count();
    let allowed = 20 + usize::try_from(begun.elapsed().as_secs() / 6).unwrap();
    // Each line of the limiter can come with one that counts the suppressed ones; the start writes some too.
    assert!(
        lines <= 2 * allowed + 30,
        "{lines} lines: {}",
        shop.server.log()
    );
    gate.open();
}

#[test]
fn early_replies_do_not_wait_for_the_body() {
    let server = setup().serve();
    for path in ["/none", "/webhook/update/none/", "/webhook/update"] {
        let method = if path == "/webhook/update" {
            "PUT"
        } else {
            "POST"
        };
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\nx");
        let reply = server.raw(head.as_bytes());
        let text = String::from_utf8(reply).unwrap();
        assert!(text.starts_with("HTTP/1.1 40"), "{path}: {text}");
    }
    // Signed deliveries are still accepted.
    let body = r#"{"event":"ping"}"#;
    let signature = sign::hex_hmac(SECRET, body.as_bytes());
    let headers = [("X-Portainer-Signature", signature.as_str())];
    let reply = server.request("POST", "/webhook/update/", &headers, body.as_bytes());
    assert_eq!(reply.status, 200);
}
