//! Things that go wrong on the way, between Portainer and whoever calls: scripted by method, path and count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::http::Request;

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Somebody else answers, a proxy say: status, content type, body. Portainer never sees the request.
    Answer(u16, &'static str, String),
    /// A proxy's redirect to this URL.
    Redirect(String),
    /// The login page of a single sign-on in front of Portainer: 200 and HTML.
    LoginPage,
    /// The connection closes before Portainer sees the request.
    CloseBefore,
    /// Portainer does what was asked, and the connection closes instead of the answer.
    CloseAfter,
    /// Portainer does what was asked, and half of the answer's body arrives.
    CutShort,
    /// A proxy that gave up waiting: Portainer does what was asked, and the caller gets this status with HTML.
    GaveUp(u16),
    /// Nothing is ever answered; Portainer never sees the request.
    Silent,
    /// Portainer sees the request this much later.
    Delay(Duration),
    /// Portainer sees the request when the gate opens.
    Hold(Gate),
    /// For `images/create`: the pull begins well, and its stream ends in this error.
    PullBreaks(String),
}

/// Holds requests back until it is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Lets everything through, now and later.
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Which requests a fault is for.
#[derive(Clone, Debug)]
pub(crate) struct When {
    method: &'static str,
    prefix: String,
    skip: usize,
    once: bool,
}

impl When {
    /// The next request with this method and a path that begins so.
    pub(crate) fn next(method: &'static str, prefix: &str) -> When {
        When {
            method,
            prefix: prefix.to_owned(),
            skip: 0,
            once: true,
        }
    }

    /// The n-th one from now, counted from 1.
    pub(crate) fn nth(n: usize, method: &'static str, prefix: &str) -> When {
        When {
            skip: n.checked_sub(1).unwrap(),
            ..When::next(method, prefix)
        }
    }

    /// Every one.
    pub(crate) fn every(method: &'static str, prefix: &str) -> When {
        When {
            once: false,
            ..When::next(method, prefix)
        }
    }
}

/// The faults that are still to come; the first that fits a request is it.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(When, Fault)>);

impl Faults {
    pub(super) fn add(&mut self, when: When, fault: Fault) {
        self.0.push((when, fault));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn strike(&mut self, request: &Request) -> Option<Fault> {
        let fits = |(when, _): &(When, Fault)| {
            (when.method == "*" || when.method == request.method)
                && request.path.starts_with(&when.prefix)
        };
        let at = self.0.iter().position(fits)?;
        let (when, fault) = &mut self.0[at];
        if when.skip > 0 {
            when.skip -= 1;
            return None;
        }
        let fault = fault.clone();
        if when.once {
            self.0.remove(at);
        }
        Some(fault)
    }
}
