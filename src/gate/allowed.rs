//! What the system allows this process, and what follows from it: how many places there are, and whether there is memory for
//! something large. Nobody can do much once a small allocation fails, so whoever wants much is refused before that.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use crate::limits;
use crate::request::Refusal;

/// The soft limit of descriptors; none that can be read is none.
pub(crate) fn open_files() -> usize {
    limit(&own_limits(), "Max open files").unwrap_or(usize::MAX)
}

/// How many connections such a limit of descriptors allows.
pub(super) fn places(open_files: usize) -> usize {
    let (fewest, most) = limits::CONNECTIONS;
    let each = open_files.saturating_sub(limits::OTHER_DESCRIPTORS) / limits::DESCRIPTORS_EACH;
    each.clamp(fewest, most)
}

/// The limit of descriptors with which there are as many connections as there may be.
pub(super) fn enough_files() -> usize {
    limits::OTHER_DESCRIPTORS + limits::CONNECTIONS.1 * limits::DESCRIPTORS_EACH
}

/// How many may wait before these places: half of the descriptors that are left.
pub(super) fn room(open_files: usize, places: usize) -> usize {
    let taken = limits::OTHER_DESCRIPTORS + 2 * places;
    (open_files.saturating_sub(taken) / 2).clamp(1, limits::WAITING_ROOM)
}

/// The address space, where it is limited: what counts against the limit is taken for large things only as long as enough is left
/// for everything else.
#[derive(Debug)]
pub(super) struct Memory {
    limited: Option<Mutex<Limited>>,
}

#[derive(Debug)]
struct Limited {
    /// Bytes.
    limit: usize,
    /// Stays open: later there may be no descriptor for it.
    stat: File,
}

impl Memory {
    /// Of this process.
    pub(super) fn own() -> Memory {
        let limited = limit(&own_limits(), "Max address space").and_then(|limit| {
            let stat = File::open("/proc/self/stat").ok()?;
            Some(Mutex::new(Limited { limit, stat }))
        });
        Memory { limited }
    }

    /// Whether so many bytes can be taken, and enough is left.
    pub(super) fn has(&self, more: usize) -> bool {
        let limited = self.limited.as_ref();
        limited.is_none_or(|one| one.lock().unwrap_or_else(PoisonError::into_inner).has(more))
    }

    /// Makes room for more bytes behind those that are there.
    ///
    /// # Errors
    /// Too little would be left.
    pub(super) fn reserve(&self, bytes: &mut Vec<u8>, more: usize) -> Result<(), Refusal> {
        let length = bytes.len().saturating_add(more);
        let large = length > limits::SMALL_BODY && length > bytes.capacity();
        // One after the other, or each would count on the same.
        let limited = self.limited.as_ref().filter(|_| large);
        let limited = limited.map(|one| one.lock().unwrap_or_else(PoisonError::into_inner));
        // While it grows, it may be there twice.
        let wanted = length.max(bytes.capacity().saturating_mul(2));
        if limited.is_some_and(|one| !one.has(wanted)) {
            return Err(Refusal::Busy);
        }
        bytes.try_reserve(more).map_err(|_| Refusal::Busy)
    }
}

impl Limited {
    fn has(&self, more: usize) -> bool {
        let mut text = [0; 1024];
        let read = self.stat.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(text.get(..read).unwrap_or_default());
        let wanted = more.saturating_add(limits::SPARE_MEMORY);
        taken(&text).is_some_and(|taken| taken.saturating_add(wanted) <= self.limit)
    }
}

/// The whole address space, from `/proc/PID/stat` (proc_pid_stat(5): field 23; the second one may contain anything).
fn taken(stat: &str) -> Option<usize> {
    let (_, from_third) = stat.rsplit_once(") ")?;
    from_third.split(' ').nth(20)?.parse().ok()
}

fn own_limits() -> String {
    fs::read_to_string("/proc/self/limits").unwrap_or_default()
}

/// The soft limit of that name; `None` where there is none.
fn limit(limits: &str, name: &str) -> Option<usize> {
    let lines = limits.lines();
    let line = lines.filter_map(|line| line.strip_prefix(name));
    line.flat_map(str::split_whitespace).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_descriptors_says_how_many_places_there_are() {
        for (limit, expected) in [
            (0, 4),
            (24, 4),
            (39, 5),
            (64, 13),
            (168, 48),
            (1_048_576, 48),
            (usize::MAX, 48),
        ] {
            assert_eq!(places(limit), expected, "{limit}");
            assert_eq!(limit >= enough_files(), expected == 48, "{limit}");
        }
        for (limit, expected) in [(0, 1), (64, 7), (1024, 452), (1_048_576, 2048)] {
            assert_eq!(room(limit, places(limit)), expected, "{limit}");
        }
    }

    #[test]
    fn limits_are_read_as_the_system_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max file size             unlimited            unlimited            bytes     \n\
                    Max open files            1024                 524288               files     \n\
                    Max address space         204800000            unlimited            bytes     \n";
        assert_eq!(limit(text, "Max open files"), Some(1024));
        assert_eq!(limit(text, "Max address space"), Some(204_800_000));
        assert_eq!(limit(text, "Max file size"), None);
        assert_eq!(limit("", "Max open files"), None);
        assert!(open_files() > 0);
    }

    #[test]
    fn what_is_large_is_refused_while_something_is_left() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let taken = taken(&stat).unwrap();
        let within = |limit| Memory {
            limited: Some(Mutex::new(Limited {
                limit,
                stat: File::open("/proc/self/stat").unwrap(),
            })),
        };
        // Other tests in this process take something at the same time.
        let plenty = within(taken * 2 + 64 * limits::SPARE_MEMORY);
        assert!(plenty.has(limits::SPARE_MEMORY));
        assert_eq!(plenty.reserve(&mut Vec::new(), 1 << 20), Ok(()));
        let scarce = within(taken / 2);
        assert!(!scarce.has(0));
        assert_eq!(scarce.reserve(&mut Vec::new(), 1 << 20), Err(Refusal::Busy));
        let mut small = Vec::new();
        assert_eq!(scarce.reserve(&mut small, limits::SMALL_BODY), Ok(()));
        let unlimited = Memory { limited: None };
        assert!(unlimited.has(usize::MAX));
        assert_eq!(
            unlimited.reserve(&mut Vec::new(), usize::MAX),
            Err(Refusal::Busy)
        );
    }
}
