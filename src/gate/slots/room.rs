//! The waiting room: connections without a place, in the order they came. Whoever's request is there comes first, and whoever says
//! nothing leaves a full room first.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream};
use std::time::Instant;

use super::grace;

#[derive(Debug, Default)]
pub(super) struct WaitingRoom(VecDeque<Waiting>);

/// Without a place.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stream: TcpStream,
    pub(super) peer: IpAddr,
    pub(super) crowd: IpAddr,
    /// When it was accepted.
    pub(super) since: Instant,
    /// How far it is.
    pub(super) sight: Sight,
}

/// What is known of who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nobody has looked yet: reads of the stream wait for something to come.
    Unseen,
    /// No read of the stream waits.
    Silent,
    /// No read of the stream waits, and its head lies there to be read.
    Ready,
}

impl WaitingRoom {
    pub(super) fn length(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.0.push_back(waiting);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first who is ready, or else the first.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let ready = self.0.iter().position(Waiting::is_ready);
        self.0.remove(ready.unwrap_or(0))
    }

    /// Lets the first who is not ready leave; whether there was one.
    pub(super) fn drop_silent(&mut self) -> bool {
        let silent = self.0.iter().position(|waiting| !waiting.is_ready());
        silent.and_then(|index| self.0.remove(index)).is_some()
    }

    pub(super) fn anybody_ready(&self) -> bool {
        self.0.iter().any(Waiting::is_ready)
    }

    /// Finds out who is ready; who has left again, leaves.
    pub(super) fn look(&mut self) {
        self.0.retain_mut(Waiting::look);
    }

    /// Closes those in a full room who are not ready and old enough, at most a quarter, oldest first; whether there were any.
    pub(super) fn shed(&mut self, size: usize, now: Instant) -> bool {
        let mut crowds: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for waiting in self.0.iter().filter(|waiting| !waiting.is_ready()) {
            *crowds.entry(waiting.crowd).or_default() += 1;
        }
        let before = self.0.len();
        let mut most = (size / 4).max(1);
        self.0.retain_mut(|waiting| {
            let count = crowds.get(&waiting.crowd).copied().unwrap_or(0);
            if most == 0 || waiting.is_ready() || now < waiting.since + grace(count, size) {
                return true;
            }
            // It may have become ready since somebody looked.
            let stays = waiting.look() && waiting.is_ready();
            most -= usize::from(!stays);
            stays
        });
        self.0.len() < before
    }
}

impl Waiting {
    fn is_ready(&self) -> bool {
        self.sight == Sight::Ready
    }

    /// Whether it is still there. What it has sent stays unread.
    fn look(&mut self) -> bool {
        if self.sight == Sight::Unseen {
            if self.stream.set_nonblocking(true).is_err() {
                return false;
            }
            self.sight = Sight::Silent;
        }
        let mut head = [0; 1024];
        match self.stream.peek(&mut head) {
            Ok(0) => return false,
            Ok(length) => {
                let head = head.get(..length).unwrap_or_default();
                let whole = head.windows(4).any(|four| four == b"\r\n\r\n");
                if whole || head.len() == 1024 {
                    self.sight = Sight::Ready;
                }
            }
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_room_is_left_by_those_who_say_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut room = WaitingRoom::default();
        let now = Instant::now() + Duration::from_secs(60);
        let mut clients = Vec::new();
        let mut wait = |crowd: &str, age: u64, says: &[u8]| {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(says).unwrap();
            let (stream, _) = listener.accept().unwrap();
            if !says.is_empty() {
                stream.peek(&mut [0]).unwrap();
            }
            clients.push(client);
            let crowd = crowd.parse().unwrap();
            room.push(Waiting {
                stream,
                peer: crowd,
                crowd,
                since: now - Duration::from_millis(age),
                sight: Sight::Unseen,
            });
        };
        let (many, few) = ("192.0.2.1", "192.0.2.2");
        wait(many, 100, b"GET / HTTP/1.1\r\n\r\n");
        wait(few, 500, b"");
        wait(many, 90, b"");
        wait(many, 80, b"GET / HT");
        wait(many, 70, b"");
        wait(many, 40, b"");
        let ages = |room: &WaitingRoom| -> Vec<u128> {
            let ages = room.0.iter().map(|waiting| now - waiting.since);
            ages.map(|age| age.as_millis()).collect()
        };
        // A quarter of them at a time.
        assert!(room.shed(8, now));
        assert_eq!(ages(&room), [100, 500, 70, 40]);
        assert!(room.shed(4, now));
        assert_eq!(ages(&room), [100, 500, 40]);
        assert!(!room.shed(4, now));
        assert!(room.next().unwrap().is_ready());
        assert_eq!(ages(&room), [500, 40]);
        drop(clients);
        let until = Instant::now() + Duration::from_secs(20);
        while !ages(&room).is_empty() {
            assert!(Instant::now() < until, "who has left is not kept");
            room.look();
        }
    }
}
