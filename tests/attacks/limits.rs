//! Deadlines, little of everything, and many attacks at once for a long time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::siege::{Field, SECRET, besiege, setup, status_of, taken};
use super::{ATTACKS, LASTING};
use crate::support::client;
use crate::support::fake::{Behaviour, Era};
use crate::support::program::is_released;
use crate::support::shop::{Shop, portainer};
use crate::support::sign;

/// Sends a byte now and then; the reply, and after how long the connection was closed.
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
            "it is never closed"
        );
    }
    (String::from_utf8(reply).unwrap(), begun.elapsed())
}

#[test]
fn a_trickle_does_not_move_the_deadline() {
    let server = setup().serve();
    let address = server.address;
    let head = thread::spawn(move || trickle(address, b"GET /healthz HTTP/1.1\r\nX: "));
    let silent = thread::spawn(move || trickle(address, b"G"));
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
        let report = besiege(&server, 3 * LASTING, 1, |field| {
            let mut silent = Vec::new();
            while silent.len() < 100 && field.goes_on() {
                silent.push(field.connect());
            }
            super::linger(field, 3 * LASTING);
        });
        report.holds(&format!("ulimit -n {limit}"), &server);
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

/// Fewer descriptors than places, because the limit was lowered afterwards: while that lasts, nobody is promised anything; afterwards
/// all is as before.
#[test]
fn descriptors_that_run_out_end_nothing() {
    let server = setup().env("STACKHOOK_LOG", "debug").serve();
    let free = 4;
    let limit = taken(&server).descriptors + free;
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
    // Each that has left is found in the queue first, and as long as descriptors run out, whoever has not asked may be closed.
    eventually(|| taken(&server).descriptors <= limit - free);
    assert_eq!(server.get("/healthz").status, 200);
}

/// Longer than a good request may take: somebody has to be closed.
#[test]
fn requests_that_never_end_make_room() {
    let server = setup().serve();
    let request = b"POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let report = besiege(&server, Duration::from_secs(10), 1, |field| {
        let held: Vec<_> = (0..60).map(|_| field.say(request)).collect();
        super::linger(field, Duration::from_secs(60));
        drop(held);
    });
    report.holds("requests that never end", &server);
}

/// More bodies than there is memory: a small allocation that fails would end the process, so that large ones are refused before.
#[test]
fn little_memory_is_enough() {
    // An ordinary build's C library sets most of it aside for threads, or nothing, by chance; one place for all is what it does
    // with the last limit.
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
        let report = besiege(&server, LASTING, 2, |field| {
            // Whatever the large ones leave, smaller ones may take.
            let sizes = [1 << 20, 1 << 19, 1 << 18, 1 << 17, 70_000, 60_000, 30_000];
            let bodies = sizes.iter().flat_map(|size| std::iter::repeat_n(size, 8));
            let held: Vec<_> = bodies
                .map_while(|size| {
                    let head = "POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nContent-Length: ";
                    let mut request = format!("{head}{size}\r\n\r\n").into_bytes();
                    request.resize(request.len() + size - 1, b'x');
                    field.goes_on().then(|| field.say(&request))
                })
                .collect();
            super::linger(field, Duration::from_millis(300));
            drop(held);
        });
        report.holds(&format!("ulimit -v {limit}"), &server);
    }
}

/// Who knows the secret is asked in, and can be more than one wishes for. What a body says takes many times the memory of the body.
#[test]
fn a_secret_that_leaked_does_not_fill_the_memory() {
    let server = setup().serve();
    let body = |value: &str| {
        let values = vec![value; 1_000_000 / (value.len() + 1)].join(",");
        format!(r#"{{"event":"ping","more":[{values}]}}"#)
    };
    // As many values as there can be, and nearly as many as are read.
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
fn a_large_body_may_be_configured() {
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
    let before = taken(&shop.server).descriptors;
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
    eventually(|| taken(&shop.server).descriptors >= before + 15);
    // One that merely closes its connection looks like one that has half-closed it, until something is written.
    for stream in waiting {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    // What the redeploy itself holds does not matter.
    eventually(|| taken(&shop.server).descriptors < before + 10);
    assert_eq!(shop.server.get("/healthz").status, 200);
}

/// A few seconds in the normal tests; `STACKHOOK_SOAK` says how many instead, `STACKHOOK_BINARY` of which program.
#[test]
fn all_attacks_together_leave_nothing_behind() {
    let seconds = std::env::var("STACKHOOK_SOAK")
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    let lasting = Duration::from_secs(seconds.unwrap_or(4));
    let server = setup().serve();
    let turn = Mutex::new(0_usize);
    let all = |field: &Field<'_>| {
        let next = {
            let mut turn = turn.lock().unwrap();
            *turn += 1;
            *turn
        };
        let (name, attack) = ATTACKS[next % ATTACKS.len()];
        // A burst that is all honest has no claim to be answered in the middle of everything else.
        if !name.starts_with("a_burst") {
            attack(field);
        }
    };
    // What is taken once and kept, is taken now.
    let beginning = (lasting / 4).min(Duration::from_secs(60));
    besiege(&server, beginning, 2, all).holds("all attacks together, at first", &server);
    let before = taken(&server);
    besiege(&server, lasting, 2, all).holds("all attacks together", &server);
    eventually(|| taken(&server).descriptors <= before.descriptors);
    let after = taken(&server);
    println!("quiet before: {before:?}; quiet after: {after:?}");
    assert!(after.threads <= before.threads, "{before:?}, {after:?}");
    // In a build for tests each thread keeps the memory of the largest body that it has read.
    let growth = if is_released() { 2 } else { 16 } * 1024;
    let grown = after.memory.saturating_sub(before.memory);
    assert!(seconds.is_none() || grown < growth, "{before:?}, {after:?}");
}

#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < until, "it never came to that");
        thread::sleep(Duration::from_millis(5));
    }
}
