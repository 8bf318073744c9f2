//! What stands behind the network: `admit` decides who is let in, then the request is answered, and one line logged. Knows nothing of
//! sockets.

mod rejections;
mod recent;
mod throttle;
mod template;
mod desk;
mod page;
mod admit;
mod lines;
mod staff;
mod deliver;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::reply;
use crate::hook::Hook;
use crate::limits;
use crate::message::{Prefer, Reply};
use crate::metrics::Metrics;
use crate::request::{Answer, Asked, Awaited, Behind, Refusal, Request, Wait};
use crate::scheduler::Scheduler;
use crate::signature::{EXPECTED, Rejection, UnverifiedBody};
use crate::site::admit::{Call, Route};
pub(crate) use crate::site::desk::Desk;
use crate::site::lines::About;
use crate::site::recent::Recent;
use crate::site::rejections::Rejections;
use crate::stack::Stack;

/// What stands behind the network.
pub(crate) struct Site {
    hooks: Vec<Hook>,
    stacks: Vec<Stack>,
    scheduler: Arc<Scheduler>,
    clock: Arc<dyn Clock>,
    /// The path of the public URL, without a trailing slash.
    prefix: String,
    rejections: Rejections,
    recent: Recent,
    metrics: Arc<Metrics>,
    /// Held by whoever reads a larger body, and until what it says is accepted or refused.
    reading: Mutex<()>,
    /// Nobody is let in without a configured password.
    desk: Option<Desk>,
}

/// A request that is not admitted.
#[derive(Debug)]
struct Rejected {
    reply: Reply,
    /// For the log: a code, and words where they help.
    reason: &'static str,
    hint: Cow<'static, str>,
    hook: Option<String>,
}

impl Site {
    /// `desk` is the settings page, where there is staff.
    pub(crate) fn new(
        config: &Config,
        scheduler: Arc<Scheduler>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        desk: Option<Desk>,
    ) -> Site {
        let (hooks, stacks) = (config.hooks.clone(), config.stacks.clone());
        let prefix = config
            .public_url
            .as_deref()
            .map(path_of)
            .unwrap_or_default()
            .to_owned();
        Site {
            hooks,
            stacks,
            scheduler,
            clock,
            prefix,
            rejections: Rejections::default(),
            recent: Recent::default(),
            metrics,
            reading: Mutex::new(()),
            desk,
        }
    }

    /// The right to read such a body.
    fn alone(&self, body: &UnverifiedBody) -> Option<MutexGuard<'_, ()>> {
        let lock = || self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        (body.len() > limits::READ_ALONE).then(lock)
    }
}

/// Why `/` is not answered itself.
const HOME: &str = "home";
const NO_DELIVERY: &str = "no such delivery, or no longer known";

impl Behind for Site {
    fn turn_away(&self, request: &Request) -> Option<Reply> {
        match self.admit_or_slow_down(request) {
            Err(rejected) => {
                self.log_rejected(&asked(request, None), &rejected);
                Some(rejected.reply)
            }
            // Most of what Git hosts send is not for us. Larger bodies are read by workers alone, of which there are few.
            Ok(Call::Delivery {
                hook,
                only,
                verified,
            }) if request.body.len() <= limits::READ_AT_THE_DOOR => {
                let _alone = self.alone(&request.body);
                let nothing = self.meant(hook, only.as_ref(), &verified).err()?;
                let asked = asked(request, Some(hook));
                Some(self.nothing_done(hook, &nothing, &verified, &asked))
            }
            Ok(_) => None,
        }
    }

    fn handle(&self, request: &Request) -> Answer {
        let asked = |hook: Option<&Hook>| asked(request, hook);
        match self.admit_or_slow_down(request) {
            Err(rejected) => {
                self.log_rejected(&asked(None), &rejected);
                Answer::now(rejected.reply)
            }
            Ok(Call::Health) => {
                log::debug!(peer = request.peer.to_string().as_str(); "healthz");
                Answer::now(Reply::text(200, "ok\n"))
            }
            Ok(Call::Metrics) => {
                log::debug!(peer = request.peer.to_string().as_str(); "metrics");
                let text = self.metrics.render(self.scheduler.open());
                Answer::now(desk::guarded(desk::metrics(&text)))
            }
            Ok(Call::Page) => self.page(request, asked(None)),
            Ok(Call::Act(verified)) => self.act(request, &verified, asked(None)),
            Ok(Call::Status(id)) => self.status(&id, Prefer::of(&request.headers), asked(None)),
            Ok(Call::Delivery {
                hook,
                only,
                verified,
            }) => {
                let _alone = self.alone(&request.body);
                self.deliver(hook, only.as_ref(), &verified, asked(Some(hook)))
            }
        }
    }

    fn wait(&self, wait: &Wait, listening: &dyn Fn() -> bool) -> Reply {
        let Awaited::Delivery(id) = &wait.what else {
            return self.wait_for_probe(wait, listening);
        };
        let delivery = loop {
            let look = (Instant::now() + limits::STILL_THERE).min(wait.until);
            let delivery = self.scheduler.wait(id, look);
            let more =
                delivery.as_ref().is_some_and(|d| !d.has_ended()) && !self.scheduler.is_over();
            if !more || Instant::now() >= wait.until || !listening() {
                break delivery;
            }
        };
        let reason = delivery.as_ref().map(reply::reason).unwrap_or_default();
        let reply = match &delivery {
            Some(delivery)
                if !delivery.has_ended() && self.scheduler.is_over() && !self.scheduler.lasts() =>
            {
                reply::stopped(delivery, &self.prefix)
            }
            Some(delivery) => reply::about(delivery, &self.prefix),
            None => reply::unknown(),
        };
        let about = About {
            delivery: delivery.as_ref(),
            outcome: "",
            reason: &reason,
        };
        self.log_answered(&wait.asked, &reply, &about);
        match &wait.preference {
            Some(preference) => reply.with("Preference-Applied", preference.clone()),
            None => reply,
        }
    }

    fn refuse(&self, path: Option<&str>, peer: IpAddr, why: Refusal) -> Reply {
        self.log_refused(peer, why.status(), why.words());
        plain_or_json(path.unwrap_or_default(), why.status(), why.words())
    }
}

impl Rejected {
    fn plain(path: &str, status: u16, reason: &'static str, words: &str) -> Rejected {
        Rejected {
            reply: plain_or_json(path, status, words),
            reason,
            hint: words.to_owned().into(),
            hook: None,
        }
    }

    /// The time in the body was off: known only after the signature was verified.
    fn stale(hook: &Hook, why: Rejection) -> Rejected {
        Rejected {
            reply: reply::rejected(401, EXPECTED),
            reason: why.code(),
            hint: why.hint(),
            hook: Some(hook.name.to_string()),
        }
    }
}

/// What the log says of a request that is answered now.
fn asked(request: &Request, hook: Option<&Hook>) -> Asked {
    Asked {
        at: Instant::now(),
        method: request.method,
        route: Route::of(&request.path).map_or("-", Route::template),
        peer: request.peer,
        hook: hook.map(|hook| hook.name.to_string()),
    }
}

/// Under `/webhook/` every reply is the JSON object, elsewhere one line of text.
fn plain_or_json(path: &str, status: u16, words: &str) -> Reply {
    match path.starts_with("/webhook/") {
        true => reply::rejected(status, words),
        false => Reply::text(status, &format!("{words}\n")),
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
