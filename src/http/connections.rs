//! The open connections, with their deadlines, their epoll registrations, and their shares of the common limits. A connection that
//! is being worked on is out of the table and counts in nothing, so all sums follow from the stages of those in the table.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::body::BodyDecoder;
use super::parse::{Head, Scanner};
use super::{Awaited, Responder, Wait, client};
use crate::message::Reply;

/// A head must be complete this long after its connection was accepted.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A client at this rate (bytes per second) does not fall behind; the one furthest behind is closed first.
const EXPECTED_RATE: u64 = 1024;
/// At capacity, an unfinished request may be closed at this age.
const GRACE: Duration = Duration::from_millis(50);
/// The same for a prefix that holds more than a quarter of all connections.
const GRACE_CROWD: Duration = Duration::from_millis(5);

/// An open connection. Dropping it closes the socket, which also removes it from epoll.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) stream: TcpStream,
    /// The client's address; behind a trusted proxy the forwarded one, once the head is known.
    pub(super) peer: IpAddr,
    /// The requested path, once it is known.
    pub(super) path: Option<String>,
    /// The request is HEAD.
    pub(super) head_only: bool,
    /// The client may have sent more than its request, so closing at once would destroy the reply.
    pub(super) has_unread_input: bool,
    /// Bytes received or written since we began to wait for the client.
    pub(super) progress: u64,
    pub(super) deadline: Option<Instant>,
    pub(super) stage: Stage,
    /// The client for the purpose of sharing: the prefix of the socket's own address.
    prefix: IpAddr,
    /// Start of the time during which we wait for the client.
    since: Instant,
    /// The events registered with epoll, if any.
    interest: Option<epoll::EventFlags>,
}

/// The progress of a connection.
pub(super) enum Stage {
    Head {
        buffer: Vec<u8>,
        scanner: Scanner,
    },
    Body {
        head: Box<Head>,
        body: BodyDecoder,
        respond: Responder,
    },
    /// A worker has the request, with a body of this size (bytes).
    Working(usize),
    /// The request waits for something to finish.
    Parked(Box<Wait>),
    /// The reply is written at the deadline.
    Delayed(Reply),
    Writing {
        bytes: Vec<u8>,
        written: usize,
    },
    /// The reply is written; up to this much more input is discarded (bytes).
    Draining(usize),
}

impl Connection {
    pub(super) fn new(id: u64, stream: TcpStream, peer: IpAddr, now: Instant) -> Connection {
        Connection {
            id,
            stream,
            peer,
            path: None,
            head_only: false,
            has_unread_input: true,
            progress: 0,
            deadline: Some(now + HEAD_TIME),
            stage: Stage::Head {
                buffer: Vec::new(),
                scanner: Scanner::default(),
            },
            prefix: client::prefix(peer),
            since: now,
            interest: None,
        }
    }

    /// Begins a stage in which we wait for the client again.
    pub(super) fn enter(&mut self, stage: Stage, now: Instant, deadline: Instant) {
        self.stage = stage;
        self.since = now;
        self.progress = 0;
        self.deadline = Some(deadline);
    }

    /// Adds received or written bytes.
    pub(super) fn add_progress(&mut self, bytes: usize) {
        self.progress += u64::try_from(bytes).unwrap_or(0);
    }

    /// Returns true while we wait for the client, so that the connection may be closed to make room for others.
    fn is_unfinished(&self) -> bool {
        !matches!(self.stage, Stage::Working(_) | Stage::Parked(_))
    }

    fn bytes_held(&self) -> usize {
        match &self.stage {
            Stage::Head { buffer, .. } => buffer.capacity(),
            Stage::Body { body, .. } => body.capacity(),
            Stage::Working(body) => *body,
            Stage::Delayed(reply) => reply.body.len(),
            Stage::Writing { bytes, .. } => bytes.len(),
            Stage::Parked(_) | Stage::Draining(_) => 0,
        }
    }

    /// The events to wait for; errors are always reported. While the client has to wait, no others: one that has closed its sending
    /// direction (RFC 9112 section 9.6) still reads, and would be reported for ever.
    fn wanted_events(&self) -> epoll::EventFlags {
        match &self.stage {
            Stage::Head { .. } | Stage::Body { .. } | Stage::Draining(_) => epoll::EventFlags::IN,
            Stage::Writing { .. } => epoll::EventFlags::OUT,
            Stage::Working(_) | Stage::Parked(_) | Stage::Delayed(_) => epoll::EventFlags::empty(),
        }
    }

    fn waited_millis(&self, now: Instant) -> u64 {
        let waited = now.saturating_duration_since(self.since).as_millis();
        u64::try_from(waited).unwrap_or(u64::MAX)
    }

    /// Bytes by which the client is behind [`EXPECTED_RATE`]. A new connection is not behind.
    fn behind(&self, now: Instant) -> i64 {
        let expected = self.waited_millis(now).saturating_mul(EXPECTED_RATE) / 1000;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        signed(expected).saturating_sub(signed(self.progress))
    }

    /// The average rate of the client (bytes per second).
    fn rate(&self, now: Instant) -> u64 {
        self.progress.saturating_mul(1000) / self.waited_millis(now).max(1)
    }
}

/// The connections between two events.
pub(super) struct Connections {
    epoll: OwnedFd,
    by_id: HashMap<u64, Connection>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// The unfinished connections of each prefix.
    prefixes: HashMap<IpAddr, Usage>,
    /// Bytes held by all connections.
    bytes: usize,
}

#[derive(Clone, Copy, Default)]
struct Usage {
    connections: usize,
    bytes: usize,
}

/// The result of looking for a connection to close.
pub(super) enum Eviction {
    Close(u64),
    /// All are too young until then.
    NotBefore(Instant),
    /// No connection may be closed.
    Impossible,
}

impl Connections {
    /// Errors: the system has no descriptor left.
    pub(super) fn new() -> io::Result<Connections> {
        Ok(Connections {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            by_id: HashMap::new(),
            deadlines: BTreeSet::new(),
            prefixes: HashMap::new(),
            bytes: 0,
        })
    }

    /// Waits for events until the given time or the next deadline.
    ///
    /// Errors: the system cannot wait.
    pub(super) fn wait(
        &self,
        events: &mut Vec<epoll::Event>,
        until: Option<Instant>,
    ) -> io::Result<()> {
        let deadline = self.deadlines.first().map(|(due, _)| *due);
        let timeout = [until, deadline].into_iter().flatten().min().map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            // Nanoseconds: rounded down to milliseconds, the last one would be spent spinning.
            Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        events.clear();
        let spare = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reports input on a descriptor that is not a connection.
    ///
    /// Errors: the system refuses.
    pub(super) fn watch(&self, descriptor: impl AsFd, tag: u64) -> io::Result<()> {
        let tag = epoll::EventData::new_u64(tag);
        Ok(epoll::add(
            &self.epoll,
            descriptor,
            tag,
            epoll::EventFlags::IN,
        )?)
    }

    pub(super) fn unwatch(&self, descriptor: impl AsFd) {
        // Fails only if it is not watched.
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.by_id.keys().copied().collect()
    }

    /// The requests that wait for this.
    pub(super) fn waiting_for(&self, awaited: &Awaited) -> Vec<u64> {
        let is_waiting = |connection: &&Connection| matches!(&connection.stage, Stage::Parked(wait) if wait.awaited == *awaited);
        let connections = self.by_id.values().filter(is_waiting);
        connections.map(|connection| connection.id).collect()
    }

    /// A connection whose deadline has passed.
    pub(super) fn overdue(&self, now: Instant) -> Option<u64> {
        let (due, id) = self.deadlines.first()?;
        (*due <= now).then_some(*id)
    }

    /// Takes a connection out of the table and of every sum.
    pub(super) fn take(&mut self, id: u64) -> Option<Connection> {
        let connection = self.by_id.remove(&id)?;
        if let Some(deadline) = connection.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        let held = connection.bytes_held();
        self.bytes -= held;
        if connection.is_unfinished()
            && let Some(usage) = self.prefixes.get_mut(&connection.prefix)
        {
            usage.connections -= 1;
            usage.bytes -= held;
            if usage.connections == 0 {
                self.prefixes.remove(&connection.prefix);
            }
        }
        Some(connection)
    }

    /// Stores a connection until its next event or its deadline.
    pub(super) fn keep(&mut self, mut connection: Connection) {
        self.register(&mut connection);
        if let Some(deadline) = connection.deadline {
            self.deadlines.insert((deadline, connection.id));
        }
        let held = connection.bytes_held();
        self.bytes += held;
        if connection.is_unfinished() {
            let usage = self.prefixes.entry(connection.prefix).or_default();
            usage.connections += 1;
            usage.bytes += held;
        }
        self.by_id.insert(connection.id, connection);
    }

    /// Asks epoll for the events of the stage. A request that arrived with its connection is never registered.
    fn register(&self, connection: &mut Connection) {
        let wanted = connection.wanted_events();
        let tag = epoll::EventData::new_u64(connection.id);
        let registered = match connection.interest {
            Some(current) if current == wanted => return,
            Some(_) => epoll::modify(&self.epoll, &connection.stream, tag, wanted),
            None if matches!(connection.stage, Stage::Working(_)) => return,
            None => epoll::add(&self.epoll, &connection.stream, tag, wanted),
        };
        match registered {
            Ok(()) => connection.interest = Some(wanted),
            // Its deadline closes it.
            Err(error) => log::error!("cannot watch a connection: {error}"),
        }
    }

    /// Looks for the slowest connection of the prefix that holds most of those that may be closed. `max` is the number of all
    /// connections that there may be.
    pub(super) fn find_slowest(&self, now: Instant, max: usize) -> Eviction {
        let share = |connection: &Connection| self.usage(connection).connections;
        let slowest = self
            .unfinished()
            .max_by_key(|connection| (share(connection), connection.behind(now)));
        let Some(slowest) = slowest else {
            return Eviction::Impossible;
        };
        let grace = match share(slowest) > max / 4 {
            true => GRACE_CROWD,
            false => GRACE,
        };
        match slowest.since + grace {
            closable_at if closable_at > now => Eviction::NotBefore(closable_at),
            _ => Eviction::Close(slowest.id),
        }
    }

    /// The slowest connection of the prefix that holds most bytes of those that may be closed.
    pub(super) fn find_largest(&self, now: Instant) -> Option<u64> {
        let slowest = self
            .unfinished()
            .filter(|connection| connection.bytes_held() > 0)
            .max_by_key(|connection| (self.usage(connection).bytes, Reverse(connection.rate(now))));
        slowest.map(|connection| connection.id)
    }

    fn unfinished(&self) -> impl Iterator<Item = &Connection> {
        let connections = self.by_id.values();
        connections.filter(|connection| connection.is_unfinished())
    }

    /// The usage of the connection's prefix.
    fn usage(&self, connection: &Connection) -> Usage {
        let usage = self.prefixes.get(&connection.prefix);
        usage.copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
