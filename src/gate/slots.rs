//! The places for connections: a fixed number, each served by one thread, and a waiting room before them. With all places taken, who
//! has not finished asking makes room for who has; who has asked is never closed.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::peer;
use crate::limits;

/// All places.
#[derive(Debug)]
pub(super) struct Slots {
    places: usize,
    /// How many the waiting room holds.
    room: usize,
    state: Mutex<State>,
    /// Something changed for whoever looks after the room, or the end has come.
    changed: Condvar,
    /// A connection waits for its thread, or the end has come.
    came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Served by a thread.
    open: Vec<Entry>,
    /// Not yet, in the order they came.
    room: VecDeque<Waiting>,
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
    /// When it got its place.
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

/// Without a place.
#[derive(Debug)]
struct Waiting {
    stream: TcpStream,
    peer: IpAddr,
    crowd: IpAddr,
    /// When it was accepted.
    since: Instant,
    /// Its head lies there to be read.
    ready: bool,
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
    /// So many places, and so many in the waiting room, at least one.
    pub(super) fn new(places: usize, room: usize) -> Arc<Slots> {
        Arc::new(Slots {
            places,
            room: room.max(1),
            state: Mutex::default(),
            changed: Condvar::new(),
            came: Condvar::new(),
        })
    }

    /// How many may wait for outcomes at the same time.
    pub(super) fn waiters(&self) -> usize {
        self.places / 2
    }

    /// Takes a connection in, however long it takes; meanwhile all others wait where the system keeps them.
    pub(super) fn offer(&self, stream: TcpStream, peer: IpAddr) {
        // Only looked at until it has a place.
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let since = Instant::now();
        let mut state = self.lock();
        while state.room.len() >= self.room && !state.closing {
            let now = Instant::now();
            if !state.shed(self.room, now) {
                // A small room would otherwise be left more slowly than the places can be.
                if let Victim::Now(index) = state.victim(self.places, now) {
                    state.close(index);
                }
                state = self.wait(state, SOON);
            }
        }
        if state.closing {
            return;
        }
        state.room.push_back(Waiting {
            stream,
            peer,
            crowd: peer::crowd(peer),
            since,
            ready: false,
        });
        self.came.notify_one();
        self.changed.notify_all();
    }

    /// The next connection for this thread, those first whose request is there; `None` at the end.
    pub(super) fn take(self: &Arc<Self>) -> Option<Visit> {
        let mut state = self.lock();
        loop {
            if state.closing {
                return None;
            }
            if let Some(waiting) = state.next() {
                if waiting.stream.set_nonblocking(false).is_err() {
                    continue;
                }
                let (id, stream) = (state.next, Arc::new(waiting.stream));
                state.next += 1;
                state.open.push(Entry {
                    id,
                    stream: Arc::clone(&stream),
                    crowd: waiting.crowd,
                    since: Instant::now(),
                    stage: Stage::Asking,
                });
                self.changed.notify_all();
                return Some(Visit {
                    slots: Arc::clone(self),
                    id,
                    stream,
                    peer: waiting.peer,
                    since: waiting.since,
                });
            }
            state = self
                .came
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Looks after the waiting room until the end: finds out who is ready, and makes places free for these.
    pub(super) fn usher(&self) {
        let mut state = self.lock();
        let mut look = Instant::now();
        while !state.closing {
            if state.room.is_empty() || state.open.len() < self.places {
                // Whoever comes is taken at once.
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = Instant::now();
            if look <= now {
                state.look();
                // A large room is not looked through all the time.
                let length = u32::try_from(state.room.len()).unwrap_or(u32::MAX);
                look = Instant::now() + SOON + LOOK_EACH.saturating_mul(length);
            }
            let mut until = look;
            if state.room.iter().any(|waiting| waiting.ready) {
                match state.victim(self.places, now) {
                    Victim::Now(index) => state.close(index),
                    Victim::At(due) => until = until.min(due),
                    Victim::Nobody => {}
                }
            }
            state = self.wait(state, until.saturating_duration_since(Instant::now()));
        }
    }

    /// Closes whoever has been asking longest: the system has nothing left for one more.
    pub(super) fn close_oldest(&self) {
        let mut state = self.lock();
        let silent = state.room.iter().position(|waiting| !waiting.ready);
        if silent.and_then(|index| state.room.remove(index)).is_some() {
            return;
        }
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
        state.room.clear();
        for index in 0..state.open.len() {
            let asking = |entry: &&Entry| entry.stage == Stage::Asking;
            if state.open.get(index).filter(asking).is_some() {
                state.close(index);
            }
        }
        self.changed.notify_all();
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
            state = self.wait(state, left);
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
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, at_most: Duration) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long one that was closed may take to leave before another one is closed.
const LEAVING: Duration = Duration::from_millis(20);
/// How long at least between two looks at the room, or two tries to get in.
const SOON: Duration = Duration::from_millis(5);
/// How much longer for each who waits there.
const LOOK_EACH: Duration = Duration::from_micros(20);

impl State {
    /// The first who is ready, or else the first.
    fn next(&mut self) -> Option<Waiting> {
        let ready = self.room.iter().position(|waiting| waiting.ready);
        self.room.remove(ready.unwrap_or(0))
    }

    /// Finds out who is ready; who has left again, leaves.
    fn look(&mut self) {
        self.room.retain_mut(|waiting| waiting.look());
    }

    /// Closes those in a full room who are not ready and old enough, at most a quarter, oldest first; whether there were any.
    fn shed(&mut self, size: usize, now: Instant) -> bool {
        let mut crowds: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for waiting in self.room.iter().filter(|waiting| !waiting.ready) {
            *crowds.entry(waiting.crowd).or_default() += 1;
        }
        let before = self.room.len();
        let mut most = (size / 4).max(1);
        self.room.retain_mut(|waiting| {
            let count = crowds.get(&waiting.crowd).copied().unwrap_or(0);
            if most == 0 || waiting.ready || now < waiting.since + grace(count, size) {
                return true;
            }
            // It may have become ready since somebody looked.
            let stays = waiting.look() && waiting.ready;
            most -= usize::from(!stays);
            stays
        });
        self.room.len() < before
    }

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
        let due = entry.since + grace(count, places);
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

/// The age at which one of a crowd of this size, of so many in all, may be closed.
fn grace(crowd: usize, all: usize) -> Duration {
    if crowd > all / 4 {
        limits::GRACE_CROWD
    } else {
        limits::GRACE
    }
}

impl Waiting {
    /// Whether it is still there. What it has sent stays unread.
    fn look(&mut self) -> bool {
        let mut head = [0; 1024];
        match self.stream.peek(&mut head) {
            Ok(0) => return false,
            Ok(length) => {
                let head = head.get(..length).unwrap_or_default();
                let whole = head.windows(4).any(|four| four == b"\r\n\r\n");
                self.ready = self.ready || whole || head.len() == 1024;
            }
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        }
        true
    }
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
        state.open.retain(|entry| entry.id != self.id);
        self.slots.changed.notify_all();
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
        let slots = Slots::new(2, 2);
        let ushered = Arc::clone(&slots);
        let usher = std::thread::spawn(move || ushered.usher());
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
        let (_silent, mut newcomer) = (connect(), connect());
        let request = b"GET / HTTP/1.1\r\n\r\n";
        std::io::Write::write_all(&mut newcomer, request).unwrap();
        leaving.join().unwrap();
        let third = slots.take().unwrap();
        let mut head = [0; 18];
        std::io::Read::read_exact(&mut third.stream(), &mut head).unwrap();
        assert_eq!(&head, request, "who has asked comes before who is silent");
        third.has_asked();
        slots.close();
        usher.join().unwrap();
        assert!(slots.take().is_none());
        assert!(!slots.all_left(Duration::ZERO));
        drop((second, third));
        assert!(slots.all_left(Duration::ZERO));
    }

    #[test]
    fn a_full_room_is_left_by_those_who_say_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut state = State::default();
        let now = Instant::now() + Duration::from_secs(60);
        let mut clients = Vec::new();
        let mut wait = |crowd: &str, age: u64, says: &[u8]| {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            std::io::Write::write_all(&mut client, says).unwrap();
            let (stream, _) = listener.accept().unwrap();
            if !says.is_empty() {
                stream.peek(&mut [0]).unwrap();
            }
            stream.set_nonblocking(true).unwrap();
            clients.push(client);
            let crowd = crowd.parse().unwrap();
            state.room.push_back(Waiting {
                stream,
                peer: crowd,
                crowd,
                since: now - Duration::from_millis(age),
                ready: false,
            });
        };
        let (many, few) = ("192.0.2.1", "192.0.2.2");
        wait(many, 100, b"GET / HTTP/1.1\r\n\r\n");
        wait(few, 500, b"");
        wait(many, 90, b"");
        wait(many, 80, b"GET / HT");
        wait(many, 70, b"");
        wait(many, 40, b"");
        let ages = |state: &State| -> Vec<u128> {
            let ages = state.room.iter().map(|waiting| now - waiting.since);
            ages.map(|age| age.as_millis()).collect()
        };
        // A quarter of them at a time.
        assert!(state.shed(8, now));
        assert_eq!(ages(&state), [100, 500, 70, 40]);
        assert!(state.shed(4, now));
        assert_eq!(ages(&state), [100, 500, 40]);
        assert!(!state.shed(4, now));
        assert!(state.next().unwrap().ready);
        assert_eq!(ages(&state), [500, 40]);
        drop(clients);
        state.look();
        assert_eq!(ages(&state), [0; 0], "who has left is not kept");
    }
}
