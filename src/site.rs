//! The application behind the HTTP server: routes, authentication, replies. Every request takes the same way: [`Site::resolve`] checks
//! route, method and address on the head, then the request is authenticated, answered, and logged in one place.

mod recent;
mod auth;
mod desk;
mod access_log;
mod page;
mod staff;
mod deliver;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::reply;
use crate::hook::Hook;
use crate::http::{Answer, Awaited, Budget, Capacity, Handler, Method, Refusal, Responder};
use crate::message::{Headers, Prefer, Reply};
use crate::metrics::Metrics;
use crate::scheduler::Scheduler;
use crate::signature::UnverifiedBody;
use crate::site::access_log::{LogLimiter, RequestInfo, Summary};
pub(crate) use crate::site::desk::Desk;
use crate::site::recent::Recent;
use crate::stack::Stack;
use auth::{Rejected, Route, Target};

/// Routes requests and answers them.
pub(crate) struct Site {
    hooks: Vec<Arc<Hook>>,
    stacks: Vec<Stack>,
    scheduler: Arc<Scheduler>,
    clock: Arc<dyn Clock>,
    /// The path of the public URL, without a trailing slash.
    prefix: String,
    /// Bounds the log lines that unauthenticated clients can cause.
    limiter: LogLimiter,
    recent: Recent,
    metrics: Arc<Metrics>,
    /// Held while a larger body is parsed.
    parsing: Mutex<()>,
    waiting_deliveries: Arc<Budget>,
    waiting_status_requests: Arc<Budget>,
    /// The settings page; absent without a staff password.
    desk: Option<Desk>,
}

/// Parsed JSON takes many times the memory of its text, so only one signed body larger than this (bytes) is parsed at a time: a leaked
/// secret must not be enough to fill the memory.
const PARSED_ALONE: usize = 4 * 1024;

impl Site {
    /// `desk` is the settings page, if there is staff.
    pub(crate) fn new(
        config: &Config,
        capacity: Capacity,
        scheduler: Arc<Scheduler>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        desk: Option<Desk>,
    ) -> Site {
        let prefix = config
            .public_url
            .as_deref()
            .map(path_of)
            .unwrap_or_default()
            .to_owned();
        let (deliveries, status) = (capacity.deliveries, capacity.status_requests);
        Site {
            hooks: config.hooks.iter().cloned().map(Arc::new).collect(),
            stacks: config.stacks.clone(),
            scheduler,
            clock,
            prefix,
            limiter: LogLimiter::default(),
            recent: Recent::default(),
            metrics,
            parsing: Mutex::new(()),
            waiting_deliveries: Budget::new(deliveries, deliveries),
            waiting_status_requests: Budget::new(status, status / 2),
            desk,
        }
    }

    /// The right to parse such a body.
    fn parsing_lock(&self, body: &UnverifiedBody) -> Option<MutexGuard<'_, ()>> {
        let lock = || self.parsing.lock().unwrap_or_else(PoisonError::into_inner);
        (body.len() > PARSED_ALONE).then(lock)
    }
}

impl Handler for Site {
    fn admit(
        self: Arc<Self>,
        method: &Method,
        path: &str,
        headers: &Headers,
        peer: IpAddr,
    ) -> Result<Responder, Reply> {
        let route = Route::parse(path);
        let info = RequestInfo::new(method, route, peer);
        let target = match self.resolve(route, method, path, peer) {
            Ok(target) => target,
            Err(rejected) => {
                let rejected = self.for_browser(method, path, headers, rejected);
                return Err(self.reject(&info, rejected));
            }
        };
        Ok(Box::new(move |request| match target {
            Target::Health => {
                Answer::Now(self.answer(&info, Reply::text(200, "ok\n"), &Summary::routine()))
            }
            Target::Status(id) => self.status(&id, Prefer::of(&request.headers), info),
            Target::Hook { hook, stack } => self.deliver(&hook, stack.as_ref(), &request, info),
            Target::Staff(page) => self.staff(page, &request, info),
        }))
    }

    fn is_finished(&self, awaited: &Awaited) -> bool {
        match awaited {
            Awaited::Delivery(id) => {
                let delivery = self.scheduler.find(id);
                delivery.is_none_or(|delivery| delivery.has_ended())
            }
            Awaited::Job(number) => {
                let desk = self.desk.as_ref();
                desk.is_none_or(|desk| desk.probe.is_done(*number))
            }
        }
    }

    fn refuse(&self, path: Option<&str>, peer: IpAddr, why: Refusal) -> Reply {
        let (status, reason) = why.explain();
        let reply = plain_or_json(path.unwrap_or_default(), status, reason);
        let reply = match why {
            Refusal::Busy => reply.with("Retry-After", RETRY_AFTER),
            _ => reply,
        };
        self.log_refused(peer, &reply, reason);
        reply
    }
}

/// `Retry-After` of a 503 (seconds).
const RETRY_AFTER: &str = "10";

/// Under `/webhook/` every reply is the JSON object, elsewhere one line of text.
fn plain_or_json(path: &str, status: u16, text: &str) -> Reply {
    if path.starts_with("/webhook/") {
        reply::rejected(status, text)
    } else {
        Reply::text(status, &format!("{text}\n"))
    }
}

impl Site {
    /// The same rejection with a small page instead of a line of text, if a browser shows it to a person. Senders never ask for HTML.
    fn for_browser(
        &self,
        method: &Method,
        path: &str,
        headers: &Headers,
        rejected: Rejected,
    ) -> Rejected {
        let mut accepted = headers.all("accept");
        let is_browser = accepted.any(|types| types.to_ascii_lowercase().contains("text/html"));
        let is_read = matches!(method, Method::Get | Method::Head);
        if !is_browser || !(400..500).contains(&rejected.reply.status) {
            return rejected;
        }
        if path.starts_with("/webhook/") && !is_read {
            return rejected;
        }
        let title = match rejected.reply.status {
            401 => "Sign in",
            403 => "Not accepted",
            404 => "Not found",
            405 => "Not a page to open",
            _ => "Not possible",
        };
        // Relative, so that it is right under any path of a proxy.
        let up = "../".repeat(path.matches('/').count().saturating_sub(1));
        let page = format!("{up}settings/webhooks/");
        let link = self
            .desk
            .as_ref()
            .map(|_| (page.as_str(), "Open the settings page"));
        let mut reply = desk::html(
            rejected.reply.status,
            &page::message(title, &rejected.hint, link),
        );
        let others = rejected.reply.headers.into_iter();
        let others = others.filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        reply.headers.extend(others);
        Rejected { reply, ..rejected }
    }
}

/// The path of a URL, without a trailing slash.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/')
        .and_then(|at| rest.get(at..))
        .unwrap_or_default()
        .trim_end_matches('/')
}
