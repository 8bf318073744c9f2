//! The network edge: the only thing that touches the public socket. Every byte is bounded in number and time and every request is
//! whole before anybody behind sees it; strangers cost one thread a few microseconds. Knows no routes: what is answered is up to
//! whoever stands behind.

#[cfg(test)]
pub(crate) mod chance;
mod allowed;
mod crew;
mod peer;
mod head;
mod body;
mod reply;
mod slots;
mod connection;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::hook::Network;
use crate::limits;
use crate::request::Behind;
use crate::text::io_error_message;
use allowed::Memory;
use body::Room;
use connection::Space;
use slots::Slots;

pub(crate) use allowed::open_files;
pub(crate) use peer::crowd;

/// What an operator may decide.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The largest accepted body (bytes).
    pub(crate) max_body: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<Network>,
}

/// An address that is taken, where nobody is served yet.
#[derive(Debug)]
pub(crate) struct Door(TcpListener);

/// What to look at where threads are missing.
const THREAD_LIMITS: &str = " (ulimit -u, TasksMax=, --pids-limit)";

/// An open gate.
pub(crate) struct Gate {
    /// The listening socket once more, to be shut.
    listener: TcpStream,
    closing: Arc<AtomicBool>,
    inside: Arc<Inside>,
    /// How many places there shall be.
    wanted: usize,
}

/// What every connection's thread needs.
struct Inside {
    behind: Arc<dyn Behind>,
    slots: Arc<Slots>,
    room: Arc<Room>,
    max_body: usize,
    trusted_proxies: Vec<Network>,
    /// Connections that wait for an outcome.
    waiting: AtomicUsize,
}

impl Door {
    /// Takes the address.
    ///
    /// # Errors
    /// The reason in words, most often that somebody else listens there.
    pub(crate) fn bind(listen: SocketAddr) -> Result<Door, String> {
        TcpListener::bind(listen)
            .map(Door)
            .map_err(|error| format!("cannot listen on {listen}: {}", not_taken(&error)))
    }

    /// The address; the port is the real one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    /// Serves from now on, a few at a time. Where the system gives few descriptors, there will be fewer places than otherwise.
    ///
    /// # Errors
    /// The system gives not even the fewest threads.
    pub(crate) fn open(self, settings: Settings, behind: Arc<dyn Behind>) -> Result<Gate, String> {
        let failed =
            |error: io::Error| format!("cannot open the gate: {}", io_error_message(&error));
        let too_few = |error: io::Error| {
            format!(
                "cannot open the gate: too few threads{THREAD_LIMITS}: {}",
                io_error_message(&error)
            )
        };
        let listener = TcpStream::from(OwnedFd::from(self.0.try_clone().map_err(failed)?));
        let files = open_files();
        let wanted = allowed::places(files);
        if wanted < limits::CONNECTIONS.1 {
            log::warn!(
                "only {wanted} connections at a time: at most {files} files may be open (ulimit -n, LimitNOFILE=), {} would be enough",
                allowed::enough_files()
            );
        }
        let slots = Slots::new(allowed::room(files, wanted));
        let inside = Arc::new(Inside {
            behind,
            slots: Arc::clone(&slots),
            room: Arc::new(Room::new(
                limits::LARGE_BODIES.max(settings.max_body),
                Memory::own(),
            )),
            max_body: settings.max_body,
            trusted_proxies: settings.trusted_proxies,
            waiting: AtomicUsize::new(0),
        });
        crew::hire(&inside, limits::CONNECTIONS.0).map_err(too_few)?;
        let ushering = Arc::clone(&slots);
        crew::start("usher", move || ushering.usher()).map_err(too_few)?;
        let closing = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&closing);
        crew::start("accept", move || accept(&self.0, &slots, &over)).map_err(too_few)?;
        Ok(Gate {
            listener,
            closing,
            inside,
            wanted,
        })
    }
}

impl Gate {
    /// Adds the places that are missing, while those that are there serve. Where the system gives fewer threads, some are given back
    /// for what is started later.
    pub(crate) fn fill(&self) {
        if let Err(error) = crew::hire(&self.inside, self.wanted) {
            let left = self.inside.slots.give_back(limits::SPARE_THREADS);
            log::warn!(
                "only {left} connections at a time, not {}: no more threads{THREAD_LIMITS}: {}",
                self.wanted,
                io_error_message(&error)
            );
        }
    }

    /// Takes no more connections and closes those without a complete request. What was asked is still answered.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes whoever accepts; shutting a socket that listens is all that std offers for it.
        if let Err(error) = self.listener.shutdown(Shutdown::Both) {
            log::debug!("the listening socket was not shut: {error}");
        }
        self.inside.slots.close();
    }

    /// Waits until all replies are written; whether they were in time.
    pub(crate) fn finish(&self, within: Duration) -> bool {
        self.inside.slots.all_left(within)
    }
}

/// A connection's thread: one after the other, whatever happens in one.
fn attend(inside: &Inside) {
    let mut space = Space::default();
    while let Some(visit) = inside.slots.take() {
        let serve = || connection::serve(inside, &visit, &mut space);
        let served = catch_unwind(AssertUnwindSafe(serve));
        if served.is_err() {
            log::error!("a connection was dropped in the middle of a panic");
        }
    }
}

/// Accepts until the gate is closed. No error ends it: each is of one connection, or passes.
fn accept(listener: &TcpListener, slots: &Slots, closing: &AtomicBool) {
    loop {
        let accepted = listener.accept();
        if closing.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, address)) => slots.offer(stream, address.ip()),
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                log::debug!("no connection could be accepted: {error}");
                slots.close_oldest();
                thread::sleep(limits::ACCEPT_PAUSE);
            }
        }
    }
}

/// Why an address cannot be had, and what to do about it.
fn not_taken(error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there already".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this host has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 are kept for root)".to_owned()
        }
        _ => io_error_message(error),
    };
    format!("{why}; STACKHOOK_LISTEN, or listen in the file, sets another address")
}

/// Whether the client alone is to blame, so that there is nothing to wait for.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
