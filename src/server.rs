//! tiny_http, between the gate and whoever stands behind: requests that were admitted go through it over a few private connections,
//! one plain request each, and its workers answer them. The only module that knows it; without it, everything works the same.

mod private;
mod worker;

use std::io::{self, BufReader, Write};
use std::net::{IpAddr, Shutdown};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::gate::open_files;
use crate::http::Reply;
use crate::limits;
use crate::request::{Answer, Behind, Refusal, Request, Wait};
use crate::secret::{self, Secret};
use worker::{Inside, Workers};

/// Passes on what it is asked, requests to be handled by way of tiny_http.
pub(crate) struct Hop {
    inside: Arc<Inside>,
    lines: Mutex<Lines>,
    freed: Condvar,
}

/// Private connections that were proven to work.
#[derive(Default)]
struct Lines {
    free: Vec<Line>,
    /// Of the tiny_http to which all of them lead; `None`: one of them broke, and a new tiny_http has to be started.
    workers: Option<Arc<Workers>>,
    /// Who waits for a free one.
    wanted: usize,
}

/// A private connection; nothing is left in its buffer between two requests.
struct Line {
    stream: Stream,
    /// Its workers stay until the last line to them is gone.
    workers: Arc<Workers>,
}

impl Hop {
    /// Starts tiny_http and its workers, and proves that they answer.
    ///
    /// # Errors
    /// What the system refused.
    pub(crate) fn new(behind: Arc<dyn Behind>) -> Result<Hop, String> {
        let token = Secret::generate(32).map_err(|error| error.to_string())?;
        let inside = Arc::new(Inside::new(behind, token));
        let lines = open(&inside)
            .map_err(|error| format!("cannot open the private connections: {error}"))?;
        Ok(Hop {
            inside,
            lines: Mutex::new(lines),
            freed: Condvar::new(),
        })
    }

    fn exchange(&self, request: &Request) -> Result<Answer, NotAnswered> {
        let mut line = self.take()?;
        let exchanged = exchange(&mut line.stream, &self.inside.token, request);
        match exchanged {
            Ok((reply, number)) => {
                self.give_back(line);
                let wait = number.and_then(|number| lock(&self.inside.waits).remove(&number));
                Ok(Answer { reply, wait })
            }
            Err(error) => {
                log::error!("a private connection broke: {error}");
                self.lost(&line);
                Err(NotAnswered::Broken)
            }
        }
    }

    /// A free line, perhaps after a while. Lines do not break unless something is wrong with tiny_http; when one has, a new one is
    /// started by whoever comes next, because nothing listens at the old one any more.
    fn take(&self) -> Result<Line, NotAnswered> {
        let until = Instant::now() + limits::HAND_OVER;
        let mut lines = lock(&self.lines);
        loop {
            if let Some(line) = lines.free.pop() {
                return Ok(line);
            }
            if lines.workers.is_none() {
                let wanted = lines.wanted;
                *lines = self.open()?;
                lines.wanted = wanted;
                self.freed.notify_all();
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotAnswered::Busy);
            }
            lines.wanted += 1;
            let waited = self.freed.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
            lines.wanted -= 1;
        }
    }

    fn open(&self) -> Result<Lines, NotAnswered> {
        let opened = if self.inside.workers.load(Ordering::SeqCst) > limits::WORKERS_LEFT {
            Err(io::Error::other("too many workers have not come back"))
        } else {
            let opened = catch_unwind(AssertUnwindSafe(|| open(&self.inside)));
            opened.unwrap_or_else(|_| Err(io::Error::other("the system gives no thread")))
        };
        opened.map_err(|error| {
            log::error!("cannot open the private connections: {error}");
            NotAnswered::Broken
        })
    }

    fn give_back(&self, line: Line) {
        let mut lines = lock(&self.lines);
        if !lines.own(&line) {
            return;
        }
        lines.free.push(line);
        let wanted = lines.wanted > 0;
        drop(lines);
        if wanted {
            self.freed.notify_one();
        }
    }

    /// Gives up all lines to this one's tiny_http. What is asked on others of them is still answered.
    fn lost(&self, line: &Line) {
        let mut lines = lock(&self.lines);
        if lines.own(line) {
            lines.workers = None;
            lines.free.clear();
        }
        drop(lines);
        self.freed.notify_one();
    }
}

impl Lines {
    /// Whether it is none of an earlier tiny_http.
    fn own(&self, line: &Line) -> bool {
        let workers = self.workers.as_ref();
        workers.is_some_and(|workers| Arc::ptr_eq(workers, &line.workers))
    }
}

/// Why a request was not handled.
enum NotAnswered {
    /// No line was free in time.
    Busy,
    /// The line broke; whether the request was handled is not known.
    Broken,
}

impl Behind for Hop {
    fn turn_away(&self, request: &Request) -> Option<Reply> {
        self.inside.behind.turn_away(request)
    }

    fn handle(&self, request: &Request) -> Answer {
        self.exchange(request).unwrap_or_else(|why| {
            let why = match why {
                NotAnswered::Busy => Refusal::Busy,
                NotAnswered::Broken => Refusal::Panicked,
            };
            Answer::now(self.refuse(Some(&request.path), request.peer, why))
        })
    }

    fn wait(&self, wait: &Wait, listening: &dyn Fn() -> bool) -> Reply {
        self.inside.behind.wait(wait, listening)
    }

    fn refuse(&self, path: Option<&str>, peer: IpAddr, why: Refusal) -> Reply {
        self.inside.behind.refuse(path, peer, why)
    }
}

/// A tiny_http of its own with workers and proven lines, which nobody else can reach: once they are connected, nothing listens any
/// more. An abstract socket has no file that could be in the way, or forbidden.
fn open(inside: &Arc<Inside>) -> io::Result<Lines> {
    let name: [u8; 16] = secret::random().map_err(|error| io::Error::other(error.to_string()))?;
    let address = SocketAddr::from_abstract_name(format!("stackhook-{}", secret::to_hex(&name)))?;
    let listener = UnixListener::bind_addr(&address)?;
    let door = UnixStream::from(OwnedFd::from(listener.try_clone()?));
    let http = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
    let workers = Arc::new(Workers::start(http, inside)?);
    // Each line takes three descriptors.
    let few = open_files() < limits::FEW_DESCRIPTORS;
    let wanted = if few { 1 } else { limits::WORKERS };
    // One after the other: tiny_http may forget one of several that come at once.
    let lines = (0..wanted).map(|_| {
        let mut stream = BufReader::with_capacity(BUFFER, UnixStream::connect_addr(&address)?);
        prove(&mut stream, &inside.token)?;
        Ok(Line {
            stream,
            workers: Arc::clone(&workers),
        })
    });
    let free = lines.collect::<io::Result<Vec<_>>>()?;
    door.shutdown(Shutdown::Both)?;
    Ok(Lines {
        free,
        workers: Some(workers),
        wanted: 0,
    })
}

type Stream = BufReader<UnixStream>;

/// Of a line (bytes): most replies are no longer.
const BUFFER: usize = 2 * 1024;

/// A request that a worker answers by itself.
fn prove(line: &mut Stream, token: &Secret) -> io::Result<()> {
    line.get_ref().set_read_timeout(Some(limits::PROOF))?;
    line.get_ref().set_write_timeout(Some(limits::PROOF))?;
    line.get_ref().write_all(&private::probe(token))?;
    let (reply, _) = private::read_reply(line)?;
    line.get_ref().set_read_timeout(Some(limits::HAND_OVER))?;
    line.get_ref().set_write_timeout(Some(limits::HAND_OVER))?;
    match reply.status {
        204 => Ok(()),
        status => Err(io::Error::other(format!("the proof was answered {status}"))),
    }
}

fn exchange(
    line: &mut Stream,
    token: &Secret,
    request: &Request,
) -> io::Result<(Reply, Option<u64>)> {
    let body = request.body.forward();
    let mut bytes = private::head(token, request);
    let mut to = line.get_ref();
    if body.len() <= limits::SMALL_BODY {
        // One write wakes the other side once.
        bytes.extend_from_slice(body);
        to.write_all(&bytes)?;
    } else {
        to.write_all(&bytes)?;
        to.write_all(body)?;
    }
    let reply = private::read_reply(line)?;
    if line.buffer().is_empty() {
        Ok(reply)
    } else {
        Err(io::Error::other("more than one reply came"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
