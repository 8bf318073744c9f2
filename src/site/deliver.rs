//! A delivery to a hook: verified, parsed and matched against the rules once, accepted, and answered now or at its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calendar::rfc3339;
use crate::delivery::ledger::Acceptance;
use crate::delivery::{Accepted, Delivery, DeliveryId, Fingerprint, RequestedRedeploy, reply};
use crate::event::{ParseError, ParseOutcome, ParsedDelivery};
use crate::hook::Hook;
use crate::hook::select::SelectionError;
use crate::http::{Answer, Awaited, Permit, Request, Wait, WaitEnd};
use crate::image::Reference;
use crate::message::{Prefer, Reply};
use crate::scheduler::NotAccepted;
use crate::secret;
use crate::signature::{self, Rejection, SignedRequest, Verified};
use crate::site::access_log::{RequestInfo, Summary};
use crate::site::auth::{NO_DELIVERY, Rejected};
use crate::site::recent::Idle;
use crate::site::{RETRY_AFTER, Site};
use crate::stack::StackKey;
use crate::stack::order::Order;

/// The decision about a verified delivery that is not accepted.
pub(super) struct Declined {
    /// The events in the body, if it could be read.
    parsed: Option<ParsedDelivery>,
    why: Why,
}

enum Why {
    /// The rules ignore it, for this reason.
    Ignored(String),
    /// The hook's sender cannot have sent it.
    Malformed(String),
    /// Its signed time is too far from now.
    Stale(Rejection),
}

/// The wait for an outcome that a client asked for, or that the hook configures.
struct Patience {
    wait: Duration,
    /// The value of `Preference-Applied`, if the client asked for it.
    preference: Option<String>,
    permit: Option<Permit>,
    /// Set if the delivery is a repetition, so that its reply is that of the first one.
    is_repeat: bool,
}

impl Site {
    /// Verifies, parses and matches a delivery, each once; then accepts it.
    pub(super) fn deliver(
        self: &Arc<Self>,
        hook: &Hook,
        stack: Option<&StackKey>,
        request: &Request,
        info: RequestInfo,
    ) -> Answer {
        let given = SignedRequest {
            headers: &request.headers,
            query: request.query.as_deref(),
            body: &request.body,
        };
        let verified = signature::verify(&hook.scheme, &hook.secrets, given, self.clock.unix());
        let verified = match verified {
            Ok(verified) => verified,
            Err(why) => return Answer::Now(self.reject(&info, Rejected::signature(hook, why))),
        };
        let _lock = self.parsing_lock(&request.body);
        let info = info.of_hook(hook);
        match self.decide(hook, stack, &verified) {
            Ok((parsed, orders)) => {
                log_events(hook, &parsed);
                let stacks: Vec<&str> = orders.iter().map(|(key, _)| key.as_str()).collect();
                log::debug!(hook = hook.name.as_str(); "decided: the rules let it through to {stacks:?}");
                self.accept(hook, &parsed, stack, orders, &verified, info)
            }
            Err(declined) => Answer::Now(self.decline(hook, &declined, &verified, &info)),
        }
    }

    /// The events in the body and the orders that the hook's rules derive from them.
    fn decide(
        &self,
        hook: &Hook,
        stack: Option<&StackKey>,
        verified: &Verified<'_>,
    ) -> Result<(ParsedDelivery, Vec<(StackKey, Order)>), Declined> {
        let declined = |parsed, why| Err(Declined { parsed, why });
        let parsed = match hook.parse_delivery(verified, self.clock.unix()) {
            Ok(ParseOutcome::Delivery(parsed)) => parsed,
            Ok(ParseOutcome::Ignored(reason)) => return declined(None, Why::Ignored(reason)),
            Err(ParseError::Malformed(words)) => return declined(None, Why::Malformed(words)),
            Err(ParseError::Stale(why)) => return declined(None, Why::Stale(why)),
        };
        match hook.orders(&parsed, stack, &self.stacks) {
            Ok(orders) => Ok((parsed, orders)),
            Err(SelectionError::Ignored(reason)) => declined(Some(parsed), Why::Ignored(reason)),
            Err(SelectionError::Refused(words)) => declined(Some(parsed), Why::Malformed(words)),
        }
    }

    fn decline(
        &self,
        hook: &Hook,
        declined: &Declined,
        verified: &Verified<'_>,
        info: &RequestInfo,
    ) -> Reply {
        if let Some(parsed) = &declined.parsed {
            log_events(hook, parsed);
        }
        let (reply, result, reason) = match &declined.why {
            Why::Stale(why) => {
                return self.reject(info, Rejected::signature(hook, why.clone()));
            }
            Why::Ignored(reason) => (reply::ignored(reason), "ignored", reason),
            Why::Malformed(reason) => (reply::rejected(400, reason), "refused", reason),
        };
        let unix = self.clock.unix();
        self.recent
            .used(hook.name.as_str(), verified.secret(), unix);
        self.not_acted_on(info, reply, result, reason)
    }

    /// The reply about a delivery, now or at its end.
    pub(super) fn status(
        self: &Arc<Self>,
        id: &DeliveryId,
        prefer: Prefer,
        info: RequestInfo,
    ) -> Answer {
        let Some(delivery) = self.scheduler.find(id) else {
            let summary = Summary::note(NO_DELIVERY);
            return Answer::Now(self.answer(&info, reply::unknown(), &summary));
        };
        let Some((wait, preference)) = prefer.wait() else {
            return Answer::Now(self.reply_about(&info, &delivery, None, false));
        };
        let mut patience = Patience {
            wait,
            preference: Some(preference),
            permit: None,
            is_repeat: false,
        };
        if wait.is_zero() || delivery.has_ended() {
            return self.reply_when_ended(&delivery, patience, info);
        }
        match self.waiting_status_requests.acquire(info.peer) {
            Some(permit) => {
                patience.permit = Some(permit);
                self.reply_when_ended(&delivery, patience, info)
            }
            None => {
                let reply = self.reply_about(&info, &delivery, None, false);
                Answer::Now(reply.with("Retry-After", STATUS_RETRY_AFTER))
            }
        }
    }

    fn accept(
        self: &Arc<Self>,
        hook: &Hook,
        parsed: &ParsedDelivery,
        only: Option<&StackKey>,
        orders: Vec<(StackKey, Order)>,
        verified: &Verified<'_>,
        info: RequestInfo,
    ) -> Answer {
        let prefer = Prefer::of(verified.headers()).wait();
        let (wait, preference) = match prefer {
            Some((wait, preference)) => (wait, Some(preference)),
            None => (hook.wait, None),
        };
        // Reserved before the delivery is accepted: one that cannot wait would be answered 202, and its pipeline would succeed.
        let permit = match wait.is_zero() {
            true => None,
            false => match self.waiting_deliveries.acquire(info.peer) {
                Some(permit) => Some(permit),
                None => {
                    return self.busy(&info, "too many deliveries are waiting for their outcome");
                }
            },
        };
        let mut patience = Patience {
            wait,
            preference,
            permit,
            is_repeat: false,
        };
        let name = |key: &StackKey| {
            self.stacks
                .iter()
                .find(|stack| stack.key == *key)
                .map(|stack| stack.name.clone())
        };
        let order = |(stack, order): (StackKey, Order)| {
            Some(RequestedRedeploy {
                name: name(&stack)?,
                stack,
                order,
            })
        };
        let id = match secret::random() {
            Ok(bytes) => DeliveryId::new(bytes),
            Err(error) => return self.busy(&info, &error.to_string()),
        };
        let (replay, duplicate) = fingerprints(hook, parsed, only, verified);
        let accepted = Accepted {
            id: id.clone(),
            hook: hook.name.to_string(),
            strict: hook.sender.is_pipeline(),
            wait: hook.wait,
            time: parsed.time,
            orders: orders.into_iter().filter_map(order).collect(),
            replay,
            signed_at: verified.timestamp().map(|stamp| stamp.time).or(parsed.time),
            duplicate,
            event: events(parsed),
        };
        let stacks: Vec<&str> = accepted
            .orders
            .iter()
            .map(|one| one.stack.as_str())
            .collect();
        let stacks = stacks.join(",");
        let (secret, secrets) = verified.secret();
        let id = match self.scheduler.accept(accepted) {
            Ok(Acceptance::New) => {
                self.recent
                    .used(hook.name.as_str(), (secret, secrets), self.clock.unix());
                log::info!(
                    hook = hook.name.as_str(),
                    delivery = id.as_str(),
                    stacks = stacks.as_str(),
                    secret = format!("{secret}/{secrets}").as_str();
                    "delivery accepted"
                );
                id
            }
            Ok(Acceptance::Repeated(first)) => {
                log::info!(
                    hook = hook.name.as_str(),
                    delivery = first.as_str();
                    "duplicate delivery, answered like the first one"
                );
                patience.is_repeat = true;
                first
            }
            Ok(Acceptance::Forgotten) => {
                let reply = reply::ignored(FORGOTTEN);
                return Answer::Now(self.not_acted_on(&info, reply, "ignored", FORGOTTEN));
            }
            Err(why) => return self.busy(&info, why_not_accepted(why)),
        };
        match self.scheduler.find(&id) {
            Some(delivery) => self.reply_when_ended(&delivery, patience, info),
            None => self.busy(&info, "the delivery is no longer known"),
        }
    }

    /// The reply about a delivery once it has ended, or after the wait.
    fn reply_when_ended(
        self: &Arc<Self>,
        delivery: &Delivery,
        patience: Patience,
        info: RequestInfo,
    ) -> Answer {
        let Patience {
            wait,
            preference,
            permit,
            is_repeat,
        } = patience;
        if wait.is_zero() || delivery.has_ended() {
            return Answer::Now(self.reply_about(&info, delivery, preference, is_repeat));
        }
        let (site, id) = (Arc::clone(self), delivery.id.clone());
        Answer::Wait(Wait {
            awaited: Awaited::Delivery(id.clone()),
            until: Instant::now() + wait,
            finish: Box::new(move |end| {
                let _until_replied = permit;
                site.reply_after_wait(&id, end, (preference, is_repeat), &info)
            }),
        })
    }

    fn reply_after_wait(
        &self,
        id: &DeliveryId,
        end: WaitEnd,
        (preference, is_repeat): (Option<String>, bool),
        info: &RequestInfo,
    ) -> Reply {
        let Some(delivery) = self.scheduler.find(id) else {
            return self.answer(info, reply::unknown(), &Summary::note(NO_DELIVERY));
        };
        let is_lost = end == WaitEnd::Stopping && !self.scheduler.is_persistent();
        // A client that did not ask to wait takes 202 for a success, so it gets an error while the outcome is open.
        let reply = match (&preference, end) {
            _ if delivery.has_ended() => None,
            (None, WaitEnd::Stopping) => Some(reply::stopped(&delivery, &self.prefix, !is_lost)),
            (Some(_), WaitEnd::Stopping) if is_lost => {
                Some(reply::stopped(&delivery, &self.prefix, false))
            }
            (None, _) => Some(reply::overdue(&delivery, &self.prefix)),
            (Some(_), _) => None,
        };
        let Some(reply) = reply else {
            return self.reply_about(info, &delivery, preference, is_repeat);
        };
        let summary = Summary {
            delivery: Some(&delivery),
            reason: "the outcome is not known yet",
            ..Summary::default()
        };
        self.answer(info, reply, &summary)
    }

    /// The reply about a delivery as it is now.
    fn reply_about(
        &self,
        info: &RequestInfo,
        delivery: &Delivery,
        preference: Option<String>,
        is_repeat: bool,
    ) -> Reply {
        let ended = delivery.ended.map(rfc3339).unwrap_or_default();
        let first_ended_at = is_repeat.then_some(ended.as_str());
        let reply = reply::about(delivery, &self.prefix, first_ended_at);
        let reply = match preference {
            Some(preference) => reply.with("Preference-Applied", preference),
            None => reply,
        };
        let summary = Summary {
            delivery: Some(delivery),
            reason: &reply::reason(delivery),
            ..Summary::default()
        };
        self.answer(info, reply, &summary)
    }

    /// Counts and remembers a verified request that the scheduler does not know.
    fn not_acted_on(
        &self,
        info: &RequestInfo,
        reply: Reply,
        result: &'static str,
        reason: &str,
    ) -> Reply {
        let hook = info.hook.as_deref().unwrap_or_default();
        self.metrics.delivery(hook, result);
        self.recent.not_acted_on(Idle {
            unix: self.clock.unix(),
            hook: hook.to_owned(),
            result,
            reason: reason.to_owned(),
        });
        self.answer(info, reply, &Summary::ended(result, reason))
    }

    fn busy(&self, info: &RequestInfo, reason: &str) -> Answer {
        let reply = reply::rejected(503, &format!("{reason}; try again"));
        let reply = reply.with("Retry-After", RETRY_AFTER);
        Answer::Now(self.answer(info, reply, &Summary::note(reason)))
    }
}

/// `Retry-After` of a status request that cannot wait (seconds).
const STATUS_RETRY_AFTER: &str = "5";

fn why_not_accepted(why: NotAccepted) -> &'static str {
    match why {
        // Only a rollback is refused for this reason, and no sender can request one.
        NotAccepted::Busy => "another update is running",
        NotAccepted::Full => "too many deliveries are open",
        NotAccepted::Unremembered => "too many signed deliveries came in ten minutes",
        NotAccepted::NotWritten => "the journal cannot be written",
        NotAccepted::Stopping => "stackhook is shutting down",
    }
}

const FORGOTTEN: &str = "this signed request came before, and how it ended is no longer known; a request never runs twice";

/// Logs the events that were parsed from the body, at the debug level: names only.
fn log_events(hook: &Hook, parsed: &ParsedDelivery) {
    for event in &parsed.events {
        let images: Vec<String> = event.images.iter().map(Reference::familiar).collect();
        let refs: Vec<String> = event.refs.iter().map(ToString::to_string).collect();
        log::debug!(
            hook = hook.name.as_str();
            "decided: the body has event {:?}, refs {refs:?}, repository {:?}, images {images:?}",
            event.name, event.repository
        );
    }
}

/// The sender's names of the events, each once.
fn events(parsed: &ParsedDelivery) -> String {
    let mut names: Vec<&str> = Vec::new();
    for event in &parsed.events {
        if !names.contains(&event.name.as_str()) && !event.name.is_empty() {
            names.push(&event.name);
        }
    }
    names.truncate(3);
    names.join(", ")
}

/// The fingerprints by which a delivery is recognised as a replay and as a duplicate. A replay is recognised by its signed parts alone,
/// because anyone can change headers.
fn fingerprints(
    hook: &Hook,
    parsed: &ParsedDelivery,
    only: Option<&StackKey>,
    verified: &Verified<'_>,
) -> (Option<Fingerprint>, Option<Fingerprint>) {
    let (name, scheme) = (
        hook.name.as_str().as_bytes(),
        hook.scheme.name.name().as_bytes(),
    );
    let body = verified.hash();
    let stamp = verified
        .timestamp()
        .map(|signed| (signed.id.as_deref().unwrap_or_default(), signed.time))
        .or(parsed.time.map(|time| ("", time)));
    let replay = stamp.map(|(id, time)| {
        let parts = [
            b"replay",
            name,
            scheme,
            id.as_bytes(),
            &time.to_be_bytes(),
            &body,
        ];
        Fingerprint::of(&parts)
    });
    let path = only.map_or("", |stack| stack.as_str()).as_bytes();
    let duplicate = parsed
        .id
        .as_ref()
        .map(|id| Fingerprint::of(&[b"duplicate", name, path, id.as_bytes(), &body]));
    (replay, duplicate)
}
