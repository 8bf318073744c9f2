//! The workers: a few threads for everything that hashes, parses or takes a lock. Their answers reach the reader thread
//! through a mailbox.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use super::{Answer, Awaited, Handler};

/// The bounds for the number of workers. Handlers take microseconds, or one fsync of the journal.
const WORKERS: (usize, usize) = (4, 8);
/// The stack of a worker (bytes). In a test build the deepest handler, rendering the page, needs 200 KB.
const STACK: usize = 1024 * 1024;

/// A report to the reader thread.
pub(super) enum Message {
    /// The answer to the request on this connection; absent if the handler panicked.
    Answered(u64, Option<Answer>),
    /// Something that requests may wait for has finished.
    Finished(Awaited),
    /// Stop; requests that still wait get a reply at that time.
    Close(Instant),
}

/// Messages to the reader thread, which sleeps in `epoll_wait`.
pub(super) struct Mailbox {
    messages: Mutex<Vec<Message>>,
    /// An event descriptor that wakes the reader.
    wake: OwnedFd,
    is_woken: AtomicBool,
}

impl Mailbox {
    /// Errors: the system has no descriptor left.
    pub(super) fn new() -> io::Result<Mailbox> {
        Ok(Mailbox {
            messages: Mutex::default(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            is_woken: AtomicBool::new(false),
        })
    }

    /// Delivers a message. The flag saves a system call for messages that come together.
    pub(super) fn send(&self, message: Message) {
        self.lock().push(message);
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            // Fails only if the counter is full, and then the reader is awake.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// Clears the event that woke the reader. It may come after its message was taken: the sender may have been interrupted before it.
    pub(super) fn clear_event(&self) {
        // Fails only if there is none.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    /// Takes all messages. The flag is cleared before the list is taken: a message that comes in between wakes the reader again.
    pub(super) fn take(&self) -> Vec<Message> {
        self.is_woken.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.lock())
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

/// Work on the request of a connection.
pub(super) type Job = Box<dyn FnOnce() -> Answer + Send>;

/// The queue in front of the workers. Its length is bounded by the number of connections.
pub(super) struct Pool {
    queue: Mutex<Queue>,
    added: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(u64, Job)>,
    idle: usize,
}

impl Pool {
    /// Starts the workers.
    ///
    /// Errors: the system has no thread left.
    pub(super) fn start(
        handler: &Arc<dyn Handler>,
        mailbox: &Arc<Mailbox>,
    ) -> io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool {
            queue: Mutex::default(),
            added: Condvar::new(),
        });
        let processors = thread::available_parallelism().map_or(1, usize::from);
        for number in 0..(2 * processors).clamp(WORKERS.0, WORKERS.1) {
            let (pool, handler, mailbox) =
                (Arc::clone(&pool), Arc::clone(handler), Arc::clone(mailbox));
            let builder = thread::Builder::new().name(format!("worker-{number}"));
            builder.stack_size(STACK).spawn(move || {
                loop {
                    let (id, job) = pool.next();
                    run(id, job, handler.as_ref(), &mailbox);
                }
            })?;
        }
        Ok(pool)
    }

    /// Queues work on the request of a connection.
    pub(super) fn submit(&self, id: u64, job: Job) {
        let mut queue = self.lock();
        queue.jobs.push_back((id, job));
        let has_idle = queue.idle > 0;
        drop(queue);
        // Checked first, because notifying is a system call.
        if has_idle {
            self.added.notify_one();
        }
    }

    fn next(&self) -> (u64, Job) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return job;
            }
            queue.idle += 1;
            let waited = self.added.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(id: u64, job: Job, handler: &dyn Handler, mailbox: &Mailbox) {
    let answer = no_panic(job);
    let awaited = match &answer {
        Some(Answer::Wait(wait)) => Some(wait.awaited.clone()),
        _ => None,
    };
    mailbox.send(Message::Answered(id, answer));
    // It may have finished before the reader knew of the wait. Checked afterwards, no end is missed.
    if let Some(awaited) = awaited
        && no_panic(|| handler.is_finished(&awaited)) == Some(true)
    {
        mailbox.send(Message::Finished(awaited));
    }
}

/// Runs something of the handler's. A panic is logged by the panic hook and yields `None`.
pub(super) fn no_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
