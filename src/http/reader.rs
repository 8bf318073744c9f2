//! The reader thread. It owns every socket: it accepts connections, receives requests, keeps those that wait, and writes replies. All
//! sockets are non-blocking, so no client can hold it up.

mod respond;
mod receive;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::connections::{Connection, Connections, Eviction, Stage};
use super::pool::{Mailbox, Message, Pool, no_panic};
use super::{Handler, Refusal, Settings, WaitEnd};

/// All received and unsent bytes together (bytes), or `max_body` if that is more.
const BUFFERED_MAX: usize = 16 * 1024 * 1024;
/// Requests up to this size (bytes) may use the last eighth of the memory, so that large bodies cannot keep deliveries out.
const SMALL: usize = 16 * 1024;
/// The time for completing a request that has begun when the server stops.
const STOP_TIME: Duration = Duration::from_millis(500);
/// The pause between two attempts to accept after the system ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
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

/// The state of the reader thread.
pub(super) struct Reader {
    /// Absent once the server is stopping.
    listener: Option<TcpListener>,
    settings: Settings,
    connections_max: usize,
    handler: Arc<dyn Handler>,
    mailbox: Arc<Mailbox>,
    pool: Arc<Pool>,
    connections: Connections,
    next_id: u64,
    /// A pause in accepting: its end, and the number of connections at its start.
    pause: Option<(Instant, usize)>,
    /// The time at which waiting requests get a reply, once the server is stopping.
    stop_waits_at: Option<Instant>,
    warned_forwarded: bool,
    scratch: Vec<u8>,
    /// The time at which the current events were reported.
    now: Instant,
}

impl Reader {
    /// Starts the thread. The channel is disconnected when it ends.
    ///
    /// Errors: the system has no thread or no descriptor left.
    pub(super) fn start(
        listener: TcpListener,
        settings: Settings,
        connections_max: usize,
        handler: Arc<dyn Handler>,
        mailbox: Arc<Mailbox>,
        pool: Arc<Pool>,
    ) -> io::Result<Receiver<()>> {
        let connections = Connections::new()?;
        connections.watch(&listener, LISTENER)?;
        connections.watch(&*mailbox, MAILBOX)?;
        let reader = Reader {
            listener: Some(listener),
            settings,
            connections_max,
            handler,
            mailbox,
            pool,
            connections,
            next_id: FIRST_CONNECTION,
            pause: None,
            stop_waits_at: None,
            warned_forwarded: false,
            scratch: Vec::new(),
            now: Instant::now(),
        };
        let (end, ended) = channel();
        let builder = thread::Builder::new().name("reader".to_owned());
        builder.spawn(move || {
            reader.run();
            drop(end);
        })?;
        Ok(ended)
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(256);
        while self.listener.is_some() || self.connections.len() > 0 {
            // The handler's panics are caught where it is called. One of our own must not end the only thread that reads.
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(&mut events)));
            if turn.is_err() {
                log::error!("internal error in the HTTP reader; continuing");
            }
        }
    }

    /// Waits for events and handles them. Input comes before deadlines: a client is never blamed for our own delay.
    fn turn(&mut self, events: &mut Vec<epoll::Event>) {
        // A panic may have lost the buffer, and a read into nothing would look like the end of input.
        self.scratch.resize(SCRATCH, 0);
        let pause_ends = self.pause.map(|(end, _)| end);
        if let Err(error) = self.connections.wait(events, pause_ends) {
            log::error!("cannot wait for connections: {error}");
            thread::sleep(ACCEPT_PAUSE);
        }
        self.now = Instant::now();
        let mut can_accept = false;
        for event in events.iter() {
            match event.data.u64() {
                LISTENER => can_accept = true,
                MAILBOX => self.mailbox.clear_event(),
                id => self.socket_ready(id, event.flags),
            }
        }
        self.read_mailbox();
        if can_accept {
            self.accept();
        }
        while let Some(id) = self.connections.overdue(self.now) {
            self.deadline_passed(id);
        }
        if let Some((end, connections)) = self.pause
            && (end <= self.now || self.connections.len() < connections)
        {
            self.resume_accepting();
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPT_BATCH {
            let Some(listener) = self.listener.as_ref().filter(|_| self.pause.is_none()) else {
                return;
            };
            match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let peer = address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
                    // Most requests have arrived with their connection, and then epoll is not needed at all.
                    let stream = TcpStream::from(socket);
                    self.receive(Connection::new(self.next_id, stream, peer, self.now));
                    self.next_id += 1;
                    self.make_room();
                }
                Err(Errno::AGAIN) => return,
                // These concern one connection that no longer exists.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => {
                    log::debug!("cannot accept a connection: {error}");
                    if let Eviction::Close(id) = self.connections.find_slowest(self.now, 0) {
                        self.connections.take(id);
                    }
                    self.pause_accepting(self.now + ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Above capacity, closes another connection. The new one is accepted first, so that none is closed needlessly.
    fn make_room(&mut self) {
        if self.connections.len() > self.connections_max {
            // Some may be about to be closed anyway.
            self.read_mailbox();
        }
        if self.connections.len() <= self.connections_max {
            return;
        }
        match self
            .connections
            .find_slowest(self.now, self.connections_max)
        {
            Eviction::Close(id) => drop(self.connections.take(id)),
            Eviction::NotBefore(time) => self.pause_accepting(time),
            Eviction::Impossible => self.pause_accepting(self.now + ACCEPT_PAUSE),
        }
    }

    fn pause_accepting(&mut self, until: Instant) {
        if let Some(listener) = &self.listener {
            self.connections.unwatch(listener);
            self.pause = Some((until, self.connections.len()));
        }
    }

    fn resume_accepting(&mut self) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.pause.is_some()) else {
            return;
        };
        if let Err(error) = self.connections.watch(listener, LISTENER) {
            log::error!("cannot resume accepting connections: {error}");
            return self.pause_accepting(self.now + ACCEPT_PAUSE);
        }
        self.pause = None;
        self.make_room();
    }

    fn read_mailbox(&mut self) {
        for message in self.mailbox.take() {
            match message {
                Message::Answered(id, answer) => self.answered(id, answer),
                Message::Finished(awaited) => {
                    for id in self.connections.waiting_for(&awaited) {
                        self.unpark(id, WaitEnd::Finished);
                    }
                }
                Message::Close(stop_waits_at) => self.stop(stop_waits_at),
            }
        }
    }

    fn deadline_passed(&mut self, id: u64) {
        let Some(mut connection) = self.connections.take(id) else {
            return;
        };
        match connection.stage {
            Stage::Head { .. } | Stage::Body { .. } if self.stop_waits_at.is_none() => {
                self.refuse(connection, Refusal::TooSlow);
            }
            Stage::Parked(_) => {
                let end = match self.stop_waits_at {
                    Some(time) if time <= self.now => WaitEnd::Stopping,
                    _ => WaitEnd::TimedOut,
                };
                self.connections.keep(connection);
                self.unpark(id, end);
            }
            Stage::Delayed(reply) => {
                connection.stage = Stage::Draining(0);
                self.reply(connection, &reply);
            }
            // Dropping it closes it.
            _ => {}
        }
    }

    /// Accepts what the kernel has already queued, then nothing more. Requests that have begun may be completed.
    fn stop(&mut self, stop_waits_at: Instant) {
        if self.listener.is_some() {
            self.resume_accepting();
            (0..BATCHES_AT_STOP).for_each(|_| self.accept());
        }
        self.listener = None;
        self.pause = None;
        self.stop_waits_at = Some(stop_waits_at);
        for id in self.connections.ids() {
            let Some(mut connection) = self.connections.take(id) else {
                continue;
            };
            let latest = match &connection.stage {
                Stage::Head { .. } if connection.progress == 0 => continue,
                Stage::Head { .. } | Stage::Body { .. } => Some(self.now + STOP_TIME),
                Stage::Parked(_) | Stage::Delayed(_) => Some(stop_waits_at),
                Stage::Working(_) | Stage::Writing { .. } | Stage::Draining(_) => None,
            };
            if let Some(latest) = latest {
                connection.deadline = connection.deadline.min(Some(latest));
            }
            self.connections.keep(connection);
        }
    }

    /// Frees memory for a request of this size (bytes). Returns true if there is enough.
    fn has_memory_for(&mut self, size: usize) -> bool {
        let all = BUFFERED_MAX.max(self.settings.max_body);
        let max = match size {
            0..=SMALL => all,
            _ => (all / 8 * 7).max(self.settings.max_body),
        };
        while self.connections.bytes() + size > max {
            if !self.shed_one() {
                return false;
            }
        }
        true
    }

    /// Keeps a connection whose bytes have grown, and returns to the memory limit.
    fn keep_bounded(&mut self, connection: Connection) {
        self.connections.keep(connection);
        self.has_memory_for(0);
    }

    /// Frees the bytes of the slowest connection of the prefix that holds most bytes.
    fn shed_one(&mut self) -> bool {
        let largest = self.connections.find_largest(self.now);
        let Some(connection) = largest.and_then(|id| self.connections.take(id)) else {
            return false;
        };
        // Where part of a reply is already written, nothing else can be said.
        if matches!(connection.stage, Stage::Head { .. } | Stage::Body { .. }) {
            self.refuse(connection, Refusal::Busy);
        }
        true
    }
}
