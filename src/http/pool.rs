//! The workers: a few threads that run the handler and write replies. Between them and the reader thread there is a mailbox.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::reply::encode;
use super::{Answer, Awaited, Handler, Refusal, Request, Wait, WaitEnd};
use crate::message::Reply;

/// The bounds for the number of workers. Handlers take microseconds, or one fsync of the journal.
const WORKERS: (usize, usize) = (4, 8);
/// The stack of a worker (bytes). In a test build the deepest handler, rendering the page, needs 200 KB.
const STACK: usize = 1024 * 1024;

/// A socket whose request has been received.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The reader's number for the connection.
    pub(super) id: u64,
    pub(super) stream: TcpStream,
    /// The request was HEAD.
    pub(super) head_only: bool,
    /// The client has sent more than its request, so closing at once would destroy the reply.
    pub(super) has_unread_input: bool,
}

/// A report to the reader thread.
pub(super) enum Message {
    /// The connection is closed.
    Closed(u64),
    /// The rest of a reply, from `written` on, is left for the reader.
    Write {
        exchange: Exchange,
        bytes: Vec<u8>,
        written: usize,
    },
    /// The reply is due at that time.
    Delay {
        exchange: Exchange,
        bytes: Vec<u8>,
        due: Instant,
    },
    /// The request waits.
    Park { exchange: Exchange, wait: Wait },
    /// Something that requests may wait for has finished.
    Finished(Awaited),
    /// Stop; requests that still wait get a reply at that time.
    Close(Instant),
}

/// Messages to the reader thread, which sleeps in `epoll_wait`.
#[derive(Debug)]
pub(super) struct Mailbox {
    messages: Mutex<Vec<Message>>,
    /// An event descriptor that wakes the reader.
    wake: OwnedFd,
    is_woken: AtomicBool,
    /// The reader waits for a connection to be closed.
    wants_closed: AtomicBool,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Mailbox {
    /// # Errors
    /// The system has no descriptor left.
    pub(super) fn new() -> io::Result<Mailbox> {
        Ok(Mailbox {
            messages: Mutex::default(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            is_woken: AtomicBool::new(false),
            wants_closed: AtomicBool::new(false),
        })
    }

    /// Delivers a message. A closed connection wakes the reader only if it waits for one, which saves a system call per request.
    pub(super) fn send(&self, message: Message) {
        let can_wait = matches!(message, Message::Closed(_));
        self.lock().push(message);
        if (!can_wait || self.wants_closed.load(Ordering::SeqCst))
            && !self.is_woken.swap(true, Ordering::SeqCst)
        {
            // Fails only if the counter is full, and then the reader is awake.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// Takes all messages. The flag is cleared before the list is taken: a message that comes in between wakes the reader again.
    pub(super) fn take(&self) -> Vec<Message> {
        if self.is_woken.load(Ordering::SeqCst) {
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            self.is_woken.store(false, Ordering::SeqCst);
        }
        std::mem::take(&mut *self.lock())
    }

    /// Sets whether closed connections wake the reader.
    pub(super) fn wake_when_closed(&self, wanted: bool) {
        self.wants_closed.store(wanted, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Work for a worker.
pub(super) enum Job {
    Handle(Exchange, Request),
    Finish(Exchange, Wait, WaitEnd),
}

/// The queue in front of the workers. Its length is bounded by the number of connections.
pub(super) struct Pool {
    queue: Mutex<Queue>,
    added: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
}

impl Pool {
    /// Starts the workers.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(handler: Arc<dyn Handler>, mailbox: Arc<Mailbox>) -> io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool {
            queue: Mutex::default(),
            added: Condvar::new(),
        });
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = (2 * processors).clamp(WORKERS.0, WORKERS.1);
        for number in 0..count {
            let (pool, handler, mailbox) = (
                Arc::clone(&pool),
                Arc::clone(&handler),
                Arc::clone(&mailbox),
            );
            let builder = thread::Builder::new().name(format!("worker-{number}"));
            builder.stack_size(STACK).spawn(move || {
                loop {
                    pool.next().run(&handler, &mailbox);
                }
            })?;
        }
        Ok(pool)
    }

    /// Queues a job.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = self.lock();
        queue.jobs.push_back(job);
        let has_idle = queue.idle > 0;
        drop(queue);
        if has_idle {
            self.added.notify_one();
        }
    }

    fn next(&self) -> Job {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return job;
            }
            queue.idle += 1;
            queue = self
                .added
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn run(self, handler: &Arc<dyn Handler>, mailbox: &Mailbox) {
        match self {
            Job::Handle(exchange, request) => {
                let (path, peer) = (request.path.clone(), request.peer);
                let answer =
                    no_panic(|| Arc::clone(handler).handle(request)).unwrap_or_else(|| {
                        let refuse = || handler.refuse(Some(&path), peer, Refusal::Panicked);
                        Answer::Now(no_panic(refuse).unwrap_or_else(internal_error))
                    });
                exchange.answer(answer, handler.as_ref(), mailbox);
            }
            Job::Finish(exchange, wait, end) => {
                let Wait { finish, permit, .. } = wait;
                let reply = no_panic(|| finish(end)).unwrap_or_else(internal_error);
                exchange.send(&reply, mailbox);
                drop(permit);
            }
        }
    }
}

impl Exchange {
    fn answer(self, answer: Answer, handler: &dyn Handler, mailbox: &Mailbox) {
        match answer {
            Answer::Now(reply) => self.send(&reply, mailbox),
            Answer::Later(reply, delay) => mailbox.send(Message::Delay {
                bytes: encode(&reply, self.head_only),
                exchange: self,
                due: Instant::now() + delay,
            }),
            Answer::Wait(wait) => {
                let awaited = wait.awaited.clone();
                mailbox.send(Message::Park {
                    exchange: self,
                    wait,
                });
                // It may have finished before the reader knew of the wait. Checked after parking, no end is missed.
                if no_panic(|| handler.is_finished(&awaited)) == Some(true) {
                    mailbox.send(Message::Finished(awaited));
                }
            }
        }
    }

    /// Writes the reply, or as much as the socket takes; the reader writes the rest.
    fn send(mut self, reply: &Reply, mailbox: &Mailbox) {
        let bytes = encode(reply, self.head_only);
        match write_some(&mut self.stream, &bytes) {
            Ok(written) if written == bytes.len() && !self.has_unread_input => {
                let id = self.id;
                drop(self);
                mailbox.send(Message::Closed(id));
            }
            Ok(written) => mailbox.send(Message::Write {
                exchange: self,
                bytes,
                written,
            }),
            Err(error) => {
                log::debug!("the client has closed its connection before the reply: {error}");
                let id = self.id;
                drop(self);
                mailbox.send(Message::Closed(id));
            }
        }
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

/// Runs something of the handler's. A panic is logged by the panic hook and yields `None`.
pub(super) fn no_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The reply if even the refusal panicked.
pub(super) fn internal_error() -> Reply {
    Reply::text(500, "internal error\n")
}

/// The pause between two attempts to accept after the system ran out of something.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
