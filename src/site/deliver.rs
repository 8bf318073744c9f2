//! A verified delivery: what it says, what it asks of which stacks, and how it is answered.

use std::time::{Duration, Instant};

use crate::delivery::{Accepted, Asked as AskedOf, Delivery, DeliveryId, Print, reply};
use crate::event::{ParseError, ParseOutcome, ParsedDelivery};
use crate::hook::Hook;
use crate::hook::select::SelectionError;
use crate::image::Reference;
use crate::message::{Prefer, Reply};
use crate::request::{Answer, Asked, Awaited, Wait};
use crate::scheduler::{NotAccepted, Taken};
use crate::secret;
use crate::signature::{Rejection, Verified};
use crate::site::lines::About;
use crate::site::recent::Idle;
use crate::site::{NO_DELIVERY, Rejected, Site};
use crate::stack::StackKey;
use crate::stack::order::Order;

/// Why nothing is to be done for a verified delivery.
pub(super) struct Nothing {
    /// What the body says, where it was the rules that had nothing for it.
    told: Option<ParsedDelivery>,
    why: Why,
}

enum Why {
    /// Deliberately, for this reason.
    Ignored(String),
    /// It is not what the hook's sender may send.
    Malformed(String),
    /// Its signed time is too far from now.
    Stale(Rejection),
}

impl Site {
    /// In this order: what the body says, its time, the hook's rules; then it is accepted.
    pub(super) fn deliver(
        &self,
        hook: &Hook,
        only: Option<&StackKey>,
        verified: &Verified<'_>,
        asked: Asked,
    ) -> Answer {
        match self.meant(hook, only, verified) {
            Ok((told, orders)) => {
                log_told(hook, &told);
                let stacks: Vec<&str> = orders.iter().map(|(key, _)| key.as_str()).collect();
                log::debug!(hook = hook.name.as_str(); "decided: the rules let it through to {stacks:?}");
                self.accept(hook, &told, only, orders, verified, asked)
            }
            Err(nothing) => Answer::now(self.nothing_done(hook, &nothing, verified, &asked)),
        }
    }

    /// What is to be done for a delivery. Says and counts nothing, so it may be asked twice.
    pub(super) fn meant(
        &self,
        hook: &Hook,
        only: Option<&StackKey>,
        verified: &Verified<'_>,
    ) -> Result<(ParsedDelivery, Vec<(StackKey, Order)>), Nothing> {
        let nothing = |told, why| Err(Nothing { told, why });
        let told = match hook.parse_delivery(verified, self.clock.unix()) {
            Ok(ParseOutcome::Delivery(told)) => told,
            Ok(ParseOutcome::Ignored(reason)) => return nothing(None, Why::Ignored(reason)),
            Err(ParseError::Malformed(words)) => return nothing(None, Why::Malformed(words)),
            Err(ParseError::Stale(why)) => return nothing(None, Why::Stale(why)),
        };
        match hook.orders(&told, only, &self.stacks) {
            Ok(orders) => Ok((told, orders)),
            Err(SelectionError::Ignored(reason)) => nothing(Some(told), Why::Ignored(reason)),
            Err(SelectionError::Refused(words)) => nothing(Some(told), Why::Malformed(words)),
        }
    }

    /// Answers a delivery for which nothing is to be done.
    pub(super) fn nothing_done(
        &self,
        hook: &Hook,
        nothing: &Nothing,
        verified: &Verified<'_>,
        asked: &Asked,
    ) -> Reply {
        if let Some(told) = &nothing.told {
            log_told(hook, told);
        }
        let used = || {
            let unix = self.clock.unix();
            self.recent
                .used(hook.name.as_str(), verified.secret(), unix);
        };
        match &nothing.why {
            Why::Ignored(reason) => {
                used();
                self.ignored(asked, reason)
            }
            Why::Malformed(words) => {
                used();
                self.refused(asked, words)
            }
            Why::Stale(why) => {
                let rejected = Rejected::stale(hook, why.clone());
                self.log_rejected(asked, &rejected);
                rejected.reply
            }
        }
    }

    /// How it stands with a delivery, now or at its end.
    pub(super) fn status(&self, id: &DeliveryId, prefer: Prefer, asked: Asked) -> Answer {
        let Some(delivery) = self.scheduler.find(id) else {
            let reply = reply::unknown();
            self.log_answered(&asked, &reply, &About::not_done(NO_DELIVERY));
            return Answer::now(reply);
        };
        self.answer(&delivery, prefer.wait().unwrap_or_default(), asked)
    }

    fn accept(
        &self,
        hook: &Hook,
        told: &ParsedDelivery,
        only: Option<&StackKey>,
        orders: Vec<(StackKey, Order)>,
        verified: &Verified<'_>,
        asked: Asked,
    ) -> Answer {
        let name = |key: &StackKey| {
            self.stacks
                .iter()
                .find(|stack| stack.key == *key)
                .map(|stack| stack.name.clone())
        };
        let order = |(stack, order): (StackKey, Order)| {
            Some(AskedOf {
                name: name(&stack)?,
                stack,
                order,
            })
        };
        let id = match secret::random() {
            Ok(bytes) => DeliveryId::new(bytes),
            Err(error) => return self.busy(&asked, &error.to_string()),
        };
        let (replay, duplicate) = prints(hook, told, only, verified);
        let accepted = Accepted {
            id: id.clone(),
            hook: hook.name.to_string(),
            strict: hook.sender.is_pipeline(),
            wait: hook.wait,
            time: told.time,
            orders: orders.into_iter().filter_map(order).collect(),
            replay,
            duplicate,
            event: events(told),
        };
        let stacks: Vec<&str> = accepted
            .orders
            .iter()
            .map(|one| one.stack.as_str())
            .collect();
        let stacks = stacks.join(",");
        let (secret, secrets) = verified.secret();
        let id = match self.scheduler.accept(accepted) {
            Ok(Taken::New) => {
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
            Ok(Taken::Again(first)) => {
                log::info!(
                    hook = hook.name.as_str(),
                    delivery = first.as_str();
                    "delivery came before, and is answered as the first one"
                );
                first
            }
            Ok(Taken::Forgotten) => {
                return Answer::now(self.ignored(&asked, FORGOTTEN));
            }
            // Only a way back is refused so, and no sender can ask for one.
            Err(NotAccepted::Busy) => return self.busy(&asked, "something else is under way"),
            Err(NotAccepted::Full) => return self.busy(&asked, "too many deliveries are open"),
            Err(NotAccepted::Unremembered) => {
                return self.busy(&asked, "too many signed deliveries came in ten minutes");
            }
            Err(NotAccepted::NotWritten) => {
                return self.busy(&asked, "the journal cannot be written");
            }
            Err(NotAccepted::Stopping) => return self.busy(&asked, "stackhook is shutting down"),
        };
        let wait = Prefer::of(verified.headers()).wait();
        let (wait, preference) =
            wait.map_or((hook.wait, String::new()), |(wait, said)| (wait, said));
        match self.scheduler.find(&id) {
            Some(delivery) => self.answer(&delivery, (wait, preference), asked),
            None => self.busy(&asked, "the delivery is gone"),
        }
    }

    /// The reply now, and the wait for a better one.
    fn answer(
        &self,
        delivery: &Delivery,
        (wait, preference): (Duration, String),
        asked: Asked,
    ) -> Answer {
        let preference = Some(preference).filter(|said| !said.is_empty());
        let mut reply = reply::about(delivery, &self.prefix);
        if let Some(said) = &preference {
            reply = reply.with("Preference-Applied", said.clone());
        }
        if wait.is_zero() || delivery.has_ended() {
            let about = About {
                delivery: Some(delivery),
                outcome: "",
                reason: &reply::reason(delivery),
            };
            self.log_answered(&asked, &reply, &about);
            return Answer::now(reply);
        }
        let until = Instant::now() + wait;
        Answer {
            reply,
            wait: Some(Wait {
                what: Awaited::Delivery(delivery.id.clone()),
                until,
                preference,
                asked,
            }),
        }
    }

    fn ignored(&self, asked: &Asked, reason: &str) -> Reply {
        let reply = reply::ignored(reason);
        self.not_acted_on(asked, "ignored", reason);
        self.log_answered(asked, &reply, &About::ended("ignored", reason));
        reply
    }

    fn refused(&self, asked: &Asked, words: &str) -> Reply {
        let reply = reply::rejected(400, words);
        self.not_acted_on(asked, "refused", words);
        self.log_answered(asked, &reply, &About::ended("refused", words));
        reply
    }

    /// Verified, and yet no delivery of the scheduler's: counted and shown here.
    fn not_acted_on(&self, asked: &Asked, result: &'static str, reason: &str) {
        let hook = asked.hook.as_deref().unwrap_or_default();
        self.metrics.delivery(hook, result);
        self.recent.not_acted_on(Idle {
            unix: self.clock.unix(),
            hook: hook.to_owned(),
            result,
            reason: reason.to_owned(),
        });
    }

    fn busy(&self, asked: &Asked, words: &str) -> Answer {
        let reply = reply::rejected(503, &format!("{words}; try again")).with("Retry-After", "10");
        self.log_answered(asked, &reply, &About::not_done(words));
        Answer::now(reply)
    }
}

const FORGOTTEN: &str = "this signed request came before, and how it ended is no longer known; a request never runs twice";

/// What the body was understood to say, as lines of the debug level: names only.
fn log_told(hook: &Hook, told: &ParsedDelivery) {
    for event in &told.events {
        let images: Vec<String> = event.images.iter().map(Reference::familiar).collect();
        let refs: Vec<String> = event.refs.iter().map(ToString::to_string).collect();
        log::debug!(
            hook = hook.name.as_str();
            "decided: the body has event {:?}, refs {refs:?}, repository {:?}, images {images:?}",
            event.name, event.repository
        );
    }
}

/// What the sender calls what happened, each name once.
fn events(told: &ParsedDelivery) -> String {
    let mut names: Vec<&str> = Vec::new();
    for event in &told.events {
        if !names.contains(&event.name.as_str()) && !event.name.is_empty() {
            names.push(&event.name);
        }
    }
    names.truncate(3);
    names.join(", ")
}

/// What makes a delivery a replay of another one, and what a duplicate. Only what was signed makes a replay: what stands in
/// headers anybody can change.
fn prints(
    hook: &Hook,
    told: &ParsedDelivery,
    only: Option<&StackKey>,
    verified: &Verified<'_>,
) -> (Option<Print>, Option<Print>) {
    let (name, scheme) = (
        hook.name.as_str().as_bytes(),
        hook.scheme.name.name().as_bytes(),
    );
    let body = verified.hash();
    let stamp = verified
        .timestamp()
        .map(|signed| (signed.id.as_deref().unwrap_or_default(), signed.time))
        .or(told.time.map(|time| ("", time)));
    let replay = stamp.map(|(id, time)| {
        let parts = [
            b"replay",
            name,
            scheme,
            id.as_bytes(),
            &time.to_be_bytes(),
            &body,
        ];
        Print::of(&parts)
    });
    let path = only.map_or("", |stack| stack.as_str()).as_bytes();
    let duplicate = told
        .id
        .as_ref()
        .map(|id| Print::of(&[b"duplicate", name, path, id.as_bytes(), &body]));
    (replay, duplicate)
}
