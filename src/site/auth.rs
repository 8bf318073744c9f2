//! Routes and admission: what a request is for, and whether its head allows it. Pure; counters and log lines belong to the caller.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::delivery::{DeliveryId, reply};
use crate::hook::{Hook, HookName};
use crate::http::Method;
use crate::message::Reply;
use crate::signature::{EXPECTED, Rejection};
use crate::site::{Site, plain_or_json};
use crate::stack::StackKey;

/// The resource that an admitted request is for.
#[derive(Debug)]
pub(super) enum Target {
    Health,
    Hook {
        hook: Arc<Hook>,
        /// The one stack of the hook that the path names.
        stack: Option<StackKey>,
    },
    Status(DeliveryId),
    Staff(StaffPage),
}

/// A resource for staff.
#[derive(Debug)]
pub(super) enum StaffPage {
    Settings,
    /// The state of the settings page, for its script.
    State,
    Delivery(DeliveryId),
    Metrics,
}

/// A route that exists, with the names in its path.
#[derive(Clone, Copy)]
pub(super) enum Route<'p> {
    Health,
    Home,
    Settings,
    PageState,
    /// The page of the delivery with this id.
    DeliveryPage(&'p str),
    Metrics,
    /// The hook of this name, or the stack of this name by the default hook.
    Update(Option<&'p str>),
    Status(&'p str),
}

/// A request that is not admitted.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) reply: Reply,
    /// The code for log and metrics.
    pub(super) reason: &'static str,
    /// The explanation for the log, which the client does not get.
    pub(super) hint: Cow<'static, str>,
    pub(super) hook: Option<String>,
}

/// The reason code of the redirect from `/`.
pub(super) const HOME: &str = "home";
/// The explanation for an unknown delivery id.
pub(super) const NO_DELIVERY: &str = "no such delivery, or no longer known";

impl Rejected {
    pub(super) fn new(path: &str, status: u16, reason: &'static str, text: &str) -> Rejected {
        Rejected {
            reply: plain_or_json(path, status, text),
            reason,
            hint: text.to_owned().into(),
            hook: None,
        }
    }

    /// A wrong signature, or a signed time that is too far from now. The reply never says which: that would help to forge.
    pub(super) fn signature(hook: &Hook, why: Rejection) -> Rejected {
        Rejected {
            reply: reply::rejected(401, EXPECTED),
            reason: why.code(),
            hint: why.hint(),
            hook: Some(hook.name.to_string()),
        }
    }
}

impl Site {
    /// Checks route, method and address, in this order.
    pub(super) fn resolve(
        &self,
        route: Option<Route<'_>>,
        method: &Method,
        path: &str,
        peer: IpAddr,
    ) -> Result<Target, Rejected> {
        let route = route.ok_or_else(|| {
            let text = match method {
                Method::Post => "there is nothing here; deliveries go to /webhook/update/",
                _ => "there is nothing here",
            };
            Rejected::new(path, 404, "no_route", text)
        })?;
        route.check_method(method, path)?;
        let staff = |page| match (&self.desk, &page) {
            (Some(_), _) => Ok(Target::Staff(page)),
            (None, StaffPage::Metrics) => Err("metrics are off"),
            (None, _) => Err("the settings page is off"),
        };
        let staff = |page| {
            staff(page).map_err(|what| {
                let text = format!("{what}: set STACKHOOK_STAFF_PASSWORD");
                Rejected::new(path, 404, "no_staff", &text)
            })
        };
        match route {
            Route::Health => Ok(Target::Health),
            Route::Home => staff(StaffPage::Settings).and(Err(Rejected {
                // Relative, so that it is right under any path of a proxy.
                reply: Reply::text(303, "").with("Location", "settings/webhooks/"),
                ..Rejected::new(path, 303, HOME, "")
            })),
            Route::Settings => staff(StaffPage::Settings),
            Route::PageState => staff(StaffPage::State),
            Route::DeliveryPage(id) => match DeliveryId::parse(id) {
                Some(id) => staff(StaffPage::Delivery(id)),
                None => staff(StaffPage::Settings).and(Err(Rejected::new(
                    path,
                    404,
                    "no_delivery",
                    NO_DELIVERY,
                ))),
            },
            Route::Metrics => staff(StaffPage::Metrics),
            Route::Status(id) => {
                DeliveryId::parse(id)
                    .map(Target::Status)
                    .ok_or_else(|| Rejected {
                        reply: reply::unknown(),
                        ..Rejected::new(path, 404, "no_delivery", NO_DELIVERY)
                    })
            }
            Route::Update(name) => {
                let (hook, stack) = self.find_hook(name).ok_or_else(|| {
                    Rejected::new(path, 404, "no_hook", "there is no such hook or stack")
                })?;
                if is_allowed(hook, peer) {
                    let hook = Arc::clone(hook);
                    return Ok(Target::Hook { hook, stack });
                }
                Err(Rejected {
                    reply: reply::rejected(403, "this address may not post to this hook"),
                    reason: "peer_not_allowed",
                    hint: "not in the hook's \"allow_from\"".into(),
                    hook: Some(hook.name.to_string()),
                })
            }
        }
    }

    /// The hook of that name; or the default hook, limited to its stack of that key.
    fn find_hook(&self, name: Option<&str>) -> Option<(&Arc<Hook>, Option<StackKey>)> {
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
        // In another case, as in a body: only if the match is unique.
        let matches = |text: &str| text.eq_ignore_ascii_case(name);
        let mut hooks = self.hooks.iter().filter(|hook| matches(hook.name.as_str()));
        let mut stacks = stacks().filter(|stack| matches(stack.as_str()));
        match (hooks.next(), stacks.next(), hooks.next(), stacks.next()) {
            (Some(hook), None, None, None) => Some((hook, None)),
            (None, Some(stack), None, None) => Some((default?, Some(stack.clone()))),
            _ => None,
        }
    }
}

fn is_allowed(hook: &Hook, peer: IpAddr) -> bool {
    let networks = &hook.allow_from;
    networks.is_empty() || networks.iter().any(|network| network.contains(peer))
}

impl Route<'_> {
    pub(super) fn parse(path: &str) -> Option<Route<'_>> {
        let path = path.strip_prefix('/')?;
        match path.strip_suffix('/').unwrap_or(path) {
            "" => Some(Route::Home),
            "healthz" => Some(Route::Health),
            "metrics" => Some(Route::Metrics),
            "settings/webhooks" => Some(Route::Settings),
            "settings/webhooks/state" => Some(Route::PageState),
            "webhook/update" => Some(Route::Update(None)),
            other => {
                if let Some(id) = other.strip_prefix("settings/webhooks/deliveries/") {
                    return (!id.contains('/')).then_some(Route::DeliveryPage(id));
                }
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

    /// The route for log lines, without the names, which can be anything.
    pub(super) fn template(self) -> &'static str {
        match self {
            Route::Health => "/healthz",
            Route::Home => "/",
            Route::Settings => "/settings/webhooks/",
            Route::PageState => "/settings/webhooks/state/",
            Route::DeliveryPage(_) => "/settings/webhooks/deliveries/{id}/",
            Route::Metrics => "/metrics",
            Route::Update(None) => "/webhook/update/",
            Route::Update(Some(_)) => "/webhook/update/{name}/",
            Route::Status(_) => "/webhook/deliveries/{id}/",
        }
    }

    fn check_method(self, method: &Method, path: &str) -> Result<(), Rejected> {
        let allowed = match self {
            Route::Update(_) => "POST",
            Route::Settings => "GET, HEAD, POST",
            Route::Health
            | Route::Home
            | Route::PageState
            | Route::DeliveryPage(_)
            | Route::Metrics
            | Route::Status(_) => "GET, HEAD",
        };
        if allowed.split(", ").any(|name| name == method.as_str()) {
            return Ok(());
        }
        let text = format!("this address takes only {allowed}");
        let rejected = Rejected::new(path, 405, "method", &text);
        Err(Rejected {
            reply: rejected.reply.with("Allow", allowed),
            ..rejected
        })
    }
}
