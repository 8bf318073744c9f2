//! The division of the process's descriptors, and budgets of which one client can take only a share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client;

/// The number of connections and waiting requests that the process may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Open connections.
    pub(crate) connections: usize,
    /// Waiting deliveries.
    pub(crate) deliveries: usize,
    /// Waiting status requests.
    pub(crate) status_requests: usize,
}

impl Capacity {
    /// Raises the soft limit of descriptors to the hard one, and divides it up.
    pub(crate) fn acquire() -> Capacity {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if limit.current != limit.maximum
            && let Err(error) = setrlimit(Resource::Nofile, raised)
        {
            log::debug!("cannot raise the limit of open files: {error}");
        }
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let capacity = Capacity::of(usize::try_from(files).unwrap_or(usize::MAX));
        if capacity.deliveries < DELIVERIES_WANTED {
            log::warn!(
                "only {} connections and {} waiting deliveries at a time: at most {files} files may be open (ulimit -n, LimitNOFILE=); 1024 allow {DELIVERIES_WANTED} waiting deliveries",
                capacity.connections,
                capacity.deliveries,
            );
        }
        capacity
    }

    /// Sixteen running redeploys need up to eleven descriptors each; these and our own files are set aside first. Three quarters of
    /// the connections may wait, so that a quarter remains for everyone else.
    pub(super) fn of(open_files: usize) -> Capacity {
        let redeploys = (open_files / 4).min(16 * 11);
        let left = open_files.saturating_sub(OWN_FILES + redeploys);
        let connections = left.clamp(4, CONNECTIONS_MAX);
        Capacity {
            connections,
            deliveries: connections * 5 / 8,
            status_requests: connections / 8,
        }
    }
}

/// Waiting deliveries that an ordinary limit of 1,024 descriptors must allow.
const DELIVERIES_WANTED: usize = 512;
/// Descriptors besides connections: standard streams, sockets, epoll, journal, locks.
const OWN_FILES: usize = 24;
/// Four thousand idle connections occupy about 2 MB.
const CONNECTIONS_MAX: usize = 4_000;

/// A bounded number of places, with a share for each address prefix.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    share: usize,
    pub(super) taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A place in a [`Budget`], returned on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<Budget>,
    prefix: IpAddr,
}

impl Budget {
    /// `max` places in all, of which one address prefix may take `share`.
    pub(crate) fn new(max: usize, share: usize) -> Arc<Budget> {
        Arc::new(Budget {
            max,
            share: share.max(1),
            taken: Mutex::default(),
        })
    }

    /// A place for this client, if one is free.
    pub(crate) fn acquire(self: &Arc<Self>, peer: IpAddr) -> Option<Permit> {
        let prefix = client::prefix(peer);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&prefix).copied().unwrap_or(0);
        if own >= self.share || taken.values().sum::<usize>() >= self.max {
            return None;
        }
        taken.insert(prefix, own + 1);
        Some(Permit {
            budget: Arc::clone(self),
            prefix,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self
            .budget
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.prefix) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.prefix)),
        }
    }
}
