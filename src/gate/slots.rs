//! The places for connections: a fixed number, each served by one thread. With all of them taken, who has not finished asking
//! makes room; who has asked is never closed.

use std::collections::VecDeque;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::peer;
use crate::limits;

/// All places.
#[derive(Debug)]
pub(super) struct Slots {
    places: usize,
    state: Mutex<State>,
    /// A place became free, or the end has come.
    freed: Condvar,
    /// A connection waits for its thread, or the end has come.
    came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Entry>,
    /// Not yet taken by a thread.
    fresh: VecDeque<Accepted>,
    next: u64,
    /// When the last one was closed to make room.
    last_closed: Option<Instant>,
    closing: bool,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    stream: Arc<TcpStream>,
    crowd: IpAddr,
    since: Instant,
    stage: Stage,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its request is not complete, or was refused; it may be closed at any time.
    Asking,
    /// Its request is complete; it will be answered.
    Asked,
    /// It was closed to make room, and is about to leave.
    Closed,
}

/// An accepted connection, before its thread has it.
#[derive(Debug)]
struct Accepted {
    id: u64,
    stream: Arc<TcpStream>,
    peer: IpAddr,
    since: Instant,
}

/// A connection that is served; its place becomes free when it is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    slots: Arc<Slots>,
    accepted: Accepted,
}

/// Who has to go.
#[derive(Debug, PartialEq, Eq)]
enum Victim {
    /// At this index.
    Now(usize),
    /// Somebody at this time, if nothing changes.
    At(Instant),
    /// Nobody: all have asked.
    Nobody,
}

impl Slots {
    /// So many places.
    pub(super) fn new(places: usize) -> Arc<Slots> {
        Arc::new(Slots {
            places,
            state: Mutex::default(),
            freed: Condvar::new(),
            came: Condvar::new(),
        })
    }

    /// How many may wait for outcomes at the same time.
    pub(super) fn waiters(&self) -> usize {
        self.places / 2
    }

    /// Finds a place for a connection, however long it takes; meanwhile all others wait where the system keeps them.
    pub(super) fn offer(&self, stream: TcpStream, peer: IpAddr) {
        let since = Instant::now();
        let mut state = self.lock();
        while state.open.len() >= self.places && !state.closing {
            let pause = match state.victim(self.places, Instant::now()) {
                Victim::Now(index) => {
                    state.close(index);
                    LEAVING
                }
                Victim::At(time) => time.saturating_duration_since(Instant::now()),
                Victim::Nobody => SOMETIME,
            };
            state = self.wait(&self.freed, state, pause);
        }
        if state.closing {
            return;
        }
        let id = state.next;
        state.next += 1;
        let stream = Arc::new(stream);
        state.open.push(Entry {
            id,
            stream: Arc::clone(&stream),
            crowd: peer::crowd(peer),
            since,
            stage: Stage::Asking,
        });
        state.fresh.push_back(Accepted {
            id,
            stream,
            peer,
            since,
        });
        self.came.notify_one();
    }

    /// The next connection for this thread; `None` at the end.
    pub(super) fn take(self: &Arc<Self>) -> Option<Visit> {
        let mut state = self.lock();
        loop {
            if state.closing {
                return None;
            }
            if let Some(accepted) = state.fresh.pop_front() {
                return Some(Visit {
                    slots: Arc::clone(self),
                    accepted,
                });
            }
            state = self
                .came
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Closes whoever has been asking longest: the system has nothing left for one more.
    pub(super) fn close_oldest(&self) {
        let mut state = self.lock();
        let asking = state.open.iter().enumerate();
        let asking = asking.filter(|(_, entry)| entry.stage == Stage::Asking);
        if let Some((index, _)) = asking.min_by_key(|(_, entry)| entry.since) {
            state.close(index);
        }
    }

    /// Takes nobody any more, and closes whoever has not finished asking.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        let fresh = std::mem::take(&mut state.fresh);
        let never_served = |entry: &Entry| fresh.iter().any(|accepted| accepted.id == entry.id);
        state.open.retain(|entry| !never_served(entry));
        for index in 0..state.open.len() {
            let asking = |entry: &&Entry| entry.stage == Stage::Asking;
            if state.open.get(index).filter(asking).is_some() {
                state.close(index);
            }
        }
        self.freed.notify_all();
        self.came.notify_all();
    }

    /// Waits until the last one has left; whether that was so in time.
    pub(super) fn all_left(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut state = self.lock();
        while !state.open.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait(&self.freed, state, left);
        }
        true
    }

    fn set_stage(&self, id: u64, stage: Stage) {
        let mut state = self.lock();
        let closing = state.closing;
        if let Some(entry) = state.open.iter_mut().find(|entry| entry.id == id)
            && entry.stage != Stage::Closed
        {
            entry.stage = stage;
            if closing && stage == Stage::Asking {
                let _ = entry.stream.shutdown(Shutdown::Both);
            }
        }
        // Whoever waits for a place may have somebody to close now.
        self.freed.notify_all();
    }

    fn wait<'s>(
        &self,
        condition: &Condvar,
        state: MutexGuard<'s, State>,
        at_most: Duration,
    ) -> MutexGuard<'s, State> {
        let waited = condition.wait_timeout(state, at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long one that was closed may take to leave before another one is closed.
const LEAVING: Duration = Duration::from_millis(20);
/// How long to wait where nothing is due.
const SOMETIME: Duration = Duration::from_millis(100);

impl State {
    /// The oldest that is still asking, of the crowd that has most of these, if it is old enough.
    fn victim(&self, places: usize, now: Instant) -> Victim {
        // One who was told to go gets a moment to do so, or too many would have to.
        let leaving = self.open.iter().any(|entry| entry.stage == Stage::Closed);
        if let Some(gone_by) = self.last_closed.map(|at| at + LEAVING)
            && leaving
            && gone_by > now
        {
            return Victim::At(gone_by);
        }
        let asking = || {
            let all = self.open.iter().enumerate();
            all.filter(|(_, entry)| entry.stage == Stage::Asking)
        };
        let count = |crowd: IpAddr| asking().filter(|(_, entry)| entry.crowd == crowd).count();
        let oldest = |crowd: IpAddr| {
            let own = asking().filter(|(_, entry)| entry.crowd == crowd);
            own.min_by_key(|(_, entry)| entry.since)
        };
        let most = asking()
            .map(|(_, entry)| (count(entry.crowd), entry.crowd))
            .max_by_key(|(count, _)| *count);
        let Some((count, (index, entry))) =
            most.and_then(|(count, crowd)| Some((count, oldest(crowd)?)))
        else {
            return Victim::Nobody;
        };
        let grace = if count > places / 4 {
            limits::GRACE_CROWD
        } else {
            limits::GRACE
        };
        let due = entry.since + grace;
        if due <= now {
            Victim::Now(index)
        } else {
            Victim::At(due)
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(entry) = self.open.get_mut(index) {
            entry.stage = Stage::Closed;
            self.last_closed = Some(Instant::now());
            // Whoever reads or writes there is told so; already closed is fine too.
            let _ = entry.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Visit {
    pub(super) fn stream(&self) -> &TcpStream {
        &self.accepted.stream
    }

    pub(super) fn peer(&self) -> IpAddr {
        self.accepted.peer
    }

    /// When it was accepted.
    pub(super) fn since(&self) -> Instant {
        self.accepted.since
    }

    /// The request is complete: from now on it is not closed to make room.
    pub(super) fn has_asked(&self) {
        self.slots.set_stage(self.accepted.id, Stage::Asked);
    }

    /// All is said; what is left may be closed to make room.
    pub(super) fn was_told(&self) {
        self.slots.set_stage(self.accepted.id, Stage::Asking);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.open.retain(|entry| entry.id != self.accepted.id);
        self.slots.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Ages in milliseconds of those who are asking, by crowd; expected: the index of who goes, or in how many milliseconds
    /// somebody does.
    #[track_caller]
    fn check(places: usize, asking: &[(&str, u64, Stage)], expected: Option<Result<usize, u64>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let now = Instant::now() + Duration::from_secs(60);
        let mut state = State::default();
        for (crowd, age, stage) in asking {
            state.open.push(Entry {
                id: 0,
                stream: Arc::clone(&stream),
                crowd: crowd.parse().unwrap(),
                since: now - Duration::from_millis(*age),
                stage: *stage,
            });
        }
        let expected = match expected {
            None => Victim::Nobody,
            Some(Ok(index)) => Victim::Now(index),
            Some(Err(millis)) => Victim::At(now + Duration::from_millis(millis)),
        };
        assert_eq!(state.victim(places, now), expected, "{asking:?}");
    }

    #[test]
    fn the_oldest_of_the_largest_crowd_makes_room() {
        use Stage::{Asked, Asking, Closed};
        let (one, two) = ("192.0.2.1", "192.0.2.2");
        check(4, &[], None);
        check(4, &[(one, 5000, Asked), (one, 5000, Closed)], None);
        // A crowd of more than a quarter goes after 50 ms, others after a second.
        check(4, &[(one, 60, Asking), (one, 70, Asking)], Some(Ok(1)));
        check(4, &[(one, 40, Asking), (one, 49, Asking)], Some(Err(1)));
        check(4, &[(one, 900, Asking)], Some(Err(100)));
        check(4, &[(one, 1000, Asking)], Some(Ok(0)));
        // The larger crowd, though another one is older.
        check(
            4,
            &[(two, 9000, Asking), (one, 60, Asking), (one, 50, Asking)],
            Some(Ok(1)),
        );
        // Who has asked counts for nothing.
        check(
            4,
            &[(two, 9000, Asking), (one, 60, Asked), (one, 50, Asked)],
            Some(Ok(0)),
        );
    }

    #[test]
    fn a_newcomer_gets_the_place_of_somebody_who_never_asks() {
        let slots = Slots::new(2);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, address) = listener.accept().unwrap();
            slots.offer(stream, address.ip());
            client
        };
        let (_silent, _busy) = (connect(), connect());
        let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
        second.has_asked();
        let leaving = std::thread::spawn(move || {
            let mut byte = [0];
            // Ends only because the place was needed.
            let read = std::io::Read::read(&mut first.stream(), &mut byte).unwrap();
            assert_eq!(read, 0);
            drop(first);
        });
        let _newcomer = connect();
        leaving.join().unwrap();
        let third = slots.take().unwrap();
        third.has_asked();
        slots.close();
        assert!(slots.take().is_none());
        assert!(!slots.all_left(Duration::ZERO));
        drop((second, third));
        assert!(slots.all_left(Duration::ZERO));
    }
}
