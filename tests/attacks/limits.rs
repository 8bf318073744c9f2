//! Deadlines, scarce resources, and all attacks together.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::harness::{Attacker, SECRET, run_attack, setup, status_of, usage};
use super::{ATTACKS, DURATION};
use crate::support::client;
use crate::support::fake::{Behaviour, Era};
use crate::support::program::is_released;
use crate::support::shop::{Shop, portainer};
use crate::support::sign;

/// Sends a byte from time to time. Returns the reply and the time until the connection was closed.
fn trickle(server: std::net::SocketAddr, start: &[u8]) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(start).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let (mut reply, mut part) = (Vec::new(), [0; 1024]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => reply.extend(&part[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let _ = stream.write_all(b"x");
            }
            Err(_) => break,
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the connection is never closed"
        );
    }
    (String::from_utf8(reply).unwrap(), begun.elapsed())
}

#[test]
fn a_trickle_does_not_move_the_deadline() {
    let server = setup().serve();
    let address = server.address;
    let head = thread::spawn(move || trickle(address, b"GET /healthz HTTP/1.1\r\nX: "));
    let one_byte = thread::spawn(move || trickle(address, b"G"));
    let silent = thread::spawn(move || {
        let begun = Instant::now();
        let mut reply = String::new();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.read_to_string(&mut reply).unwrap();
        (reply, begun.elapsed())
    });
    let body = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n";
    let body = thread::spawn(move || trickle(address, body));
    #[track_caller]
    fn check((reply, took): (String, Duration), seconds: u64) {
        assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
        // A deadline that moved would never come.
        let range = Duration::from_secs(seconds)..Duration::from_secs(seconds + 30);
        assert!(range.contains(&took), "{took:?}");
    }
    check(head.join().unwrap(), 10);
    check(one_byte.join().unwrap(), 10);
    check(silent.join().unwrap(), 10);
    check(body.join().unwrap(), 20);
}

#[test]
fn few_descriptors_are_enough() {
    for limit in [64, 30, 24] {
        let server = setup()
            .env("STACKHOOK_LOG", "debug")
            .limited(&format!("-n {limit}"))
            .serve();
        let report = run_attack(&server, 3 * DURATION, 1, |attacker| {
            let mut silent = Vec::new();
            while silent.len() < 100 && attacker.is_running() {
                silent.push(attacker.connect());
            }
            super::hold(attacker, 3 * DURATION);
        });
        report.assert_limits(&format!("ulimit -n {limit}"), &server);
        let words = format!("at most {limit} files may be open (ulimit -n, LimitNOFILE=)");
        assert!(server.log().contains(&words), "{}", server.log());
    }
}

#[test]
fn the_soft_limit_of_open_files_is_raised() {
    let server = setup().limited("-Sn 64").serve();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let fields: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(fields[3], fields[4]);
    assert_ne!(fields[3], "64");
}

/// The limit is lowered while the server runs, so that it has fewer descriptors than it planned with. Requests may fail meanwhile, but
/// not afterwards.
#[test]
fn serving_continues_after_descriptors_run_out() {
    let server = setup().env("STACKHOOK_LOG", "debug").serve();
    let free = 4;
    let limit = usage(&server).descriptors + free;
    let lowered = Command::new("prlimit")
        .arg(format!("--pid={}", server.id()))
        .arg(format!("--nofile={limit}:{limit}"))
        .status();
    assert!(lowered.unwrap().success());
    let silent: Vec<_> = (0..10 * free)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    eventually(|| server.log().contains("cannot accept a connection"));
    drop(silent);
    // Until the closed connections have left the backlog, any connection without a request may be closed.
    eventually(|| usage(&server).descriptors <= limit - free);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn unfinished_requests_are_evicted() {
    let server = setup().serve();
    let request = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let report = run_attack(&server, Duration::from_secs(10), 1, |attacker| {
        let held: Vec<_> = (0..60).map(|_| attacker.send(request)).collect();
        super::hold(attacker, Duration::from_secs(60));
        drop(held);
    });
    report.assert_limits("requests that never end", &server);
}

/// A small allocation that fails would end the process, so large bodies must be refused first.
#[test]
fn little_memory_is_enough() {
    // Without optimisation the program uses glibc, which reserves address space for each thread. With the last limit it falls back to
    // a single arena.
    let limits = if is_released() {
        [(60_000, "8"), (45_000, "8")]
    } else {
        [(200_000, "8"), (66_000, "1")]
    };
    for (limit, arenas) in limits {
        let server = setup()
            .env("MALLOC_ARENA_MAX", arenas)
            .limited(&format!("-v {limit}"))
            .serve();
        let report = run_attack(&server, DURATION, 2, |attacker| {
            // Smaller bodies may use what larger ones leave.
            let sizes = [1 << 20, 1 << 19, 1 << 18, 1 << 17, 70_000, 60_000, 30_000];
            let bodies = sizes.iter().flat_map(|size| std::iter::repeat_n(size, 8));
            let held: Vec<_> = bodies
                .map_while(|size| {
                    let head = "POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: ";
                    let mut request = format!("{head}{size}\r\n\r\n").into_bytes();
                    request.resize(request.len() + size - 1, b'x');
                    attacker.is_running().then(|| attacker.send(&request))
                })
                .collect();
            super::hold(attacker, Duration::from_millis(300));
            drop(held);
        });
        report.assert_limits(&format!("ulimit -v {limit}"), &server);
    }
}

/// A parsed body takes many times the memory of its text, and a client that knows the secret has its body parsed.
#[test]
fn signed_bodies_use_bounded_memory() {
    let server = setup().serve();
    let body = |value: &str| {
        let values = vec![value; 1_000_000 / (value.len() + 1)].join(",");
        format!(r#"{{"event":"ping","more":[{values}]}}"#)
    };
    // As many values as fit, and nearly as many as are parsed.
    let padded = format!(r#"{{"":"{}"}}"#, "x".repeat(50));
    for body in [body(r#"{"":0}"#), body("[0]"), body(&padded)] {
        let signature = sign::hex_hmac(SECRET, body.as_bytes());
        let headers = [("X-Portainer-Signature", signature.as_str())];
        let request = client::request(
            server.address,
            "POST",
            "/webhook/update/",
            &headers,
            body.as_bytes(),
        );
        thread::scope(|scope| {
            for _ in 0..48 {
                scope.spawn(|| client::exchange(server.address, &request));
            }
        });
        assert_eq!(server.get("/healthz").status, 200);
    }
    let most = status_of(&server, "VmHWM:");
    println!("at most {most} KiB");
    let memory = if is_released() { 56 } else { 112 } * 1024;
    assert!(most <= memory, "{most} KiB");
}

#[test]
fn a_refusal_for_lack_of_memory_states_when_to_retry() {
    let server = setup().serve();
    let head = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n";
    let mut unfinished = head.to_vec();
    unfinished.resize(head.len() + 1_048_575, b'x');
    let held: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            let _ = stream.write_all(&unfinished);
            stream
        })
        .collect();
    let beginning = |stream: &TcpStream| {
        let mut start = [0; 512];
        stream.set_nonblocking(true).unwrap();
        let read = stream.peek(&mut start).unwrap_or(0);
        String::from_utf8_lossy(&start[..read]).into_owned()
    };
    eventually(|| held.iter().any(|stream| !beginning(stream).is_empty()));
    let reply = held.iter().map(beginning).find(|reply| !reply.is_empty());
    let reply = reply.unwrap();
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.contains("\r\nRetry-After: 10\r\n"), "{reply}");
}

#[test]
fn the_largest_body_is_configurable() {
    let server = setup().env("STACKHOOK_MAX_BODY", "2KiB").serve();
    let body = |length: usize| {
        format!(
            "POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        )
    };
    assert!(
        server
            .raw(body(2048).as_bytes())
            .starts_with(b"HTTP/1.1 401 ")
    );
    let reply = String::from_utf8(server.raw(body(2049).as_bytes())).unwrap();
    assert!(
        reply.starts_with("HTTP/1.1 413 ") && reply.contains("\"success\":false"),
        "{reply}"
    );
    server.wait_for_log("the body is too large");
}

#[test]
fn a_waiting_client_that_resets_its_connection_frees_it() {
    let fake = portainer(Era::A);
    let shop = Shop::configured(
        fake,
        "[[stack]]\nname = \"shop\"\nhealthy_within = \"5m\"\n",
    );
    shop.push(
        crate::support::shop::WEB,
        Behaviour::Healthy {
            after: Duration::from_secs(3600),
        },
    );
    let before = usage(&shop.server).descriptors;
    let body = br#"{}"#;
    let signature = sign::hex_hmac(crate::support::shop::SECRET, body);
    let headers = [
        ("X-Portainer-Signature", signature.as_str()),
        ("Prefer", "wait=300"),
    ];
    let request = client::request(
        shop.server.address,
        "POST",
        "/webhook/update/",
        &headers,
        body,
    );
    let waiting: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(shop.server.address).unwrap();
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    eventually(|| shop.server.log().matches("delivery accepted").count() == 20);
    eventually(|| usage(&shop.server).descriptors >= before + 15);
    // One that merely closes its connection looks like one that has half-closed it, until something is written.
    for stream in waiting {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    // The redeploy itself holds some too.
    eventually(|| usage(&shop.server).descriptors < before + 10);
    assert_eq!(shop.server.get("/healthz").status, 200);
}

/// `STACKHOOK_SOAK` sets the duration (seconds), `STACKHOOK_BINARY` the program.
#[test]
fn all_attacks_together_leave_nothing_behind() {
    let seconds = std::env::var("STACKHOOK_SOAK")
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(4));
    let server = setup().serve();
    let turn = Mutex::new(0_usize);
    let all = |attacker: &Attacker<'_>| {
        let next = {
            let mut turn = turn.lock().unwrap();
            *turn += 1;
            *turn
        };
        let (name, attack) = ATTACKS[next % ATTACKS.len()];
        // Its requests need not be answered beside all other attacks.
        if !name.starts_with("a_burst") {
            attack(attacker);
        }
    };
    // Memory that is allocated once and kept is allocated here.
    let beginning = (duration / 4).min(Duration::from_secs(60));
    run_attack(&server, beginning, 2, all)
        .assert_limits("all attacks together, beginning", &server);
    let before = usage(&server);
    run_attack(&server, duration, 2, all).assert_limits("all attacks together", &server);
    eventually(|| usage(&server).descriptors <= before.descriptors);
    let after = usage(&server);
    println!("quiet before: {before:?}; quiet after: {after:?}");
    assert!(after.threads <= before.threads, "{before:?}, {after:?}");
    // In a debug build each thread keeps the memory of its largest body.
    let growth = if is_released() { 2 } else { 16 } * 1024;
    let grown = after.memory.saturating_sub(before.memory);
    assert!(seconds.is_none() || grown < growth, "{before:?}, {after:?}");
}

#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < until, "it did not happen in time");
        thread::sleep(Duration::from_millis(5));
    }
}
