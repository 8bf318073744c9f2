//! A server under attack, with good traffic beside it: every health request and every signed delivery must be answered, and what
//! the process takes from the system is watched.

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
/// The bound for a good request is 250 ms of the released program on an idle machine with two cores. This one may be neither: then
/// it is less than the time after which a silent connection is closed anyway.
const WORST: (Duration, Duration) = (Duration::from_millis(2500), Duration::from_secs(8));
/// The bound for 99 of 100 good requests to the released program.
const P99: Duration = Duration::from_secs(1);
/// KiB: of the released program; and of one that was built without optimisation, where glibc's arenas keep what was freed.
const MEMORY: (u64, u64) = (24 * 1024, 96 * 1024);
/// Good requests of each kind come this often.
const EVERY: Duration = Duration::from_millis(50);

/// What attackers know.
pub(super) struct Field<'s> {
    pub(super) address: SocketAddr,
    over: &'s AtomicBool,
}

impl Field<'_> {
    pub(super) fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// A connection, as long as the system has one.
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

    /// A connection on which this was said.
    pub(super) fn say(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = self.connect()?;
        // Who is refused early may find the door closed.
        let _ = stream.write_all(bytes);
        Some(stream)
    }

    /// The status that comes back; nought where the connection was closed to make room.
    pub(super) fn ask(&self, bytes: &[u8]) -> u16 {
        self.say(bytes).map_or(0, status)
    }

    /// Says something again and again until the other side has enough; how much it took (bytes).
    pub(super) fn flood(&self, start: &[u8], part: &[u8], at_most: usize) -> usize {
        let Some(mut stream) = self.say(start) else {
            return 0;
        };
        let mut sent = 0;
        while sent < at_most && self.goes_on() && stream.write_all(part).is_ok() {
            sent += part.len();
        }
        sent
    }
}

/// How many connections one attacker may hold: the other tests of this process need descriptors too, and an ordinary login has
/// a thousand of them.
pub(super) fn crowd() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next());
    files
        .and_then(|files| files.parse::<usize>().ok())
        .map_or(1000, |files| (files / 6).min(1000))
}

/// The status that comes back, once the other side has closed.
pub(super) fn status(mut stream: TcpStream) -> u16 {
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let words = reply
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    words.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A server whose Portainer is of no importance.
pub(super) fn setup() -> Setup {
    Setup::new()
        .env("PORTAINER_URL", "http://127.0.0.1:9")
        .env("PORTAINER_API_KEY", "ptr_of-no-importance")
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
}

/// What a process takes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    /// KiB.
    pub(super) memory: u64,
    pub(super) threads: u64,
    pub(super) descriptors: usize,
}

#[track_caller]
pub(super) fn taken(server: &Stackhook) -> Taken {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    Taken {
        memory: status_of(server, "VmRSS:"),
        threads: status_of(server, "Threads:"),
        descriptors: descriptors.count(),
    }
}

/// A number of the process: KiB, or how many.
#[track_caller]
pub(super) fn status_of(server: &Stackhook, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    // Who has ended still has a status, but no memory.
    let line = line.unwrap_or_else(|| panic!("the server has ended: {}", server.log()));
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How a siege went.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Of the good requests.
    pub(super) answered: usize,
    took: Vec<Duration>,
    pub(super) worst: Duration,
    /// What good requests got instead of an answer.
    failures: Vec<String>,
    pub(super) before: Taken,
    /// The most of each.
    pub(super) most: Taken,
}

/// Lets some attackers loose for a while.
pub(super) fn besiege(
    server: &Stackhook,
    lasting: Duration,
    attackers: u64,
    attack: impl Fn(&Field<'_>) + Sync,
) -> Report {
    // The first requests load what is loaded only once.
    assert_eq!(
        (good(server, Kind::Health), good(server, Kind::Delivery)),
        (Ok(()), Ok(()))
    );
    let over = AtomicBool::new(false);
    let report = Mutex::new(Report {
        before: taken(server),
        ..Report::default()
    });
    let begun = Instant::now();
    thread::scope(|scope| {
        // Whatever happens here: all the others go on until they are told.
        let _end = End(&over);
        for kind in [Kind::Health, Kind::Delivery] {
            let (over, report) = (&over, &report);
            scope.spawn(move || traffic(server, kind, over, report));
        }
        for _ in 0..attackers {
            let (over, attack, address) = (&over, &attack, server.address);
            scope.spawn(move || {
                let field = Field { address, over };
                while field.goes_on() {
                    attack(&field);
                }
            });
        }
        while begun.elapsed() < lasting {
            let now = taken(server);
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

/// Ends the siege when it is dropped.
pub(super) struct End<'s>(pub(super) &'s AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Report {
    /// The time within which so many percent of the good requests were answered.
    fn percentile(&self, percent: usize) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = took.len() * percent / 100;
        took.get(at).copied().unwrap_or(self.worst)
    }

    /// What must be true of every siege.
    #[track_caller]
    pub(super) fn holds(&self, name: &str, server: &Stackhook) {
        println!(
            "{name}: {} good requests, p99 {} ms, worst {} ms, {} KiB, {} threads, {} descriptors",
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
            "{name}: not every good request was answered\n{}",
            server.log()
        );
        // Of each kind one at least. How many there are besides is a matter of how long each took, which is bounded below.
        assert!(
            self.answered >= 2,
            "{name}: only {} good requests",
            self.answered
        );
        let (worst, memory) = if is_released() {
            (WORST.0, MEMORY.0)
        } else {
            (WORST.1, MEMORY.1)
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
        while taken(server).descriptors > self.before.descriptors {
            assert!(
                Instant::now() < until,
                "{name}: {:?}, {:?}",
                self.before,
                taken(server)
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
    /// Signed; it asks for nothing but an answer.
    Delivery,
}

fn traffic(server: &Stackhook, kind: Kind, over: &AtomicBool, report: &Mutex<Report>) {
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        // Closed without a word may be who had no time to ask; who comes again is answered.
        let mut answered = good(server, kind);
        for _ in 0..20 {
            if answered != Err(Unanswered::TooSlow) {
                break;
            }
            answered = good(server, kind);
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
        thread::sleep(EVERY.saturating_sub(took));
    }
}

/// Why there is no good answer.
#[derive(Debug, PartialEq)]
enum Unanswered {
    /// None came, and the client's own thread was kept from asking for so long that it could be closed to make room.
    TooSlow,
    /// What happened instead.
    Wrong(String),
}

fn good(server: &Stackhook, kind: Kind) -> Result<(), Unanswered> {
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
