//! Clients that use up something shared, from one address or from many, must not keep others out.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::siege::{SECRET, besiege, setup};
use crate::support::fake::Era;
use crate::support::shop::{Shop, pull_held};
use crate::support::sign;

/// A connection from one of many client addresses: all of 127.0.0.0/8 is loopback.
fn connect_from(server: SocketAddr, client: u16) -> Option<TcpStream> {
    let [high, low] = client.to_be_bytes();
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
    bind(&socket, &SocketAddr::from(([127, 1, high, low], 0))).ok()?;
    connect(&socket, &server).ok()?;
    Some(TcpStream::from(socket))
}

/// Whole heads whose bodies trickle, silent connections and trickled heads, from 5, 50 and 500 addresses.
#[test]
fn slow_clients_from_many_addresses_do_not_delay_others() {
    for (addresses, limit) in [(5, "-n 1024"), (50, "-n 64"), (500, "-n 256")] {
        let server = setup().limited(limit).serve();
        let report = besiege(&server, Duration::from_secs(3), 1, |field| {
            let mut held: Vec<TcpStream> = Vec::new();
            let kinds: [&[u8]; 3] = [
                b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nx",
                b"",
                b"GET /healthz HTTP/1.1\r\nX: ",
            ];
            for number in 0..600_u16 {
                if !field.goes_on() {
                    return;
                }
                if let Some(mut stream) = connect_from(field.address, number % addresses) {
                    let _ = stream.write_all(kinds[usize::from(number % 3)]);
                    held.push(stream);
                }
                let oldest = held.len().saturating_sub(400);
                held.drain(..oldest);
                // 200 a second.
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        report.holds(
            &format!("slow clients from {addresses} addresses, {limit}"),
            &server,
        );
    }
}

/// Announced bytes take nothing: neither of a hook nor of a route that does not exist.
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

/// Whatever route an unauthenticated client requests, the log stays short.
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

/// A rejected client with a body that never ends, at the same time as everything else.
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
    // Signed ones still go through.
    let body = r#"{"event":"ping"}"#;
    let signature = sign::hex_hmac(SECRET, body.as_bytes());
    let headers = [("X-Portainer-Signature", signature.as_str())];
    let reply = server.request("POST", "/webhook/update/", &headers, body.as_bytes());
    assert_eq!(reply.status, 200);
}
