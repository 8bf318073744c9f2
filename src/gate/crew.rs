//! The gate's threads. All are started before there is anything to do for them, so that what the system does not give is known
//! from the beginning.

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use super::allowed::Memory;
use crate::limits;
use crate::threads;

/// A thread that will do one thing, once it is told what.
pub(super) struct Idle {
    job: SyncSender<Job>,
    thread: JoinHandle<()>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Idle {
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(name: &str) -> io::Result<Idle> {
        let (job, jobs) = mpsc::sync_channel::<Job>(1);
        let thread = threads::start_with_stack(name, limits::CONNECTION_STACK, move || {
            if let Ok(job) = jobs.recv() {
                job();
            }
        })?;
        Ok(Idle { job, thread })
    }

    /// From now on it does this.
    pub(super) fn put_to(self, job: impl FnOnce() + Send + 'static) {
        // The thread waits for nothing else.
        let _ = self.job.send(Box::new(job));
    }

    fn dismiss(self) {
        drop(self.job);
        // It had nothing to panic about.
        let _ = self.thread.join();
    }
}

/// As many as wanted, or as there are to be had while something is left for threads that others start later.
pub(super) fn start(wanted: usize, memory: &Memory) -> Vec<Idle> {
    let mut crew = Vec::new();
    while crew.len() < wanted {
        let started = if memory.has(0) {
            Idle::start(&format!("gate-{}", crew.len()))
        } else {
            Err(io::ErrorKind::OutOfMemory.into())
        };
        match started {
            Ok(idle) => crew.push(idle),
            Err(error) => {
                let fewest = limits::CONNECTIONS.0.min(crew.len());
                let kept = crew.len().saturating_sub(limits::SPARE_THREADS);
                crew.split_off(kept.max(fewest))
                    .into_iter()
                    .for_each(Idle::dismiss);
                log::warn!(
                    "only {} connections at a time, not {wanted}: the system gives no more threads: {error}",
                    crew.len()
                );
                break;
            }
        }
    }
    crew
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn an_idle_thread_does_what_it_is_told_and_one_without_work_goes() {
        let (told, heard) = channel();
        Idle::start("one")
            .unwrap()
            .put_to(move || told.send(1).unwrap());
        assert_eq!(heard.recv(), Ok(1));
        Idle::start("two").unwrap().dismiss();
        assert_eq!(start(5, &Memory::own()).len(), 5);
    }
}
