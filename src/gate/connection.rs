//! One connection from its first byte to its last: reads a request, asks whoever stands behind, writes the reply. Every read and
//! write has a deadline that no trickle of bytes moves.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Inside;
use super::body::{self, Broken, Coming, Share};
use super::head::{self, Head, Scan};
use super::peer;
use super::reply::{self, Body};
use super::slots::Visit;
use crate::limits;
use crate::message::Reply;
use crate::request::{Refusal, Request, Wait};
use crate::signature::UnverifiedBody;

/// What a thread reads heads into, kept from one connection to the next: memory that is asked for each time is asked for from all
/// threads at once, and they wait for each other.
#[derive(Default)]
pub(super) struct Space(Vec<u8>);

/// Serves one connection to its end. A panic in whoever stands behind is answered like any other mistake of ours.
// Inlined, its frame would be on the stack of every thread that never served anybody.
#[inline(never)]
pub(super) fn serve(inside: &Inside, visit: &Visit, space: &mut Space) {
    let asked = match read(inside, visit, space) {
        Ok(asked) => asked,
        Err(NotAsked::Gone) => return,
        Err(NotAsked::Refused { path, why }) => {
            let refuse = || inside.behind.refuse(path.as_deref(), visit.peer(), why);
            let refusal = contained(refuse).unwrap_or_else(|| Reply::text(500, ""));
            write(visit.stream(), &refusal, Body::Sent);
            return linger(visit.stream());
        }
    };
    visit.has_asked();
    let body = match asked.request.method {
        "HEAD" => Body::LeftOut,
        _ => Body::Sent,
    };
    let (path, peer) = (asked.request.path.clone(), asked.request.peer);
    let reply = contained(|| answer(inside, visit, asked.request, asked.share))
        .or_else(|| contained(|| inside.behind.refuse(Some(&path), peer, Refusal::Panicked)))
        .unwrap_or_else(|| Reply::text(500, ""));
    write(visit.stream(), &reply, body);
    if asked.more {
        visit.was_told();
        linger(visit.stream());
    }
}

/// A request, and what has to be known of how it came.
struct Asked {
    request: Request,
    share: Share,
    /// The client sent more than its request.
    more: bool,
}

/// There is no request.
enum NotAsked {
    Gone,
    Refused { path: Option<String>, why: Refusal },
}

fn read(inside: &Inside, visit: &Visit, space: &mut Space) -> Result<Asked, NotAsked> {
    let mut source = Timed {
        stream: visit.stream(),
        until: visit.since() + limits::HEAD_TIME,
    };
    let (bytes, end) = read_head(&mut source, space).map_err(|broken| not_asked(None, broken))?;
    let (head, start) = bytes.split_at_checked(end).unwrap_or_default();
    let head = head::parse(head).map_err(|bad| NotAsked::Refused {
        path: bad.path,
        why: bad.why,
    })?;
    source.until = Instant::now() + limits::BODY_TIME;
    let body = Coming::new(head.framing, inside.max_body, &inside.room)
        .map_err(Broken::from)
        .and_then(|coming| {
            if head.expects && start.is_empty() {
                source.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            coming.read(start, &mut source)
        });
    match body {
        Ok(body) => Ok(Asked {
            request: request(inside, visit, head, body.bytes),
            share: body.share,
            more: body.more,
        }),
        Err(broken) => Err(not_asked(Some(head.path), broken)),
    }
}

fn request(inside: &Inside, visit: &Visit, head: Head, body: Vec<u8>) -> Request {
    Request {
        peer: peer::client(visit.peer(), &head.headers, &inside.trusted_proxies),
        method: head.method,
        path: head.path,
        query: head.query,
        headers: head.headers,
        body: UnverifiedBody::new(body),
    }
}

/// Everything up to the end of the head, perhaps more; and where the head ends.
fn read_head<'s>(
    source: &mut impl Read,
    Space(bytes): &'s mut Space,
) -> Result<(&'s [u8], usize), Broken> {
    // A long head leaves no large space behind.
    bytes.truncate(PART);
    bytes.shrink_to(PART);
    let (mut read, mut scan) = (0, Scan::default());
    loop {
        if read == bytes.len() {
            bytes.resize(read + PART, 0);
        }
        match body::some(source, bytes.get_mut(read..).unwrap_or_default()) {
            Ok(more) => read += more,
            Err(Broken::Refused(Refusal::BadHead)) if read == 0 => return Err(Broken::Gone),
            Err(broken) => return Err(broken),
        }
        if let Some(end) = scan.find_end(bytes.get(..read).unwrap_or_default())? {
            return Ok((bytes.get(..read).unwrap_or_default(), end));
        }
    }
}

/// Read at once of a head (bytes): most requests are no longer, body and all.
const PART: usize = 4 * 1024;

fn not_asked(path: Option<String>, broken: Broken) -> NotAsked {
    match broken {
        Broken::Gone => NotAsked::Gone,
        Broken::Refused(why) => NotAsked::Refused { path, why },
    }
}

/// The reply, after waiting for a better one where that was proposed and a place for it is free.
fn answer(inside: &Inside, visit: &Visit, request: Request, share: Share) -> Reply {
    if let Some(reply) = inside.behind.turn_away(&request) {
        return reply;
    }
    let answer = inside.behind.handle(&request);
    // A waiter keeps nothing but its connection.
    drop((request, share));
    let Some(wait) = answer.wait else {
        return answer.reply;
    };
    match Place::take(&inside.waiting, inside.slots.waiters()) {
        Some(_place) => inside.behind.wait(&wait, &|| still_there(visit.stream())),
        None => {
            let until = Instant::now();
            inside.behind.wait(&Wait { until, ..wait }, &|| true)
        }
    }
}

/// A place among those who wait.
struct Place<'w>(&'w AtomicUsize);

impl<'w> Place<'w> {
    fn take(waiting: &'w AtomicUsize, most: usize) -> Option<Place<'w>> {
        let taken = waiting.fetch_add(1, Ordering::SeqCst);
        let place = Place(waiting);
        (taken < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the client has neither closed nor reset. What it sends meanwhile means nothing.
fn still_there(mut stream: &TcpStream) -> bool {
    let mut part = [0; 1024];
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let read = stream.read(&mut part);
    let there = match read {
        Ok(read) => read > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    };
    stream.set_nonblocking(false).is_ok() && there
}

fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn write(stream: &TcpStream, reply: &Reply, body: Body) {
    let mut to = Timed {
        stream,
        until: Instant::now() + limits::REPLY_TIME,
    };
    let written = to.write_all(&reply::bytes(reply, body));
    if let Err(error) = written {
        log::debug!("a reply was not taken: {error}");
    }
}

/// Closing at once while something is still unread would take back what was written (RFC 9112 section 9.6).
fn linger(stream: &TcpStream) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let (time, bytes) = limits::LINGER;
    let mut source = Timed {
        stream,
        until: Instant::now() + time,
    };
    let (mut part, mut all) = (vec![0; PART], 0);
    while all < bytes {
        match source.read(&mut part) {
            Ok(read @ 1..) => all += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// A stream with a deadline for all reads and writes together.
struct Timed<'s> {
    stream: &'s TcpStream,
    until: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(ErrorKind::TimedOut.into())
        } else {
            Ok(Some(left))
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(part)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(part)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_earlier_connection_is_read_again() {
        let mut space = Space::default();
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2 * PART));
        let signed = "POST / HTTP/1.1\r\nx-token: secret\r\n\r\nbody";
        for request in [&long, signed, "GET / HTTP/1.1\r\n\r\n"] {
            let read = read_head(&mut request.as_bytes(), &mut space);
            let (bytes, end) = read.unwrap_or_else(|_| panic!("{request}"));
            assert_eq!(bytes, request.as_bytes());
            assert!(request[..end].ends_with("\r\n\r\n"));
        }
        assert_eq!(
            space.0.capacity(),
            PART,
            "a long head leaves no large space"
        );
    }
}
