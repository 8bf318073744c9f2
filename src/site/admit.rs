//! What a request is, and whether it is admitted: route, method, peer, signature, in this order. Pure but for the count of wrong
//! passwords; counters and log lines are left to whoever asks.

use std::time::Instant;

use crate::delivery::DeliveryId;
use crate::delivery::reply;
use crate::hook::{Hook, HookName};
use crate::message::Reply;
use crate::request::Request;
use crate::signature::{self, EXPECTED, SignedRequest, Verified};
use crate::site::{HOME, NO_DELIVERY, Rejected, Site, desk};
use crate::stack::StackKey;

/// An admitted request: the right to be handled.
#[derive(Debug)]
pub(super) enum Call<'r> {
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

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) enum Route<'p> {
    Health,
    Home,
    Settings,
    Metrics,
    /// To the hook of this name, or else to the stack of this name by the default hook.
    Update(Option<&'p str>),
    Status(&'p str),
}

impl Site {
    /// The whole order of checks before a worker is bothered: route, method, peer, signature over the raw bytes.
    fn admit<'r>(&'r self, request: &'r Request) -> Result<Call<'r>, Rejected> {
        let route = Route::of(&request.path).ok_or_else(|| {
            let words = match request.method {
                "POST" => "there is nothing here; deliveries go to /webhook/update/",
                _ => "there is nothing here",
            };
            Rejected::plain(&request.path, 404, "no_route", words)
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
                Ok(match (route, request.method) {
                    (Route::Metrics, _) => Call::Metrics,
                    (_, "POST") => Call::Act(verified),
                    _ => Call::Page,
                })
            }
            Route::Status(id) => match DeliveryId::parse(id) {
                Some(id) => Ok(Call::Status(id)),
                None => Err(Rejected {
                    reply: reply::unknown(),
                    ..Rejected::plain(&request.path, 404, "no_delivery", NO_DELIVERY)
                }),
            },
            Route::Update(name) => self.delivery(request, name),
        }
    }

    /// The same, after staff's throttle was asked: a password is not even looked at when too many were wrong.
    pub(super) fn admit_or_slow_down<'r>(
        &'r self,
        request: &'r Request,
    ) -> Result<Call<'r>, Rejected> {
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
                "not in the hook's \"allow_from\"".into(),
            ));
        }
        let given = SignedRequest {
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
                why.hint(),
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
        let default = named(HookName::DEFAULT);
        let stacks = || default.iter().flat_map(|hook| &hook.stacks);
        if let Some(stack) = stacks().find(|stack| stack.as_str() == name) {
            return Some((default?, Some(stack.clone())));
        }
        // In another case, as in a body: only where that leaves no doubt.
        let alike = |text: &str| text.eq_ignore_ascii_case(name);
        let mut hooks = self.hooks.iter().filter(|hook| alike(hook.name.as_str()));
        let mut stacks = stacks().filter(|stack| alike(stack.as_str()));
        match (hooks.next(), stacks.next(), hooks.next(), stacks.next()) {
            (Some(hook), None, None, None) => Some((hook, None)),
            (None, Some(stack), None, None) => Some((default?, Some(stack.clone()))),
            _ => None,
        }
    }
}

impl Route<'_> {
    pub(super) fn of(path: &str) -> Option<Route<'_>> {
        let path = path.strip_prefix('/')?;
        match path.strip_suffix('/').unwrap_or(path) {
            "" => Some(Route::Home),
            "healthz" => Some(Route::Health),
            "metrics" => Some(Route::Metrics),
            "settings/webhooks" => Some(Route::Settings),
            "webhook/update" => Some(Route::Update(None)),
            other => {
                let (kind, name) = other.strip_prefix("webhook/")?.split_once('/')?;
                match kind {
                    _ if name.contains('/') => None,
                    "update" if !name.is_empty() => Some(Route::Update(Some(name))),
                    "deliveries" => Some(Route::Status(name)),
                    _ => None,
                }
            }
        }
    }

    /// For log lines: what stands in the place of names may be anything.
    pub(super) fn template(self) -> &'static str {
        match self {
            Route::Health => "/healthz",
            Route::Home => "/",
            Route::Settings => "/settings/webhooks/",
            Route::Metrics => "/metrics",
            Route::Update(None) => "/webhook/update/",
            Route::Update(Some(_)) => "/webhook/update/{name}/",
            Route::Status(_) => "/webhook/deliveries/{id}/",
        }
    }

    fn allows(self, request: &Request) -> Result<(), Rejected> {
        let methods = match self {
            Route::Update(_) => "POST",
            Route::Settings => "GET, HEAD, POST",
            Route::Health | Route::Home | Route::Metrics | Route::Status(_) => "GET, HEAD",
        };
        if methods.split(", ").any(|method| method == request.method) {
            return Ok(());
        }
        let words = format!("this address takes only {methods}");
        let rejected = Rejected::plain(&request.path, 405, "method", &words);
        Err(Rejected {
            reply: rejected.reply.with("Allow", methods),
            ..rejected
        })
    }
}
