//! Responds: writes replies as fast as the client takes them, and keeps requests that wait for something.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

use super::{READ_BATCH, Reader, no_panic};
use crate::http::connections::{Connection, Stage};
use crate::http::reply::encode;
use crate::http::{Answer, Refusal, WaitEnd};
use crate::message::Reply;

/// A reply must be taken within this time.
const REPLY_TIME: Duration = Duration::from_secs(10);
/// Unread input is discarded for this long and up to this size (bytes) after an early reply: closing at once would make the kernel
/// reset the connection and destroy the reply (RFC 9112 section 9.6).
const DRAIN: (Duration, usize) = (Duration::from_secs(1), 16 * 1024 * 1024);
/// Idle time before TCP checks that a waiting client still exists, the interval and the number of checks.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(15), 4);

impl Reader {
    /// Acts on a worker's answer.
    pub(super) fn answered(&mut self, id: u64, answer: Option<Answer>) {
        // The client may have reset the connection meanwhile.
        let Some(mut connection) = self.connections.take(id) else {
            return;
        };
        let when_stopping = |due| self.stop_waits_at.map_or(due, |stop| stop.min(due));
        match answer {
            None => self.refuse(connection, Refusal::Panicked),
            Some(Answer::Now(reply)) => self.reply(connection, &reply),
            Some(Answer::Later(reply, delay)) => {
                let due = when_stopping(self.now + delay);
                connection.enter(Stage::Delayed(reply), self.now, due);
                self.keep_bounded(connection);
            }
            Some(Answer::Wait(wait)) => {
                keep_alive(&connection.stream);
                let due = when_stopping(wait.until);
                connection.enter(Stage::Parked(Box::new(wait)), self.now, due);
                self.connections.keep(connection);
            }
        }
    }

    /// Has a worker render the reply to a request that has waited.
    pub(super) fn unpark(&mut self, id: u64, end: WaitEnd) {
        let Some(mut connection) = self.connections.take(id) else {
            return;
        };
        if let Stage::Parked(wait) = std::mem::replace(&mut connection.stage, Stage::Working(0)) {
            connection.deadline = None;
            self.connections.keep(connection);
            let finish = move || Answer::Now((wait.finish)(end));
            self.pool.submit(id, Box::new(finish));
        }
    }

    /// Replies that the server itself refuses the request.
    pub(super) fn refuse(&mut self, connection: Connection, why: Refusal) {
        let path = connection.path.as_deref();
        let refused = no_panic(|| self.handler.refuse(path, connection.peer, why));
        let reply = refused.unwrap_or_else(|| Reply::text(500, "internal error\n"));
        self.reply(connection, &reply);
    }

    pub(super) fn reply(&mut self, mut connection: Connection, reply: &Reply) {
        let bytes = encode(reply, connection.head_only);
        let stage = Stage::Writing { bytes, written: 0 };
        connection.enter(stage, self.now, self.now + REPLY_TIME);
        self.write(connection);
    }

    pub(super) fn write(&mut self, mut connection: Connection) {
        let Stage::Writing { bytes, written } = &mut connection.stage else {
            return;
        };
        let unsent = bytes.get(*written..).unwrap_or_default();
        let (more, is_complete) = match write_some(&mut connection.stream, unsent) {
            Ok(more) => (more, more == unsent.len()),
            Err(error) => {
                log::debug!("the client has closed its connection before the reply: {error}");
                return;
            }
        };
        *written += more;
        connection.add_progress(more);
        if !is_complete {
            return self.keep_bounded(connection);
        }
        if connection.has_unread_input && connection.stream.shutdown(Shutdown::Write).is_ok() {
            connection.enter(Stage::Draining(DRAIN.1), self.now, self.now + DRAIN.0);
            self.drain(connection);
        }
    }

    /// Discards input after the reply.
    pub(super) fn drain(&mut self, mut connection: Connection) {
        for _ in 0..READ_BATCH {
            let Stage::Draining(left) = &mut connection.stage else {
                return;
            };
            match connection.stream.read(&mut self.scratch) {
                Ok(read) if read > 0 && read < *left => *left -= read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
        self.connections.keep(connection);
    }
}

fn keep_alive(stream: &TcpStream) {
    let (idle, interval, count) = KEEPALIVE;
    let set = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, idle))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, interval))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, count));
    if let Err(error) = set {
        log::debug!("cannot watch over a waiting client: {error}");
    }
}

/// Writes until the socket takes no more. Returns the number of bytes written.
pub(super) fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(bytes.get(written..).unwrap_or_default()) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
