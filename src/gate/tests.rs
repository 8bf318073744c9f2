//! The gate by itself, with the smallest thing behind it.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use super::*;
use crate::delivery::DeliveryId;
use crate::message::Reply;
use crate::request::{Answer, Asked, Awaited, Refusal, Request, Wait};

/// Answers what it was asked. Some paths mean something.
#[derive(Default)]
struct Echo {
    seen: Mutex<Vec<String>>,
    /// Waits that have a place and began.
    waits: AtomicUsize,
    /// Waits that ended because nobody listened.
    left_alone: AtomicUsize,
}

impl Echo {
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Behind for Echo {
    fn turn_away(&self, request: &Request) -> Option<Reply> {
        match request.path.as_str() {
            "/away" => Some(Reply::text(404, "away\n")),
            "/panic-away" => panic!("planted"),
            _ => None,
        }
    }

    fn handle(&self, request: &Request) -> Answer {
        let text = format!("{} {} {}", request.method, request.path, request.body.len());
        self.seen.lock().unwrap().push(text.clone());
        let wait = |millis| Wait {
            what: Awaited::Delivery(DeliveryId::new([0; 16])),
            until: Instant::now() + Duration::from_millis(millis),
            preference: None,
            asked: Asked {
                at: Instant::now(),
                method: request.method,
                route: "/",
                peer: request.peer,
                hook: None,
            },
        };
        let wait = match request.path.as_str() {
            "/panic" => panic!("planted"),
            "/wait" => Some(wait(60_000)),
            "/wait-panic" => Some(wait(0)),
            _ => None,
        };
        let reply = match request.path.as_str() {
            "/large" => Reply::text(200, &"x".repeat(32 * 1024 * 1024)),
            "/peer" => Reply::text(200, &request.peer.to_string()),
            _ => Reply::text(200, &text),
        };
        Answer { reply, wait }
    }

    fn wait(&self, wait: &Wait, listening: &dyn Fn() -> bool) -> Reply {
        if Instant::now() < wait.until {
            self.waits.fetch_add(1, Ordering::SeqCst);
        }
        while Instant::now() < wait.until {
            if !listening() {
                self.left_alone.fetch_add(1, Ordering::SeqCst);
                return Reply::text(202, "nobody");
            }
            thread::sleep(Duration::from_millis(5));
        }
        if wait.asked.method == "PUT" {
            panic!("planted");
        }
        Reply::text(202, "waited")
    }

    fn refuse(&self, path: Option<&str>, _: IpAddr, why: Refusal) -> Reply {
        if path == Some("/panic-refuse") {
            panic!("planted");
        }
        let path = path.unwrap_or("-");
        Reply::text(why.status(), &format!("{path}: {}\n", why.words()))
    }
}

struct Running {
    gate: Gate,
    address: SocketAddr,
    echo: Arc<Echo>,
}

fn running() -> Running {
    let running = barely_open();
    running.gate.fill();
    running
}

fn barely_open() -> Running {
    let echo = Arc::new(Echo::default());
    let settings = Settings {
        max_body: 1024 * 1024,
        trusted_proxies: vec![Network::parse("127.0.0.1").unwrap()],
    };
    let door = Door::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = door.address().unwrap();
    let gate = door
        .open(settings, Arc::clone(&echo) as Arc<dyn Behind>)
        .unwrap();
    Running {
        gate,
        address,
        echo,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gate.close();
    }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Status and body.
    #[track_caller]
    fn ask(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        rest(stream)
    }
}

#[track_caller]
fn rest(mut stream: TcpStream) -> (u16, String) {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nConnection: close"), "{head}");
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn one_request_is_read_and_answered() {
    let running = running();
    let body = b"POST /a%20b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(running.ask(body), (200, "POST /a b 5".to_owned()));
    let chunked =
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(running.ask(chunked), (200, "POST /x 5".to_owned()));
    assert_eq!(
        running.ask(b"GET / HTTP/1.0\r\n\r\n"),
        (200, "GET / 0".to_owned())
    );
    assert_eq!(
        running.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (200, String::new())
    );
    assert_eq!(running.ask(&get("/away")), (404, "away\n".to_owned()));
    assert_eq!(
        running.echo.seen().len(),
        4,
        "what is turned away is not handled"
    );
}

#[test]
fn a_few_serve_before_the_others_are_there() {
    let running = barely_open();
    let places = || running.gate.inside.slots.places();
    assert_eq!(places(), limits::CONNECTIONS.0);
    assert_eq!(running.ask(&get("/")), (200, "GET / 0".to_owned()));
    running.gate.fill();
    assert_eq!(places(), running.gate.wanted);
    // None of those that were added was forgotten: all places but one are held, and a request is answered.
    let held: Vec<_> = (1..places()).map(|_| running.connect()).collect();
    assert_eq!(running.ask(&get("/")), (200, "GET / 0".to_owned()));
    drop(held);
}

#[test]
fn the_client_behind_a_trusted_proxy_is_the_peer() {
    let running = running();
    let request = b"GET /peer HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n\r\n";
    assert_eq!(running.ask(request), (200, "192.0.2.7".to_owned()));
}

#[test]
fn an_address_that_cannot_be_had_is_explained() {
    let running = running();
    let refused = |address: &str| Door::bind(address.parse().unwrap()).err().unwrap();
    let (taken, another) = (running.address.to_string(), "STACKHOOK_LISTEN");
    for (address, why) in [
        (taken.as_str(), "another program listens there already"),
        // Kept for documents, so no host has it.
        ("192.0.2.1:0", "this host has no such address"),
    ] {
        let words = refused(address);
        assert!(
            words.starts_with(&format!("cannot listen on {address}: {why}; {another}")),
            "{words}"
        );
    }
}

#[test]
fn a_refusal_is_read_by_whoever_sent_too_much() {
    let running = running();
    let (status, body) =
        running.ask(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n");
    assert_eq!(
        (status, body.as_str()),
        (
            413,
            "/x: the body is too large; STACKHOOK_MAX_BODY is the most\n"
        )
    );
    // Everything is sent, though it was refused at the first bytes.
    let mut large = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n".to_vec();
    large.resize(4_000_000, b'x');
    assert_eq!(running.ask(&large).0, 413);
    let mut endless = b"GET /".to_vec();
    endless.resize(200_000, b'x');
    assert_eq!(running.ask(&endless).0, 414);
    assert_eq!(running.ask(b"\x16\x03\x01\x02\x00\x01").0, 400);
}

#[test]
fn a_second_request_on_a_connection_is_not_answered() {
    let running = running();
    let (one, two) = (get("/one"), get("/two"));
    let (status, body) = running.ask(&[one, two].concat());
    assert_eq!((status, body.as_str()), (200, "GET /one 0"));
    assert_eq!(running.echo.seen(), ["GET /one 0"]);
}

#[test]
fn go_on_is_said_only_where_the_body_will_be_read() {
    let running = running();
    let head = |length: usize| {
        format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut stream = running.connect();
    stream.write_all(head(5).as_bytes()).unwrap();
    let mut word = [0; 25];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    assert_eq!(rest(stream), (200, "POST /x 5".to_owned()));
    assert_eq!(running.ask(head(2_000_000).as_bytes()).0, 413);
}

#[test]
fn a_panic_is_answered_and_nothing_else_suffers() {
    let running = running();
    for path in ["/panic", "/panic-away"] {
        for _ in 0..100 {
            let (status, body) = running.ask(&get(path));
            assert_eq!(
                (status, body),
                (
                    500,
                    format!("{path}: an internal error, the log says more\n")
                )
            );
        }
    }
    let request = b"PUT /wait-panic HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(running.ask(request).0, 500);
    let request = b"POST /panic-refuse HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n";
    assert_eq!(running.ask(request).0, 500);
    assert_eq!(running.ask(&get("/")).0, 200);
}

#[test]
fn at_most_half_of_the_connections_wait() {
    let running = running();
    let most = running.gate.inside.slots.waiters();
    let waiting: Vec<TcpStream> = (0..most)
        .map(|_| {
            let mut stream = running.connect();
            stream.write_all(&get("/wait")).unwrap();
            stream
        })
        .collect();
    eventually(|| running.echo.waits.load(Ordering::SeqCst) == most);
    assert_eq!(running.ask(&get("/wait")), (202, "waited".to_owned()));
    // Who is gone makes room.
    drop(waiting);
    eventually(|| running.echo.left_alone.load(Ordering::SeqCst) == most);
}

#[test]
fn a_stop_closes_who_is_asking_and_answers_who_has_asked() {
    let running = running();
    let mut unfinished = running.connect();
    unfinished.write_all(b"GET / HT").unwrap();
    let mut asked = running.connect();
    asked.write_all(&get("/large")).unwrap();
    eventually(|| !running.echo.seen().is_empty());
    running.gate.close();
    let mut nothing = Vec::new();
    let read = unfinished.read_to_end(&mut nothing);
    assert!(read.is_err() || nothing.is_empty() || nothing.starts_with(b"HTTP/1.1 400"));
    let (status, body) = rest(asked);
    assert_eq!((status, body.len()), (200, 32 * 1024 * 1024));
    assert!(running.gate.finish(Duration::from_secs(20)));
    eventually(|| TcpStream::connect(running.address).is_err());
}

#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "it never came to that");
        thread::sleep(Duration::from_millis(2));
    }
}
