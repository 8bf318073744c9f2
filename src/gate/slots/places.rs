//! Who has a place, how far he is, and who has to go when somebody else needs one.

use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::grace;
use crate::limits;

/// The connections that are served.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// How many there are.
    all: usize,
    open: Vec<Entry>,
    next: u64,
    /// When the last one was closed to make room.
    last_closed: Option<Instant>,
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
pub(super) enum Stage {
    /// Its request is not complete, or was refused; it may be closed at any time.
    Asking,
    /// Its request is complete; it will be answered.
    Asked,
    /// It was closed to make room, and is about to leave.
    Closed,
}

/// Who has to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// At this index.
    Now(usize),
    /// Somebody at this time, if nothing changes.
    At(Instant),
    /// Nobody: all have asked.
    Nobody,
}

/// How long one that was closed may take to leave before another one is closed.
const LEAVING: Duration = Duration::from_millis(20);

impl Places {
    pub(super) fn all(&self) -> usize {
        self.all
    }

    pub(super) fn add(&mut self, more: usize) {
        self.all += more;
    }

    /// So many fewer, but not fewer than there have to be; by how many it is.
    pub(super) fn take_away(&mut self, places: usize) -> usize {
        let given = places.min(self.all.saturating_sub(limits::CONNECTIONS.0));
        self.all -= given;
        given
    }

    /// Whether nobody could come in.
    pub(super) fn are_taken(&self) -> bool {
        self.taken() >= self.all
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.open.len()
    }

    /// One more; its number.
    pub(super) fn enter(&mut self, stream: Arc<TcpStream>, crowd: IpAddr, since: Instant) -> u64 {
        self.next += 1;
        self.open.push(Entry {
            id: self.next,
            stream,
            crowd,
            since,
            stage: Stage::Asking,
        });
        self.next
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.open.retain(|entry| entry.id != id);
    }

    /// Who was closed stays so.
    pub(super) fn set_stage(&mut self, id: u64, stage: Stage) {
        let mut open = self.open.iter_mut();
        if let Some(entry) = open.find(|entry| entry.id == id && entry.stage != Stage::Closed) {
            entry.stage = stage;
        }
    }

    /// The oldest that is still asking, of the crowd that has most of these, if it is old enough.
    pub(super) fn victim(&self, now: Instant) -> Victim {
        // One who was told to go gets a moment to do so, or too many would have to.
        let leaving = self.open.iter().any(|entry| entry.stage == Stage::Closed);
        if let Some(gone_by) = self.last_closed.map(|at| at + LEAVING)
            && leaving
            && gone_by > now
        {
            return Victim::At(gone_by);
        }
        let count = |crowd: IpAddr| self.asking().filter(|(_, one)| one.crowd == crowd).count();
        let oldest = |crowd: IpAddr| {
            let own = self.asking().filter(|(_, one)| one.crowd == crowd);
            own.min_by_key(|(_, one)| one.since)
        };
        let most = self
            .asking()
            .map(|(_, one)| (count(one.crowd), one.crowd))
            .max_by_key(|(count, _)| *count);
        let Some((count, (index, entry))) =
            most.and_then(|(count, crowd)| Some((count, oldest(crowd)?)))
        else {
            return Victim::Nobody;
        };
        let due = entry.since + grace(count, self.all);
        if due <= now {
            Victim::Now(index)
        } else {
            Victim::At(due)
        }
    }

    /// Closes whoever has been asking longest, however short that is.
    pub(super) fn close_oldest(&mut self) {
        let oldest = self.asking().min_by_key(|(_, entry)| entry.since);
        if let Some(index) = oldest.map(|(index, _)| index) {
            self.close(index);
        }
    }

    /// Closes all who have not finished asking.
    pub(super) fn close_asking(&mut self) {
        let asking: Vec<usize> = self.asking().map(|(index, _)| index).collect();
        for index in asking {
            self.close(index);
        }
    }

    pub(super) fn close(&mut self, index: usize) {
        if let Some(entry) = self.open.get_mut(index) {
            entry.stage = Stage::Closed;
            self.last_closed = Some(Instant::now());
            // Whoever reads or writes there is told so; already closed is fine too.
            let _ = entry.stream.shutdown(Shutdown::Both);
        }
    }

    fn asking(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let all = self.open.iter().enumerate();
        all.filter(|(_, entry)| entry.stage == Stage::Asking)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Ages in milliseconds of those who are asking, by crowd; expected: the index of who goes, or in how many milliseconds
    /// somebody does.
    #[track_caller]
    fn check(all: usize, asking: &[(&str, u64, Stage)], expected: Option<Result<usize, u64>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let now = Instant::now() + Duration::from_secs(60);
        let mut places = Places::default();
        places.add(all);
        for (crowd, age, stage) in asking {
            let since = now - Duration::from_millis(*age);
            let id = places.enter(Arc::clone(&stream), crowd.parse().unwrap(), since);
            places.set_stage(id, *stage);
        }
        let expected = match expected {
            None => Victim::Nobody,
            Some(Ok(index)) => Victim::Now(index),
            Some(Err(millis)) => Victim::At(now + Duration::from_millis(millis)),
        };
        assert_eq!(places.victim(now), expected, "{asking:?}");
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
}
