//! The log lines of requests, one each, and the counts that go with them. Only what is harmless: never a query, a body, or a header that
//! may carry a secret.

use std::net::IpAddr;
use std::time::Instant;

use crate::delivery::Delivery;
use crate::message::Reply;
use crate::request::Asked;
use crate::site::recent::TurnedAway;
use crate::site::{HOME, Rejected, Site, desk};

/// What the line of a request says of the delivery that it is about.
#[derive(Default)]
pub(super) struct About<'d> {
    /// The delivery, where one was accepted.
    pub(super) delivery: Option<&'d Delivery>,
    /// What became of it where none was.
    pub(super) outcome: &'static str,
    /// Why, where it did not go well.
    pub(super) reason: &'d str,
}

impl<'d> About<'d> {
    /// Verified, and how that ended without an accepted delivery.
    pub(super) fn ended(outcome: &'static str, reason: &'d str) -> About<'d> {
        About {
            outcome,
            reason,
            ..About::default()
        }
    }

    /// Nothing came of it; perhaps it says why.
    pub(super) fn not_done(reason: &'d str) -> About<'d> {
        About::ended("-", reason)
    }
}

impl Site {
    /// What the edge refused.
    pub(super) fn log_refused(&self, peer: IpAddr, status: u16, words: &str) {
        let Some(hidden) = self.rejections.may_be_logged(Instant::now()) else {
            return;
        };
        log::warn!(status = status, peer = self::peer(peer).as_str(); "refused: {words}");
        log_hidden(hidden);
    }

    /// A request that is turned away: counted, shown on the page, and told in a line unless there are too many.
    pub(super) fn log_rejected(&self, asked: &Asked, rejected: &Rejected) {
        // Whoever asks for the page without a password is about to be asked for one, and whoever goes home is on the way.
        if matches!(rejected.reason, HOME | desk::NO_PASSWORD) {
            return;
        }
        self.metrics.rejection(rejected.reason);
        // Whoever tries addresses must not push out what somebody looks for.
        if !matches!(rejected.reason, "no_route" | "method" | "no_delivery") {
            self.recent.turned_away(TurnedAway {
                unix: self.clock.unix(),
                peer: asked.peer.to_canonical(),
                hook: rejected.hook.clone().unwrap_or_default(),
                status: rejected.reply.status,
                words: rejected.hint.clone(),
                times: 1,
            });
        }
        let Some(hidden) = self.rejections.may_be_logged(Instant::now()) else {
            return;
        };
        log::warn!(
            method = asked.method,
            route = asked.route,
            status = rejected.reply.status,
            peer = peer(asked.peer).as_str(),
            hook = rejected.hook.as_deref().unwrap_or("-"),
            reason = rejected.reason;
            "turned away: {}", rejected.hint
        );
        log_hidden(hidden);
    }

    /// The line of a request that was admitted.
    pub(super) fn log_answered(&self, asked: &Asked, reply: &Reply, about: &About<'_>) {
        let millis = u64::try_from(asked.at.elapsed().as_millis()).unwrap_or(u64::MAX);
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
        log::info!(
            method = asked.method,
            route = asked.route,
            status = reply.status,
            ms = millis,
            peer = peer(asked.peer).as_str(),
            hook = asked.hook.as_deref().unwrap_or("-"),
            delivery = id,
            stack = stacks.join(",").as_str(),
            outcome = outcome,
            reason = about.reason;
            "answered"
        );
    }
}

fn log_hidden(hidden: u64) {
    if hidden > 0 {
        log::warn!("{hidden} more requests were turned away without a line of their own");
    }
}

/// For log lines.
pub(super) fn peer(peer: IpAddr) -> String {
    peer.to_canonical().to_string()
}
