//! The places for connections, each served by one thread, and a waiting room before them. With all places taken, who
//! has not finished asking makes room for who has; who has asked is never closed.

mod places;
mod room;

use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::peer;
use crate::limits;
use places::{Places, Stage, Victim};
use room::{Sight, Waiting, WaitingRoom};

/// All places.
#[derive(Debug)]
pub(super) struct Slots {
    /// How many the waiting room holds.
    room: usize,
    state: Mutex<State>,
    /// There is something to do for whoever looks after the room, or the end has come.
    crowded: Condvar,
    /// Somebody has left the full room, or at the end a place.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    places: Places,
    room: WaitingRoom,
    /// Threads with nothing to do. Who came last is called first: what it needs is still at hand, and the others need nothing.
    idle: Vec<Thread>,
    /// Threads that are to end, because their places are given back.
    leaving: usize,
    /// Nobody looks after the room, because that is not needed.
    resting: bool,
    closing: bool,
}

/// A connection that is served; its place becomes free when it is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    slots: Arc<Slots>,
    id: u64,
    stream: Arc<TcpStream>,
    peer: IpAddr,
    since: Instant,
}

impl Slots {
    /// No places yet, and so many in the waiting room, at least one.
    pub(super) fn new(room: usize) -> Arc<Slots> {
        Arc::new(Slots {
            room: room.max(1),
            state: Mutex::default(),
            crowded: Condvar::new(),
            left: Condvar::new(),
        })
    }

    /// How many there are.
    pub(super) fn places(&self) -> usize {
        self.lock().places.all()
    }

    /// One more, for a thread that was started.
    pub(super) fn add_place(&self) {
        self.lock().places.add(1);
    }

    /// Gives up so many places and ends their threads, but keeps the fewest that there may be; how many are left.
    pub(super) fn give_back(&self, places: usize) -> usize {
        let mut state = self.lock();
        let given = state.places.take_away(places);
        state.leaving += given;
        state.idle.drain(..).for_each(|idle| idle.unpark());
        state.places.all()
    }

    /// How many may wait for outcomes at the same time.
    pub(super) fn waiters(&self) -> usize {
        self.places() / 2
    }

    /// Takes a connection in, however long it takes; meanwhile all others wait where the system keeps them.
    pub(super) fn offer(&self, stream: TcpStream, peer: IpAddr) {
        let since = Instant::now();
        let mut state = self.lock();
        while state.room.length() >= self.room && !state.closing {
            let now = Instant::now();
            if !state.room.shed(self.room, now) {
                // A small room would otherwise be left more slowly than the places can be.
                if let Victim::Now(index) = state.places.victim(now) {
                    state.places.close(index);
                }
                state = wait(&self.left, state, SOON);
            }
        }
        if state.closing {
            return;
        }
        state.room.push(Waiting {
            stream,
            peer,
            crowd: peer::crowd(peer),
            since,
            sight: Sight::Unseen,
        });
        let idle = state.idle.pop();
        if state.resting && state.places.are_taken() {
            self.crowded.notify_one();
        }
        drop(state);
        if let Some(idle) = idle {
            idle.unpark();
        }
    }

    /// The next connection for this thread, those first whose request is there; `None`: it is to end.
    pub(super) fn take(self: &Arc<Self>) -> Option<Visit> {
        let mut state = self.lock();
        loop {
            if state.closing {
                return None;
            }
            let Some(waiting) = state.room.next() else {
                // Not before: whoever waits may have been left to this thread.
                if state.leaving > 0 {
                    state.leaving -= 1;
                    return None;
                }
                state = self.rest(state);
                continue;
            };
            if state.room.length() + 1 >= self.room {
                self.left.notify_all();
            }
            if waiting.sight != Sight::Unseen && waiting.stream.set_nonblocking(false).is_err() {
                continue;
            }
            let stream = Arc::new(waiting.stream);
            let now = Instant::now();
            let id = state.places.enter(Arc::clone(&stream), waiting.crowd, now);
            if state.room.length() > 0 && state.places.are_taken() {
                self.crowded.notify_one();
            }
            return Some(Visit {
                slots: Arc::clone(self),
                id,
                stream,
                peer: waiting.peer,
                since: waiting.since,
            });
        }
    }

    /// Looks after the waiting room until the end: finds out who is ready, and makes places free for these.
    pub(super) fn usher(&self) {
        let mut state = self.lock();
        let mut look = Instant::now();
        while !state.closing {
            if state.room.length() == 0 || !state.places.are_taken() {
                // Whoever comes is taken at once.
                state.resting = true;
                let waited = self.crowded.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                state.resting = false;
                continue;
            }
            let now = Instant::now();
            if look <= now {
                state.room.look();
                // A large room is not looked through all the time.
                let length = u32::try_from(state.room.length()).unwrap_or(u32::MAX);
                look = Instant::now() + SOON + LOOK_EACH.saturating_mul(length);
            }
            let mut until = look;
            if state.room.anybody_ready() {
                match state.places.victim(now) {
                    Victim::Now(index) => state.places.close(index),
                    Victim::At(due) => until = until.min(due),
                    Victim::Nobody => {}
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            state = wait(&self.crowded, state, left);
        }
    }

    /// Closes whoever has been asking longest: the system has nothing left for one more.
    pub(super) fn close_oldest(&self) {
        let mut state = self.lock();
        if !state.room.drop_silent() {
            state.places.close_oldest();
        }
    }

    /// Takes nobody any more, and closes whoever has not finished asking.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.room.clear();
        state.places.close_asking();
        state.idle.drain(..).for_each(|idle| idle.unpark());
        self.crowded.notify_all();
        self.left.notify_all();
    }

    /// Waits until the last one has left; whether that was so in time.
    pub(super) fn all_left(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut state = self.lock();
        while state.places.taken() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait(&self.left, state, left);
        }
        true
    }

    /// Until there is something to do, perhaps.
    fn rest<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let own = thread::current();
        let id = own.id();
        state.idle.push(own);
        drop(state);
        thread::park();
        let mut state = self.lock();
        // Nobody may have called.
        state.idle.retain(|idle| idle.id() != id);
        state
    }

    fn set_stage(&self, id: u64, stage: Stage) {
        let mut state = self.lock();
        state.places.set_stage(id, stage);
        if state.closing {
            state.places.close_asking();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long at least between two looks at the room, or two tries to get in.
const SOON: Duration = Duration::from_millis(5);
/// How much longer for each who waits there.
const LOOK_EACH: Duration = Duration::from_micros(20);

/// The age at which one of a crowd of this size, of so many in all, may be closed.
fn grace(crowd: usize, all: usize) -> Duration {
    if crowd > all / 4 {
        limits::GRACE_CROWD
    } else {
        limits::GRACE
    }
}

fn wait<'s>(
    changed: &Condvar,
    state: MutexGuard<'s, State>,
    at_most: Duration,
) -> MutexGuard<'s, State> {
    let waited = changed.wait_timeout(state, at_most);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

impl Visit {
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// When it was accepted.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// The request is complete: from now on it is not closed to make room.
    pub(super) fn has_asked(&self) {
        self.slots.set_stage(self.id, Stage::Asked);
    }

    /// All is said; what is left may be closed to make room.
    pub(super) fn was_told(&self) {
        self.slots.set_stage(self.id, Stage::Asking);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.places.leave(self.id);
        if state.closing {
            self.slots.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
