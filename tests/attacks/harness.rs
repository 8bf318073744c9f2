//! Runs attacks against a server with honest traffic beside them: every health request and every signed delivery must be
//! answered, and the resource usage of the process is monitored.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client;
use crate::support::program::{Setup, Stackhook, is_released};
use crate::support::sign;

pub(super) const SECRET: &str = "a-secret-of-32-characters-or-more";
/// The longest time for an honest request, for the released program and for a debug build. On an idle machine with two cores the
/// released program needs less than 250 ms. The bounds allow for a busy machine, and are below the deadline of a silent connection.
const WORST_LATENCY: (Duration, Duration) = (Duration::from_millis(2500), Duration::from_secs(8));
/// The longest time for 99 of 100 honest requests to the released program.
const P99: Duration = Duration::from_secs(1);
/// The largest resident memory of the released program and of a debug build, where glibc keeps freed memory (KiB).
const MEMORY: (u64, u64) = (24 * 1024, 96 * 1024);
/// The interval between honest requests of one kind.
const INTERVAL: Duration = Duration::from_millis(50);

/// The view of an attacker.
pub(super) struct Attacker<'s> {
    pub(super) address: SocketAddr,
    over: &'s AtomicBool,
}

impl Attacker<'_> {
    pub(super) fn is_running(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Opens a connection, if the system has one.
    pub(super) fn connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(20)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Some(stream)
    }

    /// Opens a connection and sends these bytes.
    pub(super) fn send(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = self.connect()?;
        // After an early refusal the connection may already be closed.
        let _ = stream.write_all(bytes);
        Some(stream)
    }

    /// Sends a request and returns the status of the reply; 0 if the connection was closed without one.
    pub(super) fn request_status(&self, bytes: &[u8]) -> u16 {
        self.send(bytes).map_or(0, status)
    }

    /// Repeats `part` until the server closes the connection. Returns the number of bytes that were sent.
    pub(super) fn flood(&self, start: &[u8], part: &[u8], at_most: usize) -> usize {
        let Some(mut stream) = self.send(start) else {
            return 0;
        };
        let mut sent = 0;
        while sent < at_most && self.is_running() && stream.write_all(part).is_ok() {
            sent += part.len();
        }
        sent
    }
}

/// The number of connections that one attacker may hold. All tests of this process share its descriptors, about a thousand in an
/// ordinary login.
pub(super) fn connections_per_attacker() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next());
    files
        .and_then(|files| files.parse::<usize>().ok())
        .map_or(1000, |files| (files / 6).min(1000))
}

/// Reads until the server closes the connection. Returns the status of the reply, or 0.
pub(super) fn status(mut stream: TcpStream) -> u16 {
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let words = reply
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    words.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A server without a reachable Portainer.
pub(super) fn setup() -> Setup {
    Setup::new()
        .env("PORTAINER_URL", "http://127.0.0.1:9")
        .env("PORTAINER_API_KEY", "ptr_of-no-importance")
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
}

/// The resource usage of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// KiB.
    pub(super) memory: u64,
    pub(super) threads: u64,
    pub(super) descriptors: usize,
}

#[track_caller]
pub(super) fn usage(server: &Stackhook) -> Usage {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    Usage {
        memory: status_of(server, "VmRSS:"),
        threads: status_of(server, "Threads:"),
        descriptors: descriptors.count(),
    }
}

/// A number from the status file of the process.
#[track_caller]
pub(super) fn status_of(server: &Stackhook, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    // A process that has ended still has a status file, but no memory.
    let line = line.unwrap_or_else(|| panic!("the server has ended: {}", server.log()));
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The result of an attack.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Honest requests that were answered.
    pub(super) answered: usize,
    took: Vec<Duration>,
    pub(super) worst: Duration,
    /// The honest requests that were not answered, with the reason.
    failures: Vec<String>,
    pub(super) before: Usage,
    /// The highest usage of each resource.
    pub(super) most: Usage,
}

/// Runs an attack by several attackers, with honest traffic beside it.
pub(super) fn run_attack(
    server: &Stackhook,
    duration: Duration,
    attackers: u64,
    attack: impl Fn(&Attacker<'_>) + Sync,
) -> Report {
    // The first requests allocate memory that is kept.
    assert_eq!(
        (
            honest_request(server, Kind::Health),
            honest_request(server, Kind::Delivery)
        ),
        (Ok(()), Ok(()))
    );
    let over = AtomicBool::new(false);
    let report = Mutex::new(Report {
        before: usage(server),
        ..Report::default()
    });
    let begun = Instant::now();
    thread::scope(|scope| {
        // The other threads run until this is dropped, even after a panic.
        let _end = StopOnDrop(&over);
        for kind in [Kind::Health, Kind::Delivery] {
            let (over, report) = (&over, &report);
            scope.spawn(move || honest_traffic(server, kind, over, report));
        }
        for _ in 0..attackers {
            let (over, attack, address) = (&over, &attack, server.address);
            scope.spawn(move || {
                let attacker = Attacker { address, over };
                while attacker.is_running() {
                    attack(&attacker);
                }
            });
        }
        while begun.elapsed() < duration {
            let now = usage(server);
            let mut report = report.lock().unwrap();
            report.most.memory = report.most.memory.max(now.memory);
            report.most.threads = report.most.threads.max(now.threads);
            report.most.descriptors = report.most.descriptors.max(now.descriptors);
            drop(report);
            thread::sleep(Duration::from_millis(10));
        }
    });
    report.into_inner().unwrap()
}

/// Ends the attack when it is dropped.
pub(super) struct StopOnDrop<'s>(pub(super) &'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Report {
    /// The time within which this share of the honest requests was answered.
    fn percentile(&self, percent: usize) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = took.len() * percent / 100;
        took.get(at).copied().unwrap_or(self.worst)
    }

    /// Asserts what must be true after every attack.
    #[track_caller]
    pub(super) fn assert_limits(&self, name: &str, server: &Stackhook) {
        println!(
            "{name}: {} honest requests, p99 {} ms, worst {} ms, {} KiB, {} threads, {} descriptors",
            self.answered,
            self.percentile(99).as_millis(),
            self.worst.as_millis(),
            self.most.memory,
            self.most.threads,
            self.most.descriptors
        );
        assert_eq!(
            self.failures,
            [""; 0],
            "{name}: not every honest request was answered\n{}",
            server.log()
        );
        // At least one of each kind. More depend on the time that each takes, which is bounded below.
        assert!(
            self.answered >= 2,
            "{name}: only {} honest requests",
            self.answered
        );
        let (worst, memory) = if is_released() {
            (WORST_LATENCY.0, MEMORY.0)
        } else {
            (WORST_LATENCY.1, MEMORY.1)
        };
        assert!(self.worst < worst, "{name}: {:?}", self.worst);
        let p99 = self.percentile(99);
        assert!(!is_released() || p99 <= P99, "{name}: {p99:?}");
        assert!(self.most.memory <= memory, "{name}: {:?}", self.most);
        assert!(
            self.most.threads <= self.before.threads,
            "{name}: {:?}, {:?}",
            self.before,
            self.most
        );
        assert!(self.most.threads <= 100, "{name}: {:?}", self.most);
        // All connections and one more.
        assert!(
            self.most.descriptors <= self.before.descriptors + 4000 + 1,
            "{name}: {:?}, {:?}",
            self.before,
            self.most
        );
        let until = Instant::now() + Duration::from_secs(40);
        while usage(server).descriptors > self.before.descriptors {
            assert!(
                Instant::now() < until,
                "{name}: {:?}, {:?}",
                self.before,
                usage(server)
            );
            thread::sleep(Duration::from_millis(5));
        }
        assert!(
            !server.log().contains("panicked"),
            "{name}: {}",
            server.log()
        );
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Health,
    /// A signed delivery that is ignored.
    Delivery,
}

fn honest_traffic(server: &Stackhook, kind: Kind, over: &AtomicBool, report: &Mutex<Report>) {
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        // If this thread was not scheduled in time, the server may have closed the silent connection.
        let mut answered = honest_request(server, kind);
        for _ in 0..20 {
            if answered != Err(Unanswered::TooSlow) {
                break;
            }
            answered = honest_request(server, kind);
        }
        let took = begun.elapsed();
        let mut report = report.lock().unwrap();
        match answered {
            Ok(()) => report.answered += 1,
            Err(what) => report
                .failures
                .push(format!("{kind:?} after {took:?}: {what:?}")),
        }
        report.worst = report.worst.max(took);
        report.took.push(took);
        drop(report);
        thread::sleep(INTERVAL.saturating_sub(took));
    }
}

/// The reason for a missing answer.
#[derive(Debug, PartialEq)]
enum Unanswered {
    /// The connection was closed without a reply, and this thread sent its request so late that the server was allowed to do that.
    TooSlow,
    /// Another reply or an error.
    Wrong(String),
}

fn honest_request(server: &Stackhook, kind: Kind) -> Result<(), Unanswered> {
    let (request, words) = match kind {
        Kind::Health => (
            client::request(server.address, "GET", "/healthz", &[], b""),
            "ok",
        ),
        Kind::Delivery => {
            let body = br#"{"event":"ping"}"#;
            let signature = sign::hex_hmac(SECRET, body);
            let headers = [("X-Portainer-Signature", signature.as_str())];
            (
                client::request(server.address, "POST", "/webhook/update/", &headers, body),
                "Delivery ignored",
            )
        }
    };
    let begun = Instant::now();
    let patience = Duration::from_secs(20);
    let mut stream = TcpStream::connect_timeout(&server.address, patience)
        .map_err(|error| Unanswered::Wrong(error.to_string()))?;
    let sent = stream.write_all(&request);
    let said = begun.elapsed();
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut reply = Vec::new();
    let read = sent.and_then(|()| stream.read_to_end(&mut reply));
    let text = String::from_utf8_lossy(&reply);
    if text.starts_with("HTTP/1.1 200 ") && text.contains(words) {
        Ok(())
    } else if reply.is_empty() && said >= client::GRACE {
        Err(Unanswered::TooSlow)
    } else {
        Err(Unanswered::Wrong(format!("{text:?} {read:?}")))
    }
}
