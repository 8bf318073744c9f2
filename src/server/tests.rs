//! tiny_http behind its private door, and that requests arrive there as they were sent.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::*;
use crate::delivery::DeliveryId;
use crate::gate::chance::{Chance, rounds};
use crate::message::Headers;
use crate::request::{Asked, Awaited};
use crate::signature::UnverifiedBody;

/// Tells what it was asked, and answers what it is told.
struct Recorder {
    asked: Mutex<Sender<All>>,
    replies: Mutex<Receiver<Reply>>,
}

/// Everything of a request.
type All = (String, UnverifiedBody);

fn all_of(request: &Request) -> All {
    let headers: Vec<_> = request.headers.iter().collect();
    let Request {
        method,
        path,
        query,
        peer,
        ..
    } = request;
    let head = format!("{method} {path} {query:?} {headers:?} {peer}");
    (head, request.body.clone())
}

impl Behind for Recorder {
    fn turn_away(&self, _: &Request) -> Option<Reply> {
        None
    }

    fn handle(&self, request: &Request) -> Answer {
        if request.path == "/panic" {
            panic!("planted");
        }
        self.asked.lock().unwrap().send(all_of(request)).unwrap();
        let wait = (request.path == "/wait").then(|| Wait {
            what: Awaited::Delivery(DeliveryId::new([7; 16])),
            until: Instant::now(),
            preference: None,
            asked: Asked {
                at: Instant::now(),
                method: "GET",
                route: "/",
                peer: request.peer,
                hook: None,
            },
        });
        let reply = self.replies.lock().unwrap().try_recv();
        Answer {
            reply: reply.unwrap_or(Reply::text(200, "")),
            wait,
        }
    }

    fn wait(&self, _: &Wait, _: &dyn Fn() -> bool) -> Reply {
        Reply::text(202, "")
    }

    fn refuse(&self, _: Option<&str>, _: IpAddr, why: Refusal) -> Reply {
        Reply::text(why.status(), "refused")
    }
}

fn hop() -> (Hop, Receiver<All>, Sender<Reply>) {
    let (asked, questions) = mpsc::channel();
    let (answers, replies) = mpsc::channel();
    let recorder = Recorder {
        asked: Mutex::new(asked),
        replies: Mutex::new(replies),
    };
    let hop = Hop::new(Arc::new(recorder)).unwrap();
    hop.fill();
    (hop, questions, answers)
}

fn request(method: &str, path: &str, body: &[u8]) -> Request {
    Request {
        method: crate::request::method(method.as_bytes()).unwrap(),
        path: path.to_owned(),
        query: None,
        headers: Headers::default(),
        body: UnverifiedBody::new(body.to_vec()),
        peer: "192.0.2.1".parse().unwrap(),
    }
}

/// What the gate accepts, tiny_http reads as the same request: whatever stands in it.
#[test]
fn every_request_arrives_as_it_was() {
    let (hop, questions, answers) = hop();
    let words = [
        "a",
        "B",
        " ",
        "/",
        "%",
        "%2f",
        "?",
        "#",
        "ü",
        "\u{1f980}",
        ".",
        "..",
        "&",
        "=",
        "+",
        ":",
        ";",
        ",",
        "\t",
        "\"",
        "HTTP/1.1",
    ];
    let names = [
        "content-length",
        "transfer-encoding",
        "te",
        "connection",
        "expect",
        "upgrade",
        "host",
        "gate-token",
        "gate-peer",
        "gate-wait",
        "sent-x",
        "x-hub-signature-256",
        "content-type",
        "date",
        "trailer",
    ];
    let values = [
        "5",
        "chunked",
        "x;q=NaN,x;q=0.1",
        "upgrade",
        "close",
        "100-continue",
        "203-x",
        "",
        " a ",
        "a: b",
        "ü%20",
        "\u{fffd}",
    ];
    let mut chance = Chance::new(6);
    for _ in 0..rounds(300) {
        let some = |chance: &mut Chance, most: usize| -> String {
            (0..chance.below(most))
                .map(|_| words[chance.below(words.len())])
                .collect()
        };
        let methods = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE",
        ];
        let size = [0, 1, 1024, 1025, 70_000][chance.below(5)];
        let body: Vec<u8> = (0..size).map(|_| chance.byte()).collect();
        let path = format!("/{}", some(&mut chance, 9));
        let mut sent = request(methods[chance.below(8)], &path, &body);
        sent.query = (chance.below(2) == 0).then(|| "token=a%2Fb&c?d".to_owned());
        for _ in 0..chance.below(8) {
            sent.headers.push(
                names[chance.below(names.len())],
                values[chance.below(values.len())],
            );
        }
        let status = [200, 202, 303, 401, 404, 502][chance.below(6)];
        let mut reply =
            Reply::text(status, &some(&mut chance, 9)).with("Location", some(&mut chance, 5));
        if chance.below(9) == 0 {
            reply.body.resize(100_000, b'x');
        }
        reply = reply
            .with("Content-Length", "3")
            .with("Transfer-Encoding", "chunked");
        answers.send(reply.clone()).unwrap();
        let answer = hop.handle(&sent);
        assert_eq!(questions.recv().unwrap(), all_of(&sent));
        assert_eq!(answer.reply, reply);
        assert_eq!(answer.wait, None);
    }
}

/// The words on the wire, read by a parser that is neither ours nor tiny_http's.
#[test]
fn the_private_request_is_one_request_for_everybody() {
    let mut sent = request("POST", "/a b/ü", b"hello");
    sent.headers.push("Transfer-Encoding", "chunked");
    sent.headers.push("X-Evil", "a\u{fffd} ");
    let head = private::head(&Secret::generate(32).unwrap(), &sent);
    let mut lines = [httparse::EMPTY_HEADER; 20];
    let mut second = httparse::Request::new(&mut lines);
    assert_eq!(
        second.parse(&head),
        Ok(httparse::Status::Complete(head.len()))
    );
    assert_eq!(second.path, Some("/a%20b/%C3%BC"));
    let names: Vec<&str> = second.headers.iter().map(|line| line.name).collect();
    assert_eq!(
        names,
        [
            "Content-Length",
            "gate-token",
            "gate-peer",
            "gate-method",
            "sent-transfer-encoding",
            "sent-x-evil"
        ]
    );
}

#[test]
fn what_may_be_waited_for_comes_back_with_the_reply() {
    let (hop, _questions, _answers) = hop();
    for _ in 0..20 {
        let answer = hop.handle(&request("POST", "/wait", b""));
        assert_eq!(
            answer.wait.unwrap().what,
            Awaited::Delivery(DeliveryId::new([7; 16]))
        );
    }
    assert!(lock(&hop.inside.waits).is_empty());
}

#[test]
fn a_panic_costs_neither_a_worker_nor_a_line() {
    let (hop, _questions, _answers) = hop();
    for _ in 0..3 * limits::WORKERS {
        let answer = hop.handle(&request("GET", "/panic", b""));
        assert_eq!(
            (answer.reply.status, answer.reply.body.as_slice()),
            (500, &b"refused"[..])
        );
    }
    assert_eq!(lock(&hop.lines).free.len(), limits::WORKERS);
    assert_eq!(hop.handle(&request("GET", "/", b"")).reply.status, 200);
}

#[test]
fn many_at_once_share_the_lines() {
    let (hop, _questions, _answers) = hop();
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(hop.handle(&request("GET", "/", b"")).reply.status, 200);
                }
            });
        }
    });
    assert_eq!(lock(&hop.lines).free.len(), limits::WORKERS);
}

#[test]
fn nobody_else_reaches_tiny_http() {
    let (hop, questions, _answers) = hop();
    let address = lock(&hop.lines)
        .free
        .first()
        .unwrap()
        .stream
        .get_ref()
        .peer_addr()
        .unwrap();
    let name = address.as_abstract_name().unwrap();
    assert!(name.starts_with(b"stackhook-"));
    assert!(
        UnixStream::connect_addr(&address).is_err(),
        "nothing listens any more"
    );
    // And who had come in before is not answered without the token.
    let Ok(mut line) = hop.take() else {
        panic!("a line is free");
    };
    for token in ["", "gate-token: wrong\r\n"] {
        let mut to = line.stream.get_ref();
        write!(
            to,
            "GET / HTTP/1.1\r\n{token}gate-peer: ::1\r\ngate-method: GET\r\n\r\n"
        )
        .unwrap();
        let (reply, _) = private::read_reply(&mut line.stream).unwrap();
        assert_eq!(reply.status, 403);
    }
    assert!(questions.try_recv().is_err());
}

#[test]
fn a_line_that_breaks_alone_costs_one_request_and_no_room() {
    let (hop, _questions, _answers) = hop();
    for _ in 0..5 {
        let Ok(mut other) = hop.take() else {
            panic!("a line is free");
        };
        let breaks = lock(&hop.lines).free.pop().unwrap();
        breaks.stream.get_ref().shutdown(Shutdown::Both).unwrap();
        lock(&hop.lines).free.push(breaks);
        let ask = || hop.handle(&request("GET", "/", b"")).reply.status;
        assert_eq!((ask(), ask()), (500, 200));
        assert_eq!(lock(&hop.lines).free.len(), limits::WORKERS);
        // What was under way on another one is answered all the same; then it is of no use.
        let sent = request("GET", "/", b"");
        let reply = other.exchange(&hop.inside.token, &sent);
        assert_eq!(reply.unwrap().0.status, 200);
        hop.give_back(other);
        assert_eq!(lock(&hop.lines).free.len(), limits::WORKERS);
        // Those of the old one leave.
        eventually(|| hop.inside.workers.load(Ordering::SeqCst) == limits::WORKERS);
    }
    // Who does not come back is not replaced without end.
    let hung = limits::WORKERS_LEFT + 1;
    hop.inside.workers.fetch_add(hung, Ordering::SeqCst);
    {
        let mut lines = lock(&hop.lines);
        lines.free.clear();
        lines.workers = None;
    }
    assert_eq!(hop.handle(&request("GET", "/", b"")).reply.status, 500);
    hop.inside.workers.fetch_sub(hung, Ordering::SeqCst);
    assert_eq!(hop.handle(&request("GET", "/", b"")).reply.status, 200);
}

#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "it never came to that");
        thread::sleep(Duration::from_millis(2));
    }
}
