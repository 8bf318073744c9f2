//! tiny_http, between the gate and whoever stands behind: requests that were admitted go through it over a few private connections,
//! one plain request each, and its workers answer them. The only module that knows it; without it, everything works the same.

mod private;
mod worker;
mod line;

use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits;
use crate::message::Reply;
use crate::request::{Answer, Behind, Refusal, Request, Wait};
use crate::secret::Secret;
use line::{Line, Opening};
use worker::{Inside, Workers};

/// Passes on what it is asked, requests to be handled by way of tiny_http.
pub(crate) struct Hop {
    inside: Arc<Inside>,
    lines: Mutex<Lines>,
    freed: Condvar,
    /// Until `fill` has opened the lines that are missing.
    opening: Mutex<Option<Opening>>,
}

/// Private connections that were proven to work.
struct Lines {
    free: Vec<Line>,
    /// Of the tiny_http to which all of them lead; `None`: one of them broke, and a new tiny_http has to be started.
    workers: Option<Arc<Workers>>,
    /// Who waits for a free one.
    wanted: usize,
}

impl Hop {
    /// Starts tiny_http and its workers, and proves on a first line that they answer.
    ///
    /// # Errors
    /// What the system refused.
    pub(crate) fn new(behind: Arc<dyn Behind>) -> Result<Hop, String> {
        let token = Secret::generate(32).map_err(|error| error.to_string())?;
        let inside = Arc::new(Inside::new(behind, token));
        let failed = |error: io::Error| format!("cannot open the private connections: {error}");
        let opening = Opening::new(&inside).map_err(failed)?;
        let first = opening.line(&inside.token).map_err(failed)?;
        Ok(Hop {
            lines: Mutex::new(Lines {
                free: vec![first],
                workers: Some(Arc::clone(&opening.workers)),
                wanted: 0,
            }),
            inside,
            freed: Condvar::new(),
            opening: Mutex::new(Some(opening)),
        })
    }

    /// Opens the lines that are missing, while the first one is in use already.
    pub(crate) fn fill(&self) {
        let Some(opening) = lock(&self.opening).take() else {
            return;
        };
        for _ in 1..line::wanted() {
            match opening.line(&self.inside.token) {
                Ok(line) => self.give_back(line),
                Err(error) => {
                    log::warn!("there are fewer private connections than there should be: {error}");
                    return;
                }
            }
        }
    }

    fn exchange(&self, request: &Request) -> Result<Answer, NotAnswered> {
        let mut line = self.take()?;
        let exchanged = line.exchange(&self.inside.token, request);
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

/// Another tiny_http with all its lines.
fn open(inside: &Arc<Inside>) -> io::Result<Lines> {
    let opening = Opening::new(inside)?;
    let lines = (0..line::wanted()).map(|_| opening.line(&inside.token));
    Ok(Lines {
        free: lines.collect::<io::Result<Vec<_>>>()?,
        workers: Some(Arc::clone(&opening.workers)),
        wanted: 0,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
