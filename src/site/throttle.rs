//! How often somebody may be wrong about the staff password: a few times at once, then one more every few seconds. Deliveries are
//! never throttled.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::gate::crowd;
use crate::limits;

/// Lets guesses through or not.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<IpAddr, Bucket>>);

/// What one peer has left.
#[derive(Debug)]
struct Bucket {
    guesses: u32,
    /// Since when the next guess is growing back.
    since: Instant,
}

impl Throttle {
    /// Takes one guess from a peer before its password is looked at; `false`: there is none left. Taken first and given back if it was
    /// right, so that guesses made side by side count too.
    pub(super) fn take(&self, peer: IpAddr, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = crowd(peer);
        if !buckets.contains_key(&peer) && buckets.len() >= limits::THROTTLED_PEERS {
            make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(peer).or_insert(Bucket {
            guesses: limits::STAFF_GUESSES,
            since: now,
        });
        bucket.grow(now);
        match bucket.guesses.checked_sub(1) {
            Some(left) => {
                bucket.guesses = left;
                true
            }
            None => false,
        }
    }

    /// It was no wrong guess.
    pub(super) fn give_back(&self, peer: IpAddr) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = crowd(peer);
        if let Some(bucket) = buckets.get_mut(&peer) {
            bucket.guesses += 1;
            if bucket.guesses >= limits::STAFF_GUESSES {
                buckets.remove(&peer);
            }
        }
    }
}

impl Bucket {
    fn grow(&mut self, now: Instant) {
        let every = limits::STAFF_GUESS_EVERY;
        let passed = now.saturating_duration_since(self.since).as_millis();
        let grown = passed
            .checked_div(every.as_millis())
            .and_then(|grown| u32::try_from(grown).ok())
            .unwrap_or(limits::STAFF_GUESSES);
        self.guesses = self
            .guesses
            .saturating_add(grown)
            .min(limits::STAFF_GUESSES);
        self.since = match self.guesses < limits::STAFF_GUESSES {
            true => self.since + every.saturating_mul(grown),
            false => now,
        };
    }
}

/// Forgets those who may guess freely again, and else whoever has waited longest: a table full of strangers must not grow.
fn make_room(buckets: &mut HashMap<IpAddr, Bucket>, now: Instant) {
    buckets.retain(|_, bucket| {
        bucket.grow(now);
        bucket.guesses < limits::STAFF_GUESSES
    });
    if buckets.len() >= limits::THROTTLED_PEERS {
        let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.since);
        if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
            buckets.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of so many guesses are let through.
    fn through(throttle: &Throttle, from: &str, guesses: u32, now: Instant) -> u32 {
        let mut through = 0;
        for _ in 0..guesses {
            through += u32::from(throttle.take(peer(from), now));
        }
        through
    }

    #[test]
    fn a_few_wrong_guesses_at_once_and_then_one_now_and_then() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let most = limits::STAFF_GUESSES;
        assert_eq!(through(&throttle, "192.0.2.1", 1000, now), most);
        let almost = now + limits::STAFF_GUESS_EVERY - Duration::from_millis(1);
        assert_eq!(through(&throttle, "192.0.2.1", 10, almost), 0);
        let later = now + limits::STAFF_GUESS_EVERY;
        assert_eq!(through(&throttle, "192.0.2.1", 10, later), 1);
        let long = now + Duration::from_secs(86_400);
        assert_eq!(through(&throttle, "192.0.2.1", 1000, long), most);
    }

    #[test]
    fn whoever_knows_the_password_is_never_throttled() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..1000 {
            assert!(throttle.take(peer("192.0.2.1"), now));
            throttle.give_back(peer("192.0.2.1"));
        }
        assert!(throttle.0.lock().unwrap().is_empty());
    }

    #[test]
    fn peers_do_not_pay_for_each_other_but_one_network_is_one_peer() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let most = limits::STAFF_GUESSES;
        assert_eq!(through(&throttle, "192.0.2.1", 100, now), most);
        assert_eq!(through(&throttle, "192.0.2.2", 100, now), most);
        assert_eq!(through(&throttle, "::ffff:192.0.2.1", 100, now), 0);
        assert_eq!(through(&throttle, "2001:db8:1:2::1", 100, now), most);
        assert_eq!(through(&throttle, "2001:db8:1:2:ffff::1", 100, now), 0);
        assert_eq!(through(&throttle, "2001:db8:1:3::1", 100, now), most);
    }

    #[test]
    fn a_crowd_does_not_grow_the_table() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let many = u32::try_from(limits::THROTTLED_PEERS).unwrap() + 500;
        for number in 0..many {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(number));
            throttle.take(address, now + Duration::from_micros(u64::from(number)));
        }
        let size = throttle.0.lock().unwrap().len();
        assert_eq!(size, limits::THROTTLED_PEERS);
    }
}
