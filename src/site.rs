//! The routes: what a request is, whether it is admitted, and what it is answered. `admit` is pure and decides; counters and
//! log lines follow from what it says. Knows nothing of sockets.

mod rejections;
mod recent;
mod throttle;
mod template;
mod desk;
mod page;
mod staff;
mod deliver;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::reply;
use crate::engine::Engine;
use crate::hook::{Hook, HookName};
use crate::http::{Prefer, Reply};
use crate::limits;
use crate::metrics::Metrics;
use crate::request::{Answer, Asked, Awaited, Behind, DeliveryId, Refusal, Request, Wait};
use crate::signature::{self, EXPECTED, Given, Rejection, Verified};
pub(crate) use crate::site::desk::Desk;
use crate::site::recent::{Recent, TurnedAway};
use crate::site::rejections::Rejections;
use crate::stack::{Stack, StackKey};

/// What stands behind the network.
pub(crate) struct Site {
    hooks: Vec<Hook>,
    stacks: Vec<Stack>,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    /// The path of the public URL, without a trailing slash.
    prefix: String,
    rejections: Rejections,
    recent: Recent,
    metrics: Arc<Metrics>,
    /// Nobody is let in without a configured password.
    desk: Option<Desk>,
}

/// An admitted request: the right to be handled.
#[derive(Debug)]
enum Call<'r> {
    Health,
    Delivery {
        hook: &'r Hook,
        only: Option<StackKey>,
        verified: Verified<'r>,
    },
    Status(DeliveryId),
    Page,
    Act(Verified<'r>),
    Metrics,
}

/// A request that is not admitted.
#[derive(Debug)]
struct Rejected {
    reply: Reply,
    /// For the log: a code, and words where they help.
    reason: &'static str,
    hint: String,
    hook: Option<String>,
}

/// Where a request goes.
enum Route {
    Health,
    Home,
    Settings,
    Metrics,
    /// To the hook of this name, or else to the stack of this name by the default hook.
    Update(Option<String>),
    Status(String),
}

impl Site {
    /// `desk` is the settings page, where there is staff.
    pub(crate) fn new(
        config: &Config,
        engine: Arc<Engine>,
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
            engine,
            clock,
            prefix,
            rejections: Rejections::default(),
            recent: Recent::default(),
            metrics,
            desk,
        }
    }

    /// The whole order of checks before a worker is bothered: route, method, peer, signature over the raw bytes.
    fn admit<'r>(&'r self, request: &'r Request) -> Result<Call<'r>, Rejected> {
        let route = Route::of(&request.path).ok_or_else(|| {
            Rejected::plain(&request.path, 404, "no_route", "there is nothing here")
        })?;
        route.allows(request)?;
        match route {
            Route::Health => Ok(Call::Health),
            Route::Home => Err(Rejected {
                // Relative, so that it is right under whatever path a proxy publishes it.
                reply: Reply::text(303, "").with("Location", "settings/webhooks/"),
                ..Rejected::plain(&request.path, 303, HOME, "")
            }),
            Route::Settings | Route::Metrics => {
                let Some(desk) = &self.desk else {
                    let words = match route {
                        Route::Metrics => "there are no metrics here: set STACKHOOK_STAFF_PASSWORD",
                        _ => "there is no settings page here: set STACKHOOK_STAFF_PASSWORD",
                    };
                    return Err(Rejected::plain(&request.path, 404, "no_staff", words));
                };
                let verified = desk.verify(request, self.clock.unix())?;
                Ok(match (route, request.method.as_str()) {
                    (Route::Metrics, _) => Call::Metrics,
                    (_, "POST") => Call::Act(verified),
                    _ => Call::Page,
                })
            }
            Route::Status(id) => match DeliveryId::parse(&id) {
                Some(id) => Ok(Call::Status(id)),
                None => Err(Rejected {
                    reply: reply::unknown(),
                    ..Rejected::plain(&request.path, 404, "no_delivery", NO_DELIVERY)
                }),
            },
            Route::Update(name) => self.delivery(request, name.as_deref()),
        }
    }

    /// The same, after staff's throttle was asked: a password is not even looked at when too many were wrong.
    fn admit_or_slow_down<'r>(&'r self, request: &'r Request) -> Result<Call<'r>, Rejected> {
        let staff_only = matches!(
            Route::of(&request.path),
            Some(Route::Settings | Route::Metrics)
        );
        let desk = self.desk.as_ref().filter(|_| staff_only);
        let Some(desk) = desk.filter(|_| request.headers.get("authorization").is_some()) else {
            return self.admit(request);
        };
        if !desk.throttle.take(request.peer, Instant::now()) {
            return Err(desk::slow_down());
        }
        let admitted = self.admit(request);
        let wrong = matches!(&admitted, Err(rejected) if rejected.reason == desk::WRONG_PASSWORD);
        if !wrong {
            desk.throttle.give_back(request.peer);
        }
        admitted
    }

    fn delivery<'r>(
        &'r self,
        request: &'r Request,
        name: Option<&str>,
    ) -> Result<Call<'r>, Rejected> {
        let Some((hook, only)) = self.hook(name) else {
            return Err(Rejected::plain(
                &request.path,
                404,
                "no_hook",
                "there is no such hook or stack",
            ));
        };
        let rejected = |reply, reason, hint| Rejected {
            reply,
            reason,
            hint,
            hook: Some(hook.name.to_string()),
        };
        let allowed = hook.allow_from.is_empty()
            || hook
                .allow_from
                .iter()
                .any(|network| network.contains(request.peer));
        if !allowed {
            let reply = reply::rejected(403, "this address may not post to this hook");
            return Err(rejected(
                reply,
                "peer_not_allowed",
                "not in the hook's \"allow_from\"".to_owned(),
            ));
        }
        let given = Given {
            headers: &request.headers,
            query: request.query.as_deref(),
            body: &request.body,
        };
        match signature::verify(&hook.scheme, &hook.secrets, given, self.clock.unix()) {
            Ok(verified) => Ok(Call::Delivery {
                hook,
                only,
                verified,
            }),
            Err(why) => Err(rejected(
                reply::rejected(401, EXPECTED),
                why.code(),
                why.hint().to_owned(),
            )),
        }
    }

    /// The hook of that name; or the default one, limited to its stack of that key.
    fn hook(&self, name: Option<&str>) -> Option<(&Hook, Option<StackKey>)> {
        let named = |name: &str| self.hooks.iter().find(|hook| hook.name.as_str() == name);
        let Some(name) = name else {
            return Some((named(HookName::DEFAULT)?, None));
        };
        if let Some(hook) = named(name) {
            return Some((hook, None));
        }
        let hook = named(HookName::DEFAULT)?;
        let stack = hook.stacks.iter().find(|stack| stack.as_str() == name)?;
        Some((hook, Some(stack.clone())))
    }

    /// What the edge refused.
    fn log_refused(&self, peer: IpAddr, status: u16, words: &str) {
        let Some(hidden) = self.rejections.may_be_logged(Instant::now()) else {
            return;
        };
        log::warn!(status = status, peer = self::peer(peer).as_str(); "refused: {words}");
        log_hidden(hidden);
    }

    fn count_rejected(&self, peer: IpAddr, rejected: &Rejected) {
        self.metrics.rejection(rejected.reason);
        // Whoever tries addresses must not push out what somebody looks for.
        if matches!(rejected.reason, "no_route" | "method" | "no_delivery") {
            return;
        }
        self.recent.turned_away(TurnedAway {
            unix: self.clock.unix(),
            peer: self::peer(peer),
            hook: rejected.hook.clone().unwrap_or_default(),
            status: rejected.reply.status,
            words: rejected.hint.clone(),
            times: 1,
        });
    }

    fn log_rejected(&self, request: &Request, rejected: &Rejected) {
        // Whoever asks for the page without a password is about to be asked for one, and whoever goes home is on the way.
        if matches!(rejected.reason, HOME | desk::NO_PASSWORD) {
            return;
        }
        self.count_rejected(request.peer, rejected);
        let Some(hidden) = self.rejections.may_be_logged(Instant::now()) else {
            return;
        };
        let hook = rejected.hook.as_deref().unwrap_or("-");
        log::warn!(
            method = request.method.as_str(),
            status = rejected.reply.status,
            peer = request.peer.to_string().as_str(),
            hook = hook,
            reason = rejected.reason;
            "turned away: {}", rejected.hint
        );
        log_hidden(hidden);
    }
}

/// Why `/` is not answered itself.
const HOME: &str = "home";
const SETTINGS: &str = "/settings/webhooks/";
const NO_DELIVERY: &str = "no such delivery, or no longer known";

impl Behind for Site {
    fn turn_away(&self, request: &Request) -> Option<Reply> {
        let rejected = self.admit_or_slow_down(request).err()?;
        self.log_rejected(request, &rejected);
        Some(rejected.reply)
    }

    fn handle(&self, request: &Request) -> Answer {
        let at = Instant::now();
        let asked = |route, hook: Option<&Hook>| Asked {
            at,
            method: request.method.clone(),
            route,
            peer: request.peer,
            hook: hook.map(|hook| hook.name.to_string()),
        };
        match self.admit_or_slow_down(request) {
            Err(rejected) => {
                self.log_rejected(request, &rejected);
                Answer {
                    reply: rejected.reply,
                    wait: None,
                }
            }
            Ok(Call::Health) => {
                log::debug!(peer = request.peer.to_string().as_str(); "healthz");
                Answer {
                    reply: Reply::text(200, "ok\n"),
                    wait: None,
                }
            }
            Ok(Call::Metrics) => {
                log::debug!(peer = request.peer.to_string().as_str(); "metrics");
                let text = self.metrics.render(self.engine.open());
                Answer {
                    reply: desk::guarded(desk::metrics(&text)),
                    wait: None,
                }
            }
            Ok(Call::Page) => self.page(request, asked(SETTINGS, None)),
            Ok(Call::Act(verified)) => self.act(request, &verified, asked(SETTINGS, None)),
            Ok(Call::Status(id)) => self.status(
                id,
                Prefer::of(&request.headers),
                asked("/webhook/deliveries/{id}/", None),
            ),
            Ok(Call::Delivery {
                hook,
                only,
                verified,
            }) => {
                let route = if only.is_some() || hook.name.as_str() != HookName::DEFAULT {
                    "/webhook/update/{name}/"
                } else {
                    "/webhook/update/"
                };
                self.deliver(hook, only.as_ref(), &verified, asked(route, Some(hook)))
            }
        }
    }

    fn wait(&self, wait: &Wait, listening: &dyn Fn() -> bool) -> Reply {
        let Awaited::Delivery(id) = &wait.what else {
            return self.wait_for_probe(wait, listening);
        };
        let delivery = loop {
            let look = (Instant::now() + limits::STILL_THERE).min(wait.until);
            let delivery = self.engine.wait(id, look);
            let more = delivery.as_ref().is_some_and(|d| !d.has_ended()) && !self.engine.is_over();
            if !more || Instant::now() >= wait.until || !listening() {
                break delivery;
            }
        };
        let reason = delivery.as_ref().map(reply::reason).unwrap_or_default();
        let reply = match delivery {
            Some(delivery)
                if !delivery.has_ended() && self.engine.is_over() && !self.engine.lasts() =>
            {
                reply::stopped(&delivery, &self.prefix)
            }
            Some(delivery) => reply::about(&delivery, &self.prefix),
            None => reply::unknown(),
        };
        self.log_answered(&wait.asked, Some(id), &reply, &reason);
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

impl Route {
    fn of(path: &str) -> Option<Route> {
        let path = path.strip_prefix('/')?;
        let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
        match *segments.as_slice() {
            [""] => Some(Route::Home),
            ["healthz"] => Some(Route::Health),
            ["metrics"] => Some(Route::Metrics),
            ["settings", "webhooks"] => Some(Route::Settings),
            ["webhook", "update"] => Some(Route::Update(None)),
            ["webhook", "update", name] if !name.is_empty() => {
                Some(Route::Update(Some(name.to_owned())))
            }
            ["webhook", "deliveries", id] => Some(Route::Status(id.to_owned())),
            _ => None,
        }
    }

    fn allows(&self, request: &Request) -> Result<(), Rejected> {
        let methods = match self {
            Route::Update(_) => "POST",
            Route::Settings => "GET, HEAD, POST",
            Route::Health | Route::Home | Route::Metrics | Route::Status(_) => "GET, HEAD",
        };
        if methods.split(", ").any(|method| method == request.method) {
            return Ok(());
        }
        let rejected = Rejected::plain(
            &request.path,
            405,
            "method",
            "this address does not take this method",
        );
        Err(Rejected {
            reply: rejected.reply.with("Allow", methods),
            ..rejected
        })
    }
}

impl Rejected {
    fn plain(path: &str, status: u16, reason: &'static str, words: &str) -> Rejected {
        Rejected {
            reply: plain_or_json(path, status, words),
            reason,
            hint: words.to_owned(),
            hook: None,
        }
    }

    /// The time in the body was off: known only after the signature was verified.
    fn stale(hook: &Hook, why: &Rejection) -> Rejected {
        Rejected {
            reply: reply::rejected(401, EXPECTED),
            reason: why.code(),
            hint: why.hint().to_owned(),
            hook: Some(hook.name.to_string()),
        }
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

fn log_hidden(hidden: u64) {
    if hidden > 0 {
        log::warn!("{hidden} more requests were turned away without a line of their own");
    }
}

/// For log lines.
fn peer(peer: IpAddr) -> String {
    peer.to_canonical().to_string()
}
