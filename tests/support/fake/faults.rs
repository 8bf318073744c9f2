//! Faults on the way between Portainer and its client, selected by method, path and count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::http::Request;

/// A fault.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An answer that is not Portainer's, such as a proxy's: status, content type, body. Portainer does not receive the request.
    Answer(u16, &'static str, String),
    /// A proxy's redirect to this URL.
    Redirect(String),
    /// The login page of a single sign-on in front of Portainer: 200 and HTML.
    LoginPage,
    /// The connection closes before Portainer receives the request.
    CloseBefore,
    /// Portainer carries out the request, and the connection closes without an answer.
    CloseAfter,
    /// Portainer carries out the request, and half of the answer's body arrives.
    CutShort,
    /// A proxy's time limit: Portainer carries out the request, and the client gets this status with HTML.
    GaveUp(u16),
    /// No answer ever; Portainer does not receive the request.
    Silent,
    /// Portainer receives the request after this delay.
    Delay(Duration),
    /// Portainer receives the request when the gate opens.
    Hold(Gate),
    /// For `images/create`: the pull begins, and its stream ends with this error.
    PullBreaks(String),
}

/// Holds requests until it is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Releases held and later requests.
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Selects the requests that a fault applies to.
#[derive(Clone, Debug)]
pub(crate) struct When {
    method: &'static str,
    prefix: String,
    skip: usize,
    once: bool,
}

impl When {
    /// The next request with this method (`*` for any) and a path with this prefix.
    pub(crate) fn next(method: &'static str, prefix: &str) -> When {
        When {
            method,
            prefix: prefix.to_owned(),
            skip: 0,
            once: true,
        }
    }

    /// The n-th matching request from now, counted from 1.
    pub(crate) fn nth(n: usize, method: &'static str, prefix: &str) -> When {
        When {
            skip: n.checked_sub(1).unwrap(),
            ..When::next(method, prefix)
        }
    }

    /// Every matching request.
    pub(crate) fn every(method: &'static str, prefix: &str) -> When {
        When {
            once: false,
            ..When::next(method, prefix)
        }
    }
}

/// The pending faults; the first that matches a request applies.
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
