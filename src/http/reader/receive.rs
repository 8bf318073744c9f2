//! Receives requests: reads, parses the head, has it admitted, and hands the complete request to a worker.

use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;

use super::{READ_BATCH, Reader, no_panic};
use crate::http::body::BodyDecoder;
use crate::http::client;
use crate::http::connections::{Connection, Stage};
use crate::http::parse::{BadHead, Framing, Head, parse_head};
use crate::http::reader::respond::write_some;
use crate::http::{Method, Refusal, Request, Responder};
use crate::message::Reply;
use crate::signature::UnverifiedBody;

/// A body must be complete this long after its head.
const BODY_TIME: Duration = Duration::from_secs(20);

/// The reason for not reading further.
enum EarlyEnd {
    Close,
    Refuse(Refusal),
    Reply(Reply),
}

impl From<Refusal> for EarlyEnd {
    fn from(why: Refusal) -> EarlyEnd {
        EarlyEnd::Refuse(why)
    }
}

/// A complete request and the function that answers it.
type Received = (Responder, Request);

impl Reader {
    pub(super) fn socket_ready(&mut self, id: u64, flags: epoll::EventFlags) {
        // Closed or evicted in this turn.
        let Some(connection) = self.connections.take(id) else {
            return;
        };
        match &connection.stage {
            Stage::Head { .. } | Stage::Body { .. } => self.receive(connection),
            Stage::Writing { .. } => self.write(connection),
            Stage::Draining(_) => self.drain(connection),
            // Only errors are reported here: the client has reset the connection, or keepalive found it dead.
            Stage::Working(_) | Stage::Parked(_) | Stage::Delayed(_) => {
                if !flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                    self.connections.keep(connection);
                }
            }
        }
    }

    pub(super) fn receive(&mut self, mut connection: Connection) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let received = self.read_request(&mut connection, &mut scratch);
        self.scratch = scratch;
        match received {
            Ok(None) => self.keep_bounded(connection),
            Ok(Some((respond, request))) => {
                let size = request.body.len();
                if !self.has_memory_for(size) {
                    return self.refuse(connection, Refusal::Busy);
                }
                connection.stage = Stage::Working(size);
                connection.deadline = None;
                let id = connection.id;
                self.connections.keep(connection);
                self.pool.submit(id, Box::new(move || respond(request)));
            }
            Err(EarlyEnd::Close) => {}
            Err(EarlyEnd::Refuse(why)) => self.refuse(connection, why),
            Err(EarlyEnd::Reply(reply)) => self.reply(connection, &reply),
        }
    }

    /// Reads until the request is complete, the socket is empty, or others are to be served.
    fn read_request(
        &mut self,
        connection: &mut Connection,
        scratch: &mut [u8],
    ) -> Result<Option<Received>, EarlyEnd> {
        for _ in 0..READ_BATCH {
            let read = match connection.stream.read(scratch) {
                Ok(0) if connection.progress == 0 => return Err(EarlyEnd::Close),
                Ok(0) => return Err(Refusal::Malformed.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(EarlyEnd::Close),
            };
            connection.add_progress(read);
            let input = scratch.get(..read).unwrap_or_default();
            let received = match &mut connection.stage {
                Stage::Head { buffer, scanner } => {
                    buffer.extend_from_slice(input);
                    match scanner.find_end(buffer)? {
                        None => None,
                        Some(end) => {
                            let bytes = std::mem::take(buffer);
                            let (head, rest) = bytes.split_at_checked(end).unwrap_or((&bytes, &[]));
                            self.begin_body(connection, head, rest)?;
                            consume_body(connection, rest)?
                        }
                    }
                }
                _ => consume_body(connection, input)?,
            };
            if received.is_some() || read < scratch.len() {
                return Ok(received);
            }
        }
        Ok(None)
    }

    /// Decides about a complete head before any of its body is read. `rest` has already arrived behind it.
    fn begin_body(
        &mut self,
        connection: &mut Connection,
        head: &[u8],
        rest: &[u8],
    ) -> Result<(), EarlyEnd> {
        let head = parse_head(head).map_err(|BadHead { path, why }| {
            connection.path = path;
            why
        })?;
        self.warn_about_forwarded(connection, &head);
        let proxies = &self.settings.trusted_proxies;
        connection.peer = client::address(connection.peer, &head.headers, proxies);
        connection.path = Some(head.path.clone());
        connection.head_only = head.method == Method::Head;
        connection.has_unread_input = head.framing != Framing::Length(rest.len());
        let handler = Arc::clone(&self.handler);
        let admitted =
            no_panic(|| handler.admit(&head.method, &head.path, &head.headers, connection.peer));
        let respond = admitted
            .ok_or(Refusal::Panicked)?
            .map_err(EarlyEnd::Reply)?;
        let body = BodyDecoder::new(head.framing, self.settings.max_body)?;
        if head.expects_continue && head.framing != Framing::Length(0) && rest.is_empty() {
            let line = b"HTTP/1.1 100 Continue\r\n\r\n";
            let sent = write_some(&mut connection.stream, line);
            if !sent.is_ok_and(|sent| sent == line.len()) {
                return Err(EarlyEnd::Close);
            }
        }
        connection.deadline = Some(self.now + BODY_TIME);
        connection.stage = Stage::Body {
            head: Box::new(head),
            body,
            respond,
        };
        Ok(())
    }

    /// A proxy that is missing in `trusted_proxies` makes all clients look like one.
    fn warn_about_forwarded(&mut self, connection: &Connection, head: &Head) {
        if self.warned_forwarded || head.headers.get("x-forwarded-for").is_none() {
            return;
        }
        let peer = connection.peer.to_canonical();
        let proxies = &self.settings.trusted_proxies;
        if !proxies.iter().any(|network| network.contains(peer)) {
            self.warned_forwarded = true;
            log::warn!(
                "\"X-Forwarded-For\" from {peer} is ignored; if that is your proxy, add it to \"trusted_proxies\" (STACKHOOK_TRUSTED_PROXIES)"
            );
        }
    }
}

fn consume_body(connection: &mut Connection, input: &[u8]) -> Result<Option<Received>, EarlyEnd> {
    let Stage::Body { body, .. } = &mut connection.stage else {
        return Err(EarlyEnd::Close);
    };
    let Some(used) = body.feed(input)? else {
        return Ok(None);
    };
    connection.has_unread_input = used < input.len();
    match std::mem::replace(&mut connection.stage, Stage::Working(0)) {
        Stage::Body {
            head,
            body,
            respond,
        } => {
            let request = Request {
                method: head.method,
                path: head.path,
                query: head.query,
                headers: head.headers,
                body: UnverifiedBody::new(body.into_bytes()),
            };
            Ok(Some((respond, request)))
        }
        _ => Err(EarlyEnd::Close),
    }
}
