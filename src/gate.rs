//! The network edge: the only thing that touches the public socket. Every byte is bounded in number and time and every request is
//! whole before anybody behind sees it; strangers cost one thread a few microseconds. Knows no routes: what is answered is up to
//! whoever stands behind.

#[cfg(test)]
pub(crate) mod chance;
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
use body::Room;
use slots::Slots;

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

/// An open gate.
pub(crate) struct Gate {
    /// The listening socket once more, to be shut.
    listener: TcpStream,
    closing: Arc<AtomicBool>,
    slots: Arc<Slots>,
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
            .map_err(|error| format!("cannot listen on {listen}: {error}"))
    }

    /// The address; the port is the real one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    /// Serves from now on. All threads are started here; where the system gives too few, there are fewer places.
    ///
    /// # Errors
    /// The system gives not even the fewest threads.
    pub(crate) fn open(self, settings: Settings, behind: Arc<dyn Behind>) -> Result<Gate, String> {
        let failed = |error: io::Error| format!("cannot open the gate: {error}");
        let listener = TcpStream::from(OwnedFd::from(self.0.try_clone().map_err(failed)?));
        let files = open_files();
        let places = startable(places(files));
        let slots = Slots::new(places.len(), room(files, places.len()));
        let inside = Arc::new(Inside {
            behind,
            slots: Arc::clone(&slots),
            room: Arc::new(Room::new(limits::LARGE_BODIES.max(settings.max_body))),
            max_body: settings.max_body,
            trusted_proxies: settings.trusted_proxies,
            waiting: AtomicUsize::new(0),
        });
        if places.len() < limits::CONNECTIONS.0 {
            return Err("cannot open the gate: the system gives no threads".to_owned());
        }
        for place in places {
            place.serve(&inside);
        }
        let closing = Arc::new(AtomicBool::new(false));
        let ushering = Arc::clone(&slots);
        thread::Builder::new()
            .name("usher".to_owned())
            .stack_size(limits::CONNECTION_STACK)
            .spawn(move || ushering.usher())
            .map_err(failed)?;
        let (accepting, over) = (Arc::clone(&slots), Arc::clone(&closing));
        thread::Builder::new()
            .name("accept".to_owned())
            .stack_size(limits::CONNECTION_STACK)
            .spawn(move || accept(&self.0, &accepting, &over))
            .map_err(failed)?;
        Ok(Gate {
            listener,
            closing,
            slots,
        })
    }
}

impl Gate {
    /// Takes no more connections and closes those without a complete request. What was asked is still answered.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes whoever accepts; shutting a socket that listens is all that std offers for it.
        if let Err(error) = self.listener.shutdown(Shutdown::Both) {
            log::debug!("the listening socket was not shut: {error}");
        }
        self.slots.close();
    }

    /// Waits until all replies are written; whether they were in time.
    pub(crate) fn finish(&self, within: Duration) -> bool {
        self.slots.all_left(within)
    }
}

/// A thread that will serve connections, once it is told for whom.
struct Place(std::sync::mpsc::SyncSender<Arc<Inside>>);

impl Place {
    fn serve(self, inside: &Arc<Inside>) {
        // The thread waits for nothing else.
        let _ = self.0.send(Arc::clone(inside));
    }
}

/// As many threads as wanted, or as there are to be had.
fn startable(wanted: usize) -> Vec<Place> {
    let mut places = Vec::new();
    for number in 0..wanted {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Arc<Inside>>(1);
        let thread = thread::Builder::new()
            .name(format!("gate-{number}"))
            .stack_size(limits::CONNECTION_STACK)
            .spawn(move || {
                if let Ok(inside) = receiver.recv() {
                    attend(&inside);
                }
            });
        match thread {
            Ok(_) => places.push(Place(sender)),
            Err(error) => {
                log::warn!("only {} connections at a time: {error}", places.len());
                break;
            }
        }
    }
    places
}

/// A connection's thread: one after the other, whatever happens in one.
fn attend(inside: &Inside) {
    while let Some(visit) = inside.slots.take() {
        let served = catch_unwind(AssertUnwindSafe(|| connection::serve(inside, &visit)));
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

/// Whether the client alone is to blame, so that there is nothing to wait for.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

/// How many connections such a limit of descriptors allows.
fn places(open_files: usize) -> usize {
    let (fewest, most) = limits::CONNECTIONS;
    let each = open_files.saturating_sub(limits::OTHER_DESCRIPTORS) / limits::DESCRIPTORS_EACH;
    each.clamp(fewest, most)
}

/// How many may wait before these places: half of the descriptors that are left.
fn room(open_files: usize, places: usize) -> usize {
    let taken = limits::OTHER_DESCRIPTORS + 2 * places;
    (open_files.saturating_sub(taken) / 2).clamp(1, limits::WAITING_ROOM)
}

/// The soft limit of descriptors; none that can be read is none.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    limit_of_open_files(&limits).unwrap_or(usize::MAX)
}

fn limit_of_open_files(limits: &str) -> Option<usize> {
    let lines = limits.lines();
    let line = lines.filter_map(|line| line.strip_prefix("Max open files"));
    line.flat_map(str::split_whitespace).next()?.parse().ok()
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
