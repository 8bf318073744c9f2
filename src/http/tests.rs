//! The server over real sockets, with the smallest possible handler.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;

/// Replies with what it received. Some paths are special.
#[derive(Default)]
struct Echo {
    seen: Mutex<Vec<String>>,
    /// Replies rendered after a wait, by the reason for its end.
    ends: Mutex<Vec<WaitEnd>>,
    /// Waits for which `is_finished` is true from the beginning. It also lets the workers at `/blocked` continue.
    finished: AtomicUsize,
}

impl Echo {
    fn answer(self: Arc<Self>, request: Request) -> Answer {
        let (method, path) = (request.method.to_string(), request.path);
        let text = format!("{method} {path} {}", request.body.len());
        self.seen.lock().unwrap().push(text.clone());
        match path.as_str() {
            "/panic" => panic!("planted"),
            "/blocked" => {
                eventually(|| self.finished.load(Ordering::SeqCst) > 0);
                Answer::Now(Reply::text(200, &text))
            }
            "/large" => Answer::Now(Reply::text(200, &"x".repeat(8 * 1024 * 1024))),
            "/later" => Answer::Later(Reply::text(401, "later"), Duration::from_millis(300)),
            "/wait" | "/wait-panic" | "/timeout" => {
                let until = match path.as_str() {
                    "/timeout" => Duration::from_millis(100),
                    _ => Duration::from_secs(60),
                };
                Answer::Wait(Wait {
                    awaited: Awaited::Job(7),
                    until: Instant::now() + until,
                    finish: Box::new(move |end| {
                        assert_ne!(path, "/wait-panic", "planted");
                        self.ends.lock().unwrap().push(end);
                        Reply::text(200, "waited")
                    }),
                })
            }
            _ => Answer::Now(Reply::text(200, &text)),
        }
    }
}

impl Handler for Echo {
    fn admit(
        self: Arc<Self>,
        _: &Method,
        path: &str,
        _: &Headers,
        peer: IpAddr,
    ) -> Result<Responder, Reply> {
        match path {
            "/missing" => Err(Reply::text(404, "missing\n")),
            "/panic-head" => panic!("planted"),
            "/peer" => Err(Reply::text(200, &peer.to_string())),
            _ => Ok(Box::new(|request| self.answer(request))),
        }
    }

    fn is_finished(&self, _: &Awaited) -> bool {
        self.finished.load(Ordering::SeqCst) > 0
    }

    fn refuse(&self, path: Option<&str>, _: IpAddr, why: Refusal) -> Reply {
        if path == Some("/panic-refuse") {
            panic!("planted");
        }
        let path = path.unwrap_or("-");
        let (status, reason) = why.explain();
        Reply::text(status, &format!("{path}: {reason}\n"))
    }
}

struct Running {
    server: Server,
    address: SocketAddr,
    echo: Arc<Echo>,
}

fn running() -> Running {
    with_connections(200)
}

fn with_connections(connections: usize) -> Running {
    let echo = Arc::new(Echo::default());
    let settings = Settings {
        max_body: 1024 * 1024,
        trusted_proxies: vec![Network::parse("127.0.0.1").unwrap()],
    };
    let capacity = Capacity {
        connections,
        deliveries: 1,
        status_requests: 1,
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().unwrap();
    let handler = Arc::clone(&echo) as Arc<dyn Handler>;
    let server = Server::start(listener, settings, capacity, handler).unwrap();
    Running {
        server,
        address,
        echo,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.close(Duration::ZERO);
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

    fn send(&self, request: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        stream
    }

    /// Status and body of the reply.
    #[track_caller]
    fn ask(&self, request: &[u8]) -> (u16, String) {
        rest(self.send(request))
    }

    fn seen(&self) -> Vec<String> {
        self.echo.seen.lock().unwrap().clone()
    }

    fn ends(&self) -> Vec<WaitEnd> {
        self.echo.ends.lock().unwrap().clone()
    }
}

#[track_caller]
fn rest(mut stream: TcpStream) -> (u16, String) {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nConnection: close"), "{head}");
    assert!(head.contains("\r\nCache-Control: no-store"), "{head}");
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

/// A worker may be interrupted between its message and its wake-up. The reader, awake for another reason, takes the message first.
#[test]
fn clears_a_wake_up_that_comes_after_its_message() {
    let running = running();
    let mailbox = &*running.server.mailbox;
    rustix::io::write(mailbox, &1_u64.to_ne_bytes()).unwrap();
    let is_readable = || {
        let mut watched = [rustix::event::PollFd::new(
            mailbox,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut watched, Some(&rustix::event::Timespec::default())).unwrap() > 0
    };
    // Otherwise the reader would not wait any more.
    eventually(|| !is_readable());
    assert_eq!(running.ask(&get("/x")), (200, "GET /x 0".to_owned()));
}

#[test]
fn reads_and_answers_one_request() {
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
    assert_eq!(running.ask(&get("/missing")), (404, "missing\n".to_owned()));
    assert_eq!(running.seen().len(), 4, "a refused head is not handled");
}

#[test]
fn reads_a_request_that_comes_byte_by_byte() {
    let running = running();
    let mut stream = running.connect();
    stream.set_nodelay(true).unwrap();
    for byte in
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(rest(stream), (200, "POST /x 5".to_owned()));
}

#[test]
fn takes_the_client_address_from_a_trusted_proxy() {
    let running = running();
    let request = b"GET /peer HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n\r\n";
    assert_eq!(running.ask(request), (200, "192.0.2.7".to_owned()));
}

#[test]
fn explains_an_address_that_cannot_be_bound() {
    let running = running();
    let taken = running.address.to_string();
    for (address, why) in [
        (taken.as_str(), "another program listens there already"),
        // Reserved for documentation, so no host has it.
        ("192.0.2.1:0", "this host has no such address"),
    ] {
        let message = Listener::bind(address.parse().unwrap()).unwrap_err();
        let start = format!("cannot listen on {address}: {why}; ");
        assert!(message.starts_with(&start), "{message}");
        assert!(message.contains("STACKHOOK_LISTEN"), "{message}");
    }
}

#[test]
fn delivers_an_early_reply_to_a_client_that_is_still_sending() {
    let running = running();
    let (status, body) =
        running.ask(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n");
    assert_eq!((status, body.starts_with("/x: ")), (413, true), "{body}");
    // Everything is sent, though it was refused at the first bytes.
    for (path, expected) in [("/x", 413), ("/missing", 404)] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n");
        let mut large = head.into_bytes();
        large.resize(4_000_000, b'x');
        assert_eq!(running.ask(&large).0, expected);
    }
    let mut endless = b"GET /".to_vec();
    endless.resize(200_000, b'x');
    assert_eq!(running.ask(&endless).0, 414);
    assert_eq!(running.ask(b"\x16\x03\x01\x02\x00\x01").0, 400);
}

#[test]
fn refuses_each_kind_of_bad_request_with_its_status() {
    let running = running();
    let lines = "X: y\r\n".repeat(65);
    for (request, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            400,
        ),
        (&format!("GET /{} HTTP/1.1\r\n", "x".repeat(8192)), 414),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: x\r\n\r\n",
            417,
        ),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), 431),
        ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ] {
        assert_eq!(running.ask(request.as_bytes()).0, expected, "{request}");
    }
    assert!(running.seen().is_empty(), "none is handled");
}

#[test]
fn closes_a_rejected_connection_whose_client_keeps_it_open() {
    let running = running();
    let mut stream =
        running.send(b"POST /missing HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 404 "));
    // The server discards input for a second. Then it closes the socket, and the next byte is answered by a reset.
    eventually(|| (&stream).write_all(b"x").is_err());
}

#[test]
fn closes_a_connection_whose_client_reads_too_slowly() {
    let running = running();
    let mut stream = running.send(&get("/large"));
    let begun = Instant::now();
    let mut read = 0;
    // A little from time to time does not move the deadline of ten seconds.
    while begun.elapsed() < Duration::from_secs(12) {
        read += stream.read(&mut [0; 1024]).unwrap();
        thread::sleep(Duration::from_millis(200));
    }
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    read += rest.len();
    assert!(read < 8 * 1024 * 1024, "{read} bytes");
}

#[test]
fn queues_a_burst_of_connections_before_accepting_them() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().unwrap();
    // Beyond a backlog of 128, the default of the standard library, a client would have to repeat its SYN.
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900));
    let burst: Vec<_> = (0..200).map(connect).collect();
    assert_eq!(burst.iter().filter(|stream| stream.is_err()).count(), 0);
}

#[test]
fn ignores_a_second_request_on_a_connection() {
    let running = running();
    let (status, body) = running.ask(&[get("/one"), get("/two")].concat());
    assert_eq!((status, body.as_str()), (200, "GET /one 0"));
    assert_eq!(running.seen(), ["GET /one 0"]);
}

#[test]
fn sends_100_continue_only_if_the_body_will_be_read() {
    let running = running();
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut stream = running.send(head("/x", 5).as_bytes());
    let mut line = [0; 25];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    assert_eq!(rest(stream), (200, "POST /x 5".to_owned()));
    assert_eq!(running.ask(head("/x", 2_000_000).as_bytes()).0, 413);
    assert_eq!(running.ask(head("/missing", 5).as_bytes()).0, 404);
    // The body is already there.
    let whole = format!("{}hello", head("/x", 5));
    assert_eq!(running.ask(whole.as_bytes()).0, 200);
}

#[test]
fn survives_panics_of_the_handler() {
    let running = running();
    for path in ["/panic", "/panic-head"] {
        for _ in 0..50 {
            let (status, body) = running.ask(&get(path));
            assert_eq!(status, 500);
            assert!(
                body.starts_with(&format!("{path}: internal error")),
                "{body}"
            );
        }
    }
    let request = b"POST /panic-refuse HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n";
    assert_eq!(running.ask(request).0, 500);
    running.echo.finished.store(1, Ordering::SeqCst);
    assert_eq!(running.ask(&get("/wait-panic")).0, 500);
    assert_eq!(running.ask(&get("/")).0, 200);
}

#[test]
fn answers_a_delayed_reply_later_and_others_meanwhile() {
    let running = running();
    let begun = Instant::now();
    let delayed = running.send(&get("/later"));
    assert_eq!(running.ask(&get("/")).0, 200);
    assert_eq!(rest(delayed), (401, "later".to_owned()));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn answers_waiting_requests_when_the_event_is_reported() {
    let running = running();
    let waiting: Vec<TcpStream> = (0..100).map(|_| running.send(&get("/wait"))).collect();
    eventually(|| running.seen().len() == 100);
    // The server goes on meanwhile, with all workers free.
    assert_eq!(running.ask(&get("/")).0, 200);
    let notify = running.server.notifier();
    notify(Awaited::Job(8));
    assert_eq!(running.ends(), []);
    // Some may not be parked yet when the first report comes.
    running.echo.finished.store(1, Ordering::SeqCst);
    notify(Awaited::Job(7));
    for stream in waiting {
        assert_eq!(rest(stream), (200, "waited".to_owned()));
    }
    assert_eq!(running.ends(), [WaitEnd::Finished; 100]);
}

/// The kernel lists the timer of each connection; 02 is that of keepalive.
#[test]
fn checks_whether_a_waiting_client_still_exists() {
    let running = running();
    let waiting = running.send(&get("/wait"));
    let ends = [running.address, waiting.local_addr().unwrap()];
    let [local, remote] = ends.map(|end| format!(":{:04X}", end.port()));
    eventually(|| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1].ends_with(&local)
                && fields[2].ends_with(&remote)
                && fields[5].starts_with("02:")
        })
    });
}

#[test]
fn misses_no_event_that_comes_before_the_request_is_parked() {
    let running = running();
    running.echo.finished.store(1, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(running.ask(&get("/wait")), (200, "waited".to_owned()));
    }
}

#[test]
fn ends_a_wait_when_its_time_is_over() {
    let running = running();
    assert_eq!(running.ask(&get("/timeout")), (200, "waited".to_owned()));
    assert_eq!(running.ends(), [WaitEnd::TimedOut]);
}

#[test]
fn answers_a_client_that_has_half_closed_its_connection() {
    let running = running();
    let half_closed = |path| {
        let stream = running.send(&get(path));
        stream.shutdown(Shutdown::Write).unwrap();
        stream
    };
    assert_eq!(rest(half_closed("/")).0, 200);
    assert_eq!(rest(half_closed("/later")).0, 401);
    let waiting = half_closed("/wait");
    eventually(|| running.seen().len() == 3);
    running.echo.finished.store(1, Ordering::SeqCst);
    // The next one finishes the others too.
    assert_eq!(rest(half_closed("/wait")).0, 200);
    assert_eq!(rest(waiting), (200, "waited".to_owned()));
}

#[test]
fn closes_the_slowest_connection_of_the_largest_prefix_at_capacity() {
    let running = with_connections(20);
    let other = |number: u8| {
        // The whole of 127.0.0.0/8 is loopback, so one machine has many client addresses.
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        let address = SocketAddr::from(([127, 0, 9, number], 0));
        rustix::net::bind(&socket, &address).unwrap();
        rustix::net::connect(&socket, &running.address).unwrap();
        TcpStream::from(socket)
    };
    let mut honest = other(1);
    honest.write_all(b"GET /honest HT").unwrap();
    // Far more than fit, and none of them ever finishes.
    let mut head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nx".to_vec();
    let crowd: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = other(2);
            let _ = stream.write_all(&head);
            stream
        })
        .collect();
    assert_eq!(running.ask(&get("/")).0, 200);
    honest.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(rest(honest), (200, "GET /honest 0".to_owned()));
    head.clear();
    drop(crowd);
}

#[test]
fn bounds_the_memory_of_bodies_and_replies() {
    let running = running();
    let head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut stream = running.send(head);
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let _ = stream.write_all(&vec![b'x'; 1_048_575]);
        held.push(stream);
    }
    // Some were refused, so that a small one and a large one still fit.
    let refused = held.iter().filter(|stream| {
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut start = [0; 12];
        matches!(stream.peek(&mut start), Ok(12)) && &start == b"HTTP/1.1 503"
    });
    assert!(refused.count() >= 10);
    assert_eq!(running.ask(&get("/")).0, 200);
    let mut large = head.to_vec();
    large.resize(head.len() + 1_048_576, b'x');
    assert_eq!(running.ask(&large).0, 200);
}

#[test]
fn reserves_memory_for_small_requests() {
    let running = running();
    let request = |size: usize| {
        let head = format!("POST /blocked HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + size, b'x');
        request
    };
    // More complete bodies than there is memory for. Requests that wait for a worker keep theirs.
    let large: Vec<_> = (0..24).map(|_| running.send(&request(1 << 20))).collect();
    let is_refused = |stream: &TcpStream| {
        let mut start = [0; 12];
        stream.set_nonblocking(true).unwrap();
        let read = stream.peek(&mut start);
        stream.set_nonblocking(false).unwrap();
        read.is_ok() && &start == b"HTTP/1.1 503"
    };
    eventually(|| large.iter().filter(|stream| is_refused(stream)).count() >= 8);
    let small = running.send(&request(10_000));
    let too_large = running.ask(&request(1 << 20));
    assert_eq!(too_large.0, 503);
    running.echo.finished.store(1, Ordering::SeqCst);
    assert_eq!(rest(small), (200, "POST /blocked 10000".to_owned()));
}

/// A stop gives requests that have begun half a second. A busy machine may delay this test for longer, so it is tried several times.
#[test]
fn closes_silent_connections_at_a_stop_and_completes_requests_that_have_begun() {
    let is_completed = || {
        let running = running();
        let mut silent = running.connect();
        let mut begun = running.send(b"GET / HT");
        assert_eq!(running.ask(&get("/")).0, 200, "the others are accepted too");
        running.server.close(Duration::ZERO);
        let _ = silent.read(&mut [0]);
        let _ = begun.write_all(b"TP/1.1\r\nHost: a\r\n\r\n");
        let mut reply = Vec::new();
        let _ = begun.read_to_end(&mut reply);
        reply.starts_with(b"HTTP/1.1 200 ")
    };
    assert!((0..5).any(|_| is_completed()));
}

#[test]
fn stops_after_answering_everyone() {
    let running = running();
    let mut unfinished = running.send(b"GET / HT");
    let mut silent = running.connect();
    let waiting = running.send(&get("/wait"));
    let large = running.send(&get("/large"));
    eventually(|| running.seen().len() == 2);
    running.server.close(Duration::from_millis(100));
    assert_eq!(rest(waiting), (200, "waited".to_owned()));
    assert_eq!(running.ends(), [WaitEnd::Stopping]);
    for stream in [&mut unfinished, &mut silent] {
        let mut nothing = Vec::new();
        let read = stream.read_to_end(&mut nothing);
        let text = String::from_utf8_lossy(&nothing);
        assert!(read.is_err() || nothing.is_empty(), "{text}");
    }
    let (status, body) = rest(large);
    assert_eq!((status, body.len()), (200, 8 * 1024 * 1024));
    assert!(running.server.finish(Duration::from_secs(20)));
    assert!(TcpStream::connect(running.address).is_err());
}

#[test]
fn divides_descriptors_between_connections_and_waiting_requests() {
    for (files, connections, deliveries) in [
        (0, 4, 2),
        (24, 4, 2),
        (64, 24, 15),
        (1024, 824, 515),
        (1_048_576, 4000, 2500),
        (usize::MAX, 4000, 2500),
    ] {
        let capacity = Capacity::of(files);
        let found = (capacity.connections, capacity.deliveries);
        assert_eq!(found, (connections, deliveries), "{files}");
        let waiting = capacity.deliveries + capacity.status_requests;
        assert!(waiting <= connections * 3 / 4, "{files}");
    }
}

#[test]
fn shares_a_budget_between_prefixes() {
    let budget = Budget::new(4, 2);
    let peer = |text: &str| text.parse::<IpAddr>().unwrap();
    let acquire = |text: &str| budget.acquire(peer(text));
    let first = [acquire("192.0.2.1"), acquire("::ffff:192.0.2.1")];
    assert!(first.iter().all(Option::is_some));
    assert!(acquire("192.0.2.1").is_none());
    let second = [acquire("2001:db8::1"), acquire("2001:db8::2")];
    assert!(second.iter().all(Option::is_some));
    assert!(acquire("2001:db8::3").is_none());
    assert!(acquire("192.0.2.2").is_none(), "the budget is used up");
    drop(first);
    assert!(acquire("192.0.2.2").is_some());
    drop(second);
    assert!(budget.taken.lock().unwrap().is_empty());
}

#[track_caller]
fn eventually(is_done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_done() {
        assert!(Instant::now() < until, "it did not happen in time");
        thread::sleep(Duration::from_millis(2));
    }
}
