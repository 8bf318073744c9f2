//! The one place that logs replies: one line per request, with harmless fields only. Never a query, a body, or a header, which may carry
//! a secret. Lines that an unauthenticated client causes go through a limiter.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, log_enabled};

use crate::delivery::Delivery;
use crate::hook::Hook;
use crate::http::Method;
use crate::message::Reply;
use crate::site::auth::{HOME, Rejected, Route};
use crate::site::recent::RejectedRequest;
use crate::site::{Site, desk};

/// Log lines about unauthenticated requests that may be written in a burst.
const BURST: u32 = 20;
/// After a burst, one more line may be written this often.
const LINE_EVERY: Duration = Duration::from_secs(6);

/// The harmless facts of a request.
#[derive(Debug, Clone)]
pub(super) struct RequestInfo {
    /// The time at which its head was complete.
    at: Instant,
    method: Method,
    /// The template of the route: names in the path can be anything.
    route: &'static str,
    pub(super) peer: IpAddr,
    /// The hook whose signature was verified.
    pub(super) hook: Option<String>,
    /// The client has proved that it knows a secret.
    is_authenticated: bool,
}

/// The content of a reply, for the log.
#[derive(Default)]
pub(super) struct Summary<'d> {
    /// The accepted delivery.
    pub(super) delivery: Option<&'d Delivery>,
    /// The outcome, if no delivery was accepted.
    pub(super) outcome: &'static str,
    /// The reason for anything but a success.
    pub(super) reason: &'d str,
    /// Logged at level debug.
    pub(super) is_routine: bool,
}

impl RequestInfo {
    pub(super) fn new(method: &Method, route: Option<Route<'_>>, peer: IpAddr) -> RequestInfo {
        RequestInfo {
            at: Instant::now(),
            method: method.clone(),
            route: route.map_or("-", Route::template),
            peer,
            hook: None,
            is_authenticated: false,
        }
    }

    /// The same, authenticated for a hook.
    pub(super) fn of_hook(self, hook: &Hook) -> RequestInfo {
        RequestInfo {
            hook: Some(hook.name.to_string()),
            is_authenticated: true,
            ..self
        }
    }

    /// The same, authenticated as staff.
    pub(super) fn of_staff(self) -> RequestInfo {
        RequestInfo {
            is_authenticated: true,
            ..self
        }
    }

    pub(super) fn route(&self) -> &'static str {
        self.route
    }
}

impl<'d> Summary<'d> {
    /// The outcome of a verified request without an accepted delivery.
    pub(super) fn ended(outcome: &'static str, reason: &'d str) -> Summary<'d> {
        Summary {
            outcome,
            reason,
            ..Summary::default()
        }
    }

    /// No outcome, perhaps with a reason.
    pub(super) fn note(reason: &'d str) -> Summary<'d> {
        Summary::ended("-", reason)
    }

    /// A frequent request of monitoring, which is logged at level debug.
    pub(super) fn routine() -> Summary<'d> {
        Summary {
            is_routine: true,
            ..Summary::note("")
        }
    }
}

impl Site {
    /// Logs a request that the HTTP server itself refused.
    pub(super) fn log_refused(&self, peer: IpAddr, reply: &Reply, reason: &str) {
        if let Some(hidden) = self.limiter.admit(Instant::now()) {
            log::warn!(status = reply.status, peer = display(peer).as_str(); "refused: {reason}");
            log_hidden(hidden);
        }
    }

    /// Counts, remembers and logs a rejected request. Returns its reply.
    pub(super) fn reject(&self, info: &RequestInfo, rejected: Rejected) -> Reply {
        // Browsers always ask without a password first, and a redirect is not a rejection.
        if matches!(rejected.reason, HOME | desk::NO_PASSWORD) {
            return rejected.reply;
        }
        self.metrics.rejection(rejected.reason);
        // A scan of addresses must not push other rejections out of the page's list.
        if !matches!(rejected.reason, "no_route" | "method" | "no_delivery") {
            self.recent.record_rejection(RejectedRequest {
                unix: self.clock.unix(),
                peer: info.peer.to_canonical(),
                hook: rejected.hook.clone().unwrap_or_default(),
                status: rejected.reply.status,
                words: rejected.hint.clone(),
                times: 1,
            });
        }
        if let Some(hidden) = self.limiter.admit(Instant::now()) {
            log::warn!(
                method = info.method.as_str(),
                route = info.route,
                status = rejected.reply.status,
                peer = display(info.peer).as_str(),
                hook = rejected.hook.as_deref().unwrap_or("-"),
                reason = rejected.reason;
                "rejected: {}", rejected.hint
            );
            log_hidden(hidden);
        }
        rejected.reply
    }

    /// Logs the reply to a request that was not rejected, and returns it.
    pub(super) fn answer(&self, info: &RequestInfo, reply: Reply, about: &Summary<'_>) -> Reply {
        let level = match about.is_routine {
            true => Level::Debug,
            false => Level::Info,
        };
        if !log_enabled!(level) {
            return reply;
        }
        if !info.is_authenticated {
            let Some(hidden) = self.limiter.admit(Instant::now()) else {
                return reply;
            };
            log_hidden(hidden);
        }
        let millis = u64::try_from(info.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (mut id, mut stacks, mut outcome) = ("-", vec!["-"], about.outcome);
        if let Some(delivery) = about.delivery {
            id = delivery.id.as_str();
            stacks = delivery
                .parts
                .iter()
                .map(|part| part.stack.as_str())
                .collect();
            outcome = delivery.status().name();
        }
        log::log!(
            level,
            method = info.method.as_str(),
            route = info.route,
            status = reply.status,
            ms = millis,
            peer = display(info.peer).as_str(),
            hook = info.hook.as_deref().unwrap_or("-"),
            delivery = id,
            stack = stacks.join(",").as_str(),
            outcome = outcome,
            reason = about.reason;
            "answered"
        );
        reply
    }
}

fn log_hidden(hidden: u64) {
    if hidden > 0 {
        log::warn!("{hidden} more requests of unauthenticated clients were not logged");
    }
}

fn display(peer: IpAddr) -> String {
    peer.to_canonical().to_string()
}

/// A token bucket for log lines: a burst, then one every few seconds; the rest is counted.
#[derive(Debug, Default)]
pub(super) struct LogLimiter(Mutex<Bucket>);

#[derive(Debug, Default)]
struct Bucket {
    /// Recent lines; one is forgotten every [`LINE_EVERY`].
    lines: u32,
    since: Option<Instant>,
    hidden: u64,
}

impl LogLimiter {
    /// Admits a line, with the number of lines that were suppressed before it; `None` if this one is suppressed too.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *bucket.since.get_or_insert(now);
        let forgotten = now.duration_since(since).as_secs() / LINE_EVERY.as_secs().max(1);
        if let Ok(forgotten) = u32::try_from(forgotten) {
            bucket.lines = bucket.lines.saturating_sub(forgotten);
            bucket.since = since.checked_add(LINE_EVERY.saturating_mul(forgotten));
        }
        if bucket.lines >= BURST {
            bucket.hidden += 1;
            return None;
        }
        bucket.lines += 1;
        Some(std::mem::take(&mut bucket.hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_a_flood_to_a_burst_and_counts_the_rest() {
        let limiter = LogLimiter::default();
        let now = Instant::now();
        let written = (0..1000).filter(|_| limiter.admit(now).is_some()).count();
        assert_eq!(written, usize::try_from(BURST).unwrap());
        let later = now + LINE_EVERY;
        assert_eq!(limiter.admit(later), Some(1000 - u64::from(BURST)));
        assert_eq!(limiter.admit(later), None);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!(limiter.admit(much_later), Some(1));
        assert_eq!(limiter.admit(much_later), Some(0));
    }
}
