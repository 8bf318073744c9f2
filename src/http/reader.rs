//! The reader thread: accepts connections, receives requests, enforces deadlines and limits, parks waiting requests, and writes
//! what a slow client has not taken yet. All its sockets are non-blocking, so no client can hold it up.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};

use super::body::Body;
use super::client;
use super::parse::{BadHead, Framing, Head, Scanner, parse_head};
use super::pool::{ACCEPT_PAUSE, Exchange, Job, Mailbox, Message, Pool};
use super::pool::{internal_error, no_panic, write_some};
use super::reply::encode;
use super::{Awaited, Handler, Refusal, Request, Settings, Wait, WaitEnd};
use crate::message::Reply;
use crate::signature::UnverifiedBody;

/// A head must be complete this long after its connection was accepted.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A body must be complete this long after its head.
const BODY_TIME: Duration = Duration::from_secs(20);
/// A reply must be taken within this time.
const REPLY_TIME: Duration = Duration::from_secs(10);
/// Unread input is discarded for this long and up to this size (bytes) after an early reply: closing at once would make the kernel
/// reset the connection and destroy the reply (RFC 9112 section 9.6).
const DRAIN: (Duration, usize) = (Duration::from_secs(1), 16 * 1024 * 1024);
/// All received and unsent bytes together (bytes), or `max_body` if that is more.
const BUFFERED_MAX: usize = 16 * 1024 * 1024;
/// Requests up to this size (bytes) may use the last eighth of the memory, so that large bodies cannot keep deliveries out.
const SMALL: usize = 16 * 1024;
/// At capacity, an unfinished request may be closed at this age.
const GRACE: Duration = Duration::from_millis(50);
/// The same for a prefix that holds more than a quarter of all connections.
const GRACE_CROWD: Duration = Duration::from_millis(5);
/// A client at this rate (bytes per second) does not fall behind; the one furthest behind is closed first.
const EXPECTED_RATE: u64 = 1024;
/// When stopping, a request that has begun may be completed within this time.
const STOP_TIME: Duration = Duration::from_millis(500);
/// Idle time before TCP checks that a waiting client still exists, the interval and the number of checks.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(15), 4);
/// Connections accepted in a row before others are served.
const ACCEPT_BATCH: usize = 64;
/// Batches accepted when stopping: the whole backlog.
const BATCHES_AT_STOP: usize = 64;
/// Reads from one connection in a row.
const READ_BATCH: usize = 4;
/// The read buffer (bytes); a connection keeps only what has arrived.
const SCRATCH: usize = 64 * 1024;

/// Event tags besides connection numbers.
const LISTENER: u64 = 0;
const MAILBOX: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

/// Everything that the reader thread is made of.
pub(super) struct Parts {
    pub(super) listener: TcpListener,
    pub(super) settings: Settings,
    pub(super) connections_max: usize,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) pool: Arc<Pool>,
}

/// Starts the thread. `end` is dropped when it ends.
///
/// # Errors
/// The system has no thread or descriptor left.
pub(super) fn start(parts: Parts, end: Sender<()>) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let tag = |tag| epoll::EventData::new_u64(tag);
    epoll::add(
        &epoll,
        &parts.listener,
        tag(LISTENER),
        epoll::EventFlags::IN,
    )?;
    epoll::add(&epoll, &*parts.mailbox, tag(MAILBOX), epoll::EventFlags::IN)?;
    let builder = thread::Builder::new().name("reader".to_owned());
    builder.spawn(move || {
        Reader::new(parts, epoll).run();
        drop(end);
    })?;
    Ok(())
}

struct Reader {
    /// `None` once the server is stopping.
    listener: Option<TcpListener>,
    settings: Settings,
    connections_max: usize,
    buffered_max: usize,
    handler: Arc<dyn Handler>,
    mailbox: Arc<Mailbox>,
    pool: Arc<Pool>,
    epoll: OwnedFd,
    connections: HashMap<u64, Connection>,
    next_id: u64,
    /// Unfinished connections of each prefix.
    prefixes: HashMap<IpAddr, Rc<Cell<usize>>>,
    /// Deadlines of connections, and of the pause of the listener.
    timers: BTreeSet<(Instant, u64)>,
    /// Bytes held by all connections.
    buffered: usize,
    /// The time until which nothing is accepted.
    accept_after: Option<Instant>,
    /// When stopping: the time at which waiting requests get a reply.
    stop_waits_at: Option<Instant>,
    warned_forwarded: bool,
    scratch: Vec<u8>,
    now: Instant,
}

/// An open connection.
struct Connection {
    /// Absent while a worker has it.
    stream: Option<TcpStream>,
    peer: IpAddr,
    prefix: Rc<Cell<usize>>,
    /// Start of the time during which we wait for the client.
    since: Instant,
    /// Bytes received or written since then.
    progress: u64,
    deadline: Option<Instant>,
    /// The events registered with epoll, if any.
    interest: Option<epoll::EventFlags>,
    /// Bytes that count in [`Reader::buffered`].
    held: usize,
    /// Not finished, so it counts in its prefix and may be closed to make room.
    is_unfinished: bool,
    stage: Stage,
}

impl Connection {
    fn set_unfinished(&mut self, is_unfinished: bool) {
        if self.is_unfinished != is_unfinished {
            self.is_unfinished = is_unfinished;
            let count = self.prefix.get();
            self.prefix.set(match is_unfinished {
                true => count + 1,
                false => count.saturating_sub(1),
            });
        }
    }

    /// Bytes by which the client is behind [`EXPECTED_RATE`].
    fn behind(&self, now: Instant) -> i64 {
        let millis = now.saturating_duration_since(self.since).as_millis();
        let expected = u64::try_from(millis).unwrap_or(u64::MAX) / 1000 * EXPECTED_RATE
            + u64::try_from(millis % 1000).unwrap_or(0) * EXPECTED_RATE / 1000;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        signed(expected).saturating_sub(signed(self.progress))
    }

    /// The average rate of the client (bytes per second).
    fn rate(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.since).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX).max(1);
        self.progress.saturating_mul(1000) / millis
    }

    fn bytes_held(&self) -> usize {
        match &self.stage {
            Stage::Head { buffer, .. } => buffer.capacity(),
            Stage::Body { body, .. } => body.capacity(),
            Stage::Delayed { bytes, .. } | Stage::Writing { bytes, .. } => bytes.len(),
            Stage::Working | Stage::Parked { .. } | Stage::Draining { .. } => 0,
        }
    }
}

enum Stage {
    Head {
        buffer: Vec<u8>,
        scanner: Scanner,
    },
    Body {
        head: Box<Head>,
        body: Body,
    },
    /// A worker has the socket.
    Working,
    Parked {
        exchange: ParkedExchange,
        wait: Box<Wait>,
    },
    /// The reply is written at the deadline.
    Delayed {
        bytes: Vec<u8>,
        has_unread_input: bool,
    },
    Writing {
        bytes: Vec<u8>,
        written: usize,
        has_unread_input: bool,
    },
    /// The reply is written; the rest of the input is discarded.
    Draining {
        left: usize,
    },
}

/// The part of an [`Exchange`] that a parked connection does not hold itself.
struct ParkedExchange {
    head_only: bool,
    has_unread_input: bool,
}

/// The decision after some input.
enum Step {
    /// More input is needed.
    Read,
    /// The request is complete.
    Handle {
        request: Request,
        has_unread_input: bool,
    },
    /// Answer now; more input may follow.
    Reply {
        reply: Reply,
        head_only: bool,
        has_unread_input: bool,
    },
    Close,
}

/// The result of looking for a connection to close.
enum Evicted {
    Closed,
    /// All are too young until then.
    NotBefore(Instant),
    /// No connection may be closed.
    Nothing,
}

impl Reader {
    fn new(parts: Parts, epoll: OwnedFd) -> Reader {
        Reader {
            listener: Some(parts.listener),
            buffered_max: BUFFERED_MAX.max(parts.settings.max_body),
            settings: parts.settings,
            connections_max: parts.connections_max,
            handler: parts.handler,
            mailbox: parts.mailbox,
            pool: parts.pool,
            epoll,
            connections: HashMap::new(),
            next_id: FIRST_CONNECTION,
            prefixes: HashMap::new(),
            timers: BTreeSet::new(),
            buffered: 0,
            accept_after: None,
            stop_waits_at: None,
            warned_forwarded: false,
            scratch: vec![0; SCRATCH],
            now: Instant::now(),
        }
    }

    /// Runs until the server is stopped and every connection is closed.
    fn run(mut self) {
        let mut events = Vec::with_capacity(256);
        while self.listener.is_some() || !self.connections.is_empty() {
            // The handler's panics are caught where it is called. One of our own must not end the only thread that reads.
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(&mut events)));
            if turn.is_err() {
                log::error!("internal error in the HTTP reader; continuing");
            }
        }
    }

    /// Waits for events and handles them. Input comes before deadlines: a client is never blamed for our own delay.
    fn turn(&mut self, events: &mut Vec<epoll::Event>) {
        let timeout = self.timers.first().map(|(due, _)| {
            let left = due.saturating_duration_since(Instant::now());
            // Nanoseconds: rounded down to milliseconds, the last one would be spent spinning.
            Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        events.clear();
        // A panic may have lost the buffer, and a read into nothing would look like the end of input.
        self.scratch.resize(SCRATCH, 0);
        let spare = rustix::buffer::spare_capacity(events);
        if let Err(error) = epoll::wait(&self.epoll, spare, timeout.as_ref())
            && error != Errno::INTR
        {
            log::error!("cannot wait for connections: {error}");
            thread::sleep(ACCEPT_PAUSE);
        }
        self.now = Instant::now();
        let mut can_accept = false;
        for event in events.iter() {
            match event.data.u64() {
                LISTENER => can_accept = true,
                MAILBOX => {}
                id => self.socket_ready(id, event.flags),
            }
        }
        self.read_mailbox();
        if can_accept {
            self.accept();
        }
        self.fire_timers();
    }

    fn fire_timers(&mut self) {
        while let Some((due, id)) = self.timers.first().copied() {
            if due > self.now {
                return;
            }
            self.timers.remove(&(due, id));
            if id == LISTENER {
                self.resume_accepting();
            } else {
                self.deadline_passed(id, due);
            }
        }
    }

    // ── accepting ──

    fn accept(&mut self) {
        for _ in 0..ACCEPT_BATCH {
            let Some(listener) = self
                .listener
                .as_ref()
                .filter(|_| self.accept_after.is_none())
            else {
                return;
            };
            match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let peer = address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
                    self.open(TcpStream::from(socket), peer);
                    self.make_room();
                }
                Err(Errno::AGAIN) => return,
                // These concern one connection that no longer exists.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => {
                    log::debug!("cannot accept a connection: {error}");
                    self.evict(Duration::ZERO);
                    self.pause_accepting(self.now + ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Above capacity, closes another connection. The new one is accepted first, or one would be closed for nobody.
    fn make_room(&mut self) {
        if self.connections.len() <= self.connections_max {
            return;
        }
        self.mailbox.wake_when_closed(true);
        self.read_mailbox();
        if self.connections.len() <= self.connections_max {
            self.mailbox.wake_when_closed(false);
            return;
        }
        match self.evict(GRACE) {
            Evicted::Closed => {}
            Evicted::NotBefore(time) => self.pause_accepting(time),
            Evicted::Nothing => self.pause_accepting(self.now + ACCEPT_PAUSE),
        }
    }

    fn pause_accepting(&mut self, until: Instant) {
        let Some(listener) = &self.listener else {
            return;
        };
        match self.accept_after {
            None => drop(epoll::delete(&self.epoll, listener)),
            Some(earlier) => drop(self.timers.remove(&(earlier, LISTENER))),
        }
        self.accept_after = Some(until);
        self.timers.insert((until, LISTENER));
    }

    fn resume_accepting(&mut self) {
        let (Some(listener), Some(until)) = (&self.listener, self.accept_after) else {
            return;
        };
        self.timers.remove(&(until, LISTENER));
        self.accept_after = None;
        let tag = epoll::EventData::new_u64(LISTENER);
        if let Err(error) = epoll::add(&self.epoll, listener, tag, epoll::EventFlags::IN) {
            log::error!("cannot resume accepting connections: {error}");
            self.accept_after = Some(until);
            self.timers.insert((self.now + ACCEPT_PAUSE, LISTENER));
            return;
        }
        self.make_room();
    }

    fn open(&mut self, stream: TcpStream, peer: IpAddr) {
        let prefix = self.prefixes.entry(client::prefix(peer)).or_default();
        let id = self.next_id;
        self.next_id += 1;
        let mut connection = Connection {
            stream: Some(stream),
            peer,
            prefix: Rc::clone(prefix),
            since: self.now,
            progress: 0,
            deadline: Some(self.now + HEAD_TIME),
            interest: None,
            held: 0,
            is_unfinished: false,
            stage: Stage::Head {
                buffer: Vec::new(),
                scanner: Scanner::default(),
            },
        };
        connection.set_unfinished(true);
        // Most requests have arrived with their connection, and then epoll is not needed at all.
        self.receive(id, connection);
    }

    // ── receiving ──

    fn socket_ready(&mut self, id: u64, flags: epoll::EventFlags) {
        // Closed or evicted in this turn.
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        match &connection.stage {
            Stage::Head { .. } | Stage::Body { .. } => self.receive(id, connection),
            Stage::Writing { .. } => self.write(id, connection),
            Stage::Draining { .. } => self.drain(id, connection),
            Stage::Parked { .. } | Stage::Delayed { .. } => {
                // Only errors are reported here: the client has reset the connection, or keepalive found it dead.
                if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                    self.close(id, connection);
                } else {
                    self.keep(id, connection);
                }
            }
            Stage::Working => self.keep(id, connection),
        }
    }

    fn receive(&mut self, id: u64, mut connection: Connection) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let step = self.receive_into(&mut connection, &mut scratch);
        self.scratch = scratch;
        let held = connection.bytes_held();
        self.hold(&mut connection, held);
        match step {
            Step::Read => {
                self.watch(id, &mut connection, epoll::EventFlags::IN);
                self.keep(id, connection);
                self.shed();
            }
            Step::Handle {
                request,
                has_unread_input,
            } => {
                let held = request.body.len();
                self.hold(&mut connection, held);
                if self.has_memory_for(held) {
                    self.submit(id, connection, request, has_unread_input);
                } else {
                    self.hold(&mut connection, 0);
                    let reply = self.refuse(Some(&request.path), request.peer, Refusal::Busy);
                    self.reply_early(id, connection, &reply, false, has_unread_input);
                }
            }
            Step::Reply {
                reply,
                head_only,
                has_unread_input,
            } => {
                self.hold(&mut connection, 0);
                self.reply_early(id, connection, &reply, head_only, has_unread_input);
            }
            Step::Close => self.close(id, connection),
        }
    }

    /// Reads until the request is complete, the socket is empty, or others are to be served.
    fn receive_into(&mut self, connection: &mut Connection, scratch: &mut [u8]) -> Step {
        for _ in 0..READ_BATCH {
            let Some(stream) = &mut connection.stream else {
                return Step::Close;
            };
            let read = match stream.read(scratch) {
                Ok(0) if connection.progress == 0 => return Step::Close,
                Ok(0) => return self.step_refused(connection, None, Refusal::BadHead),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Step::Close,
            };
            connection.progress += u64::try_from(read).unwrap_or(0);
            let step = self.consume(connection, scratch.get(..read).unwrap_or_default());
            if !matches!(step, Step::Read) || read < scratch.len() {
                return step;
            }
        }
        Step::Read
    }

    fn consume(&mut self, connection: &mut Connection, input: &[u8]) -> Step {
        match &mut connection.stage {
            Stage::Head { buffer, scanner } => {
                buffer.extend_from_slice(input);
                match scanner.find_end(buffer) {
                    Ok(None) => Step::Read,
                    Ok(Some(end)) => {
                        let bytes = std::mem::take(buffer);
                        self.begin_body(connection, &bytes, end)
                    }
                    Err(why) => self.step_refused(connection, None, why),
                }
            }
            Stage::Body { .. } => self.consume_body(connection, input),
            _ => Step::Close,
        }
    }

    /// Decides about a complete head before any of its body is read.
    fn begin_body(&mut self, connection: &mut Connection, bytes: &[u8], end: usize) -> Step {
        let (head, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        let head = match parse_head(head) {
            Ok(head) => head,
            Err(BadHead { path, why }) => {
                return self.step_refused(connection, path.as_deref(), why);
            }
        };
        let proxies = &self.settings.trusted_proxies;
        let peer = client::address(connection.peer, &head.headers, proxies);
        self.warn_about_forwarded(connection.peer, &head);
        let refused = no_panic(|| self.handler.refuse_head(&head.method, &head.path, peer));
        let head_only = head.method == super::Method::Head;
        match refused {
            Some(None) => {}
            Some(Some(reply)) => {
                return Step::Reply {
                    reply,
                    head_only,
                    has_unread_input: head.framing != Framing::Length(rest.len()),
                };
            }
            None => return self.step_refused(connection, Some(&head.path), Refusal::Panicked),
        }
        let body = match Body::new(head.framing, self.settings.max_body) {
            Ok(body) => body,
            Err(why) => return self.step_refused(connection, Some(&head.path), why),
        };
        let has_body = head.framing != Framing::Length(0);
        if head.expects_continue && has_body && rest.is_empty() {
            let line = b"HTTP/1.1 100 Continue\r\n\r\n";
            let sent = connection
                .stream
                .as_mut()
                .map(|stream| write_some(stream, line));
            if !matches!(sent, Some(Ok(sent)) if sent == line.len()) {
                return Step::Close;
            }
        }
        connection.deadline = Some(self.now + BODY_TIME);
        connection.stage = Stage::Body {
            head: Box::new(head),
            body,
        };
        self.consume_body(connection, rest)
    }

    fn consume_body(&mut self, connection: &mut Connection, input: &[u8]) -> Step {
        let Stage::Body { head, body } = &mut connection.stage else {
            return Step::Close;
        };
        match body.feed(input) {
            Ok(None) => Step::Read,
            Ok(Some(used)) => {
                let stage = std::mem::replace(&mut connection.stage, Stage::Working);
                let Stage::Body { head, body } = stage else {
                    return Step::Close;
                };
                let proxies = &self.settings.trusted_proxies;
                Step::Handle {
                    has_unread_input: used < input.len(),
                    request: Request {
                        peer: client::address(connection.peer, &head.headers, proxies),
                        method: head.method,
                        path: head.path,
                        query: head.query,
                        headers: head.headers,
                        body: UnverifiedBody::new(body.into_bytes()),
                    },
                }
            }
            Err(why) => {
                let path = head.path.clone();
                self.step_refused(connection, Some(&path), why)
            }
        }
    }

    fn step_refused(&self, connection: &Connection, path: Option<&str>, why: Refusal) -> Step {
        Step::Reply {
            reply: self.refuse(path, connection.peer, why),
            head_only: false,
            has_unread_input: true,
        }
    }

    fn refuse(&self, path: Option<&str>, peer: IpAddr, why: Refusal) -> Reply {
        no_panic(|| self.handler.refuse(path, peer, why)).unwrap_or_else(internal_error)
    }

    /// A proxy that is missing in `trusted_proxies` makes all clients look like one.
    fn warn_about_forwarded(&mut self, peer: IpAddr, head: &Head) {
        if self.warned_forwarded || head.headers.get("x-forwarded-for").is_none() {
            return;
        }
        let peer = peer.to_canonical();
        let proxies = &self.settings.trusted_proxies;
        if !proxies.iter().any(|network| network.contains(peer)) {
            self.warned_forwarded = true;
            log::warn!(
                "\"X-Forwarded-For\" from {peer} is ignored; if that is your proxy, add it to \"trusted_proxies\" (STACKHOOK_TRUSTED_PROXIES)"
            );
        }
    }

    fn submit(
        &mut self,
        id: u64,
        mut connection: Connection,
        request: Request,
        has_unread_input: bool,
    ) {
        let head_only = request.method == super::Method::Head;
        if let Some(exchange) = self.hand_over(id, &mut connection, head_only, has_unread_input) {
            connection.stage = Stage::Working;
            self.keep(id, connection);
            self.pool.submit(Job::Handle(exchange, request));
        }
    }

    /// Takes the socket out of epoll and of the connection, for a worker.
    fn hand_over(
        &mut self,
        id: u64,
        connection: &mut Connection,
        head_only: bool,
        has_unread_input: bool,
    ) -> Option<Exchange> {
        let stream = connection.stream.take()?;
        if connection.interest.take().is_some() {
            let _ = epoll::delete(&self.epoll, &stream);
        }
        self.set_deadline(id, connection, None);
        connection.set_unfinished(false);
        connection.stage = Stage::Working;
        Some(Exchange {
            id,
            stream,
            head_only,
            has_unread_input,
        })
    }

    // ── replying ──

    /// Replies without a worker, perhaps before the whole request was read.
    fn reply_early(
        &mut self,
        id: u64,
        mut connection: Connection,
        reply: &Reply,
        head_only: bool,
        has_unread_input: bool,
    ) {
        connection.since = self.now;
        connection.progress = 0;
        connection.stage = Stage::Writing {
            bytes: encode(reply, head_only),
            written: 0,
            has_unread_input,
        };
        self.set_deadline(id, &mut connection, Some(self.now + REPLY_TIME));
        self.write(id, connection);
    }

    fn write(&mut self, id: u64, mut connection: Connection) {
        let (Stage::Writing { bytes, written, .. }, Some(stream)) =
            (&mut connection.stage, &mut connection.stream)
        else {
            return self.close(id, connection);
        };
        match write_some(stream, bytes.get(*written..).unwrap_or_default()) {
            Ok(more) => {
                *written += more;
                connection.progress += u64::try_from(more).unwrap_or(0);
            }
            Err(error) => {
                log::debug!("the client has closed its connection before the reply: {error}");
                return self.close(id, connection);
            }
        }
        self.written(id, connection);
    }

    /// Goes on after some of a reply was written.
    fn written(&mut self, id: u64, mut connection: Connection) {
        let Stage::Writing {
            bytes,
            written,
            has_unread_input,
        } = &connection.stage
        else {
            return self.close(id, connection);
        };
        if *written < bytes.len() {
            let held = bytes.len();
            self.hold(&mut connection, held);
            self.watch(id, &mut connection, epoll::EventFlags::OUT);
            self.keep(id, connection);
            return self.shed();
        }
        let has_unread_input = *has_unread_input;
        let shut = connection
            .stream
            .as_ref()
            .map(|stream| stream.shutdown(Shutdown::Write));
        if !has_unread_input || !matches!(shut, Some(Ok(()))) {
            return self.close(id, connection);
        }
        self.hold(&mut connection, 0);
        connection.since = self.now;
        connection.progress = 0;
        connection.stage = Stage::Draining { left: DRAIN.1 };
        self.set_deadline(id, &mut connection, Some(self.now + DRAIN.0));
        self.drain(id, connection);
    }

    fn drain(&mut self, id: u64, mut connection: Connection) {
        for _ in 0..READ_BATCH {
            let (Stage::Draining { left }, Some(stream)) =
                (&mut connection.stage, &mut connection.stream)
            else {
                break;
            };
            match stream.read(&mut self.scratch) {
                Ok(read) if read > 0 && read < *left => *left -= read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return self.close(id, connection),
            }
        }
        self.watch(id, &mut connection, epoll::EventFlags::IN);
        self.keep(id, connection);
    }

    fn deadline_passed(&mut self, id: u64, due: Instant) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        if connection.deadline != Some(due) {
            // The timer of an earlier stage.
            return self.keep(id, connection);
        }
        connection.deadline = None;
        match std::mem::replace(&mut connection.stage, Stage::Working) {
            Stage::Head { .. } | Stage::Body { .. } if self.stop_waits_at.is_some() => {
                self.close(id, connection);
            }
            stage @ (Stage::Head { .. } | Stage::Body { .. }) => {
                let path = match &stage {
                    Stage::Body { head, .. } => Some(head.path.as_str()),
                    _ => None,
                };
                let reply = self.refuse(path, connection.peer, Refusal::TooSlow);
                self.hold(&mut connection, 0);
                self.reply_early(id, connection, &reply, false, true);
            }
            stage @ Stage::Parked { .. } => {
                let end = match self.stop_waits_at {
                    Some(time) if time <= self.now => WaitEnd::Stopping,
                    _ => WaitEnd::TimedOut,
                };
                connection.stage = stage;
                self.unpark(id, connection, end);
            }
            Stage::Delayed {
                bytes,
                has_unread_input,
            } => {
                connection.stage = Stage::Writing {
                    bytes,
                    written: 0,
                    has_unread_input,
                };
                self.set_deadline(id, &mut connection, Some(self.now + REPLY_TIME));
                self.write(id, connection);
            }
            Stage::Writing { .. } | Stage::Draining { .. } | Stage::Working => {
                self.close(id, connection);
            }
        }
    }

    // ── messages from workers ──

    fn read_mailbox(&mut self) {
        for message in self.mailbox.take() {
            match message {
                Message::Closed(id) => {
                    if let Some(connection) = self.connections.remove(&id) {
                        self.close(id, connection);
                    }
                }
                Message::Write {
                    exchange,
                    bytes,
                    written,
                } => {
                    let stage = Stage::Writing {
                        bytes,
                        written,
                        has_unread_input: exchange.has_unread_input,
                    };
                    if let Some((id, mut connection)) = self.take_back(exchange, stage) {
                        self.set_deadline(id, &mut connection, Some(self.now + REPLY_TIME));
                        self.written(id, connection);
                    }
                }
                Message::Delay {
                    exchange,
                    bytes,
                    due,
                } => {
                    let stage = Stage::Delayed {
                        bytes,
                        has_unread_input: exchange.has_unread_input,
                    };
                    if let Some((id, mut connection)) = self.take_back(exchange, stage) {
                        let due = self.stop_waits_at.map_or(due, |stop| due.min(stop));
                        self.set_deadline(id, &mut connection, Some(due));
                        self.watch(id, &mut connection, epoll::EventFlags::empty());
                        self.keep(id, connection);
                    }
                }
                Message::Park { exchange, wait } => self.park(exchange, wait),
                Message::Finished(awaited) => self.finished(&awaited),
                Message::Close(stop_waits_at) => self.stop(stop_waits_at),
            }
        }
        if self.accept_after.is_some() && self.connections.len() <= self.connections_max {
            self.mailbox.wake_when_closed(false);
            self.resume_accepting();
        }
    }

    /// Puts a worker's socket back into its connection.
    fn take_back(&mut self, exchange: Exchange, stage: Stage) -> Option<(u64, Connection)> {
        let id = exchange.id;
        let mut connection = self.connections.remove(&id)?;
        connection.stream = Some(exchange.stream);
        connection.stage = stage;
        connection.since = self.now;
        connection.progress = 0;
        connection.interest = None;
        connection.set_unfinished(!matches!(connection.stage, Stage::Parked { .. }));
        let held = connection.bytes_held();
        self.hold(&mut connection, held);
        Some((id, connection))
    }

    /// Keeps the socket without a thread until the wait ends. No events are requested: a client that has closed its sending
    /// direction (RFC 9112 section 9.6) still reads, and would be reported for ever.
    fn park(&mut self, exchange: Exchange, wait: Wait) {
        let until = self
            .stop_waits_at
            .map_or(wait.until, |stop| wait.until.min(stop));
        let stage = Stage::Parked {
            exchange: ParkedExchange {
                head_only: exchange.head_only,
                has_unread_input: exchange.has_unread_input,
            },
            wait: Box::new(wait),
        };
        if let Some((id, mut connection)) = self.take_back(exchange, stage) {
            if let Some(stream) = &connection.stream {
                let (idle, interval, count) = KEEPALIVE;
                let set = sockopt::set_socket_keepalive(stream, true)
                    .and_then(|()| sockopt::set_tcp_keepidle(stream, idle))
                    .and_then(|()| sockopt::set_tcp_keepintvl(stream, interval))
                    .and_then(|()| sockopt::set_tcp_keepcnt(stream, count));
                if let Err(error) = set {
                    log::debug!("cannot watch over a waiting client: {error}");
                }
            }
            self.set_deadline(id, &mut connection, Some(until));
            self.watch(id, &mut connection, epoll::EventFlags::empty());
            self.keep(id, connection);
        }
    }

    fn finished(&mut self, awaited: &Awaited) {
        let waits_for = |(id, connection): (&u64, &Connection)| match &connection.stage {
            Stage::Parked { wait, .. } if wait.awaited == *awaited => Some(*id),
            _ => None,
        };
        let waiting: Vec<u64> = self.connections.iter().filter_map(waits_for).collect();
        for id in waiting {
            if let Some(connection) = self.connections.remove(&id) {
                self.unpark(id, connection, WaitEnd::Finished);
            }
        }
    }

    /// Has a worker write the reply of a request that has waited.
    fn unpark(&mut self, id: u64, mut connection: Connection, end: WaitEnd) {
        match std::mem::replace(&mut connection.stage, Stage::Working) {
            Stage::Parked { exchange, wait } => {
                let ParkedExchange {
                    head_only,
                    has_unread_input,
                } = exchange;
                if let Some(exchange) =
                    self.hand_over(id, &mut connection, head_only, has_unread_input)
                {
                    self.keep(id, connection);
                    self.pool.submit(Job::Finish(exchange, *wait, end));
                }
            }
            _ => self.close(id, connection),
        }
    }

    /// Accepts what the kernel has already queued, then nothing more. Requests that have begun may be completed.
    fn stop(&mut self, stop_waits_at: Instant) {
        if self.listener.is_some() {
            self.resume_accepting();
            (0..BATCHES_AT_STOP).for_each(|_| self.accept());
        }
        self.listener = None;
        self.accept_after = None;
        self.stop_waits_at = Some(stop_waits_at);
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            let Some(mut connection) = self.connections.remove(&id) else {
                continue;
            };
            let latest = match &connection.stage {
                Stage::Head { .. } if connection.progress == 0 => {
                    self.close(id, connection);
                    continue;
                }
                Stage::Head { .. } | Stage::Body { .. } => Some(self.now + STOP_TIME),
                Stage::Parked { .. } | Stage::Delayed { .. } => Some(stop_waits_at),
                Stage::Working | Stage::Writing { .. } | Stage::Draining { .. } => None,
            };
            if let Some(latest) = latest {
                let deadline = connection.deadline.map_or(latest, |due| due.min(latest));
                self.set_deadline(id, &mut connection, Some(deadline));
            }
            self.keep(id, connection);
        }
        // The last connection must end the thread at once.
        self.mailbox.wake_when_closed(true);
    }

    // ── limits ──

    /// Closes the slowest connection of the prefix that holds most of those that may be closed.
    fn evict(&mut self, grace: Duration) -> Evicted {
        let candidates = self.connections.iter();
        let candidates = candidates.filter(|(_, connection)| connection.is_unfinished);
        let slowest = candidates
            .max_by_key(|(_, connection)| (connection.prefix.get(), connection.behind(self.now)));
        let Some((id, connection)) = slowest else {
            return Evicted::Nothing;
        };
        let is_crowd = connection.prefix.get() > self.connections_max / 4;
        let grace = if is_crowd {
            grace.min(GRACE_CROWD)
        } else {
            grace
        };
        let (id, closable_at) = (*id, connection.since + grace);
        if closable_at > self.now {
            return Evicted::NotBefore(closable_at);
        }
        if let Some(connection) = self.connections.remove(&id) {
            self.close(id, connection);
        }
        Evicted::Closed
    }

    /// Whether so many bytes of one request may be in use.
    fn has_memory_for(&mut self, size: usize) -> bool {
        let max = match size {
            0..=SMALL => self.buffered_max,
            _ => (self.buffered_max / 8 * 7).max(self.settings.max_body),
        };
        while self.buffered > max {
            if !self.shed_one() {
                return false;
            }
        }
        true
    }

    fn shed(&mut self) {
        while self.buffered > self.buffered_max && self.shed_one() {}
    }

    /// Frees the bytes of the slowest connection of the prefix that holds most bytes.
    fn shed_one(&mut self) -> bool {
        let mut bytes: HashMap<IpAddr, usize> = HashMap::new();
        for connection in self.connections.values() {
            if connection.is_unfinished {
                *bytes.entry(client::prefix(connection.peer)).or_default() += connection.held;
            }
        }
        let holding = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_unfinished && connection.held > 0);
        let slowest = holding.max_by_key(|(_, connection)| {
            let prefix = client::prefix(connection.peer);
            let rate = Reverse(connection.rate(self.now));
            (bytes.get(&prefix).copied(), rate)
        });
        let Some(id) = slowest.map(|(id, _)| *id) else {
            return false;
        };
        let Some(mut connection) = self.connections.remove(&id) else {
            return false;
        };
        let path = match &connection.stage {
            Stage::Head { .. } => None,
            Stage::Body { head, .. } => Some(head.path.clone()),
            // Part of a reply is already written, so nothing else can be said.
            _ => {
                self.close(id, connection);
                return true;
            }
        };
        self.hold(&mut connection, 0);
        let reply = self.refuse(path.as_deref(), connection.peer, Refusal::Busy);
        self.reply_early(id, connection, &reply, false, true);
        true
    }

    fn hold(&mut self, connection: &mut Connection, bytes: usize) {
        self.buffered = self.buffered - connection.held + bytes;
        connection.held = bytes;
    }

    // ── bookkeeping ──

    /// Stores a connection between two events, with its timer.
    fn keep(&mut self, id: u64, connection: Connection) {
        if let Some(deadline) = connection.deadline {
            self.timers.insert((deadline, id));
        }
        self.connections.insert(id, connection);
    }

    fn set_deadline(&mut self, id: u64, connection: &mut Connection, deadline: Option<Instant>) {
        if let Some(old) = connection.deadline {
            self.timers.remove(&(old, id));
        }
        connection.deadline = deadline;
    }

    /// Asks epoll for these events; errors are always reported.
    fn watch(&mut self, id: u64, connection: &mut Connection, interest: epoll::EventFlags) {
        let Some(stream) = &connection.stream else {
            return;
        };
        let tag = epoll::EventData::new_u64(id);
        let watched = match connection.interest {
            Some(current) if current == interest => return,
            Some(_) => epoll::modify(&self.epoll, stream, tag, interest),
            None => epoll::add(&self.epoll, stream, tag, interest),
        };
        match watched {
            Ok(()) => connection.interest = Some(interest),
            // Its deadline closes it.
            Err(error) => log::error!("cannot watch a connection: {error}"),
        }
    }

    /// Forgets a connection that is not in the table; dropping it closes the socket.
    fn close(&mut self, id: u64, mut connection: Connection) {
        self.set_deadline(id, &mut connection, None);
        self.hold(&mut connection, 0);
        connection.set_unfinished(false);
        let prefix = client::prefix(connection.peer);
        drop(connection);
        if self
            .prefixes
            .get(&prefix)
            .is_some_and(|count| Rc::strong_count(count) == 1)
        {
            self.prefixes.remove(&prefix);
        }
    }
}
