//! Accepted deliveries: the redeploys that cover them, their state, and the reply about them. Values only: no I/O, no clock, no threads.

pub(crate) mod kept;
pub(crate) mod queue;
pub(crate) mod entry;
mod replay;
pub(crate) mod ledger;
pub(crate) mod reply;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret;
use crate::stack::StackKey;
use crate::stack::order::Order;
use crate::stack::outcome::{Outcome, StackReport};

/// A verified delivery that asks for redeploys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) id: DeliveryId,
    /// Name of the hook that received it.
    pub(crate) hook: String,
    /// A skipped stack counts as a failure: sender `generic` names its stack, so the request was not carried out.
    pub(crate) strict: bool,
    /// Default waiting time for its outcome, without `Prefer`.
    pub(crate) wait: Duration,
    /// The signed time in the body, which decides whose variables are newer.
    pub(crate) time: Option<u64>,
    /// The requested redeploys.
    pub(crate) orders: Vec<RequestedRedeploy>,
    /// Fingerprint of everything that was signed, if a time was: such a request never runs twice.
    #[serde(default)]
    pub(crate) replay: Option<Fingerprint>,
    /// The time (Unix seconds) that was signed with it; it is only accepted near that time.
    #[serde(default)]
    pub(crate) signed_at: Option<u64>,
    /// Fingerprint of hook, path, the sender's id and body: a redelivery is answered with the first one's outcome.
    #[serde(default)]
    pub(crate) duplicate: Option<Fingerprint>,
    /// The event, in the words of the sender.
    #[serde(default)]
    pub(crate) event: String,
}

/// A digest that is equal for two requests or deliveries that count as the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fingerprint(String);

impl Fingerprint {
    /// Hashes the parts with their lengths, so that no two lists of parts look alike.
    pub(crate) fn of(parts: &[&[u8]]) -> Fingerprint {
        let lengths: Vec<[u8; 8]> = parts
            .iter()
            .map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes())
            .collect();
        let framed: Vec<&[u8]> = lengths
            .iter()
            .zip(parts)
            .flat_map(|(length, part)| [length.as_slice(), part])
            .collect();
        let mut hex = secret::to_hex(&secret::sha256(&framed));
        // Half of the digest is more than enough, and thousands are kept.
        hex.truncate(32);
        Fingerprint(hex)
    }
}

/// A requested redeploy of one stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RequestedRedeploy {
    /// The stack's key here.
    pub(crate) stack: StackKey,
    /// The stack's name in Portainer.
    pub(crate) name: String,
    /// Selects the images to update, and sets variables.
    pub(crate) order: Order,
}

/// The state of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) id: DeliveryId,
    /// Name of the hook that received it.
    pub(crate) hook: String,
    /// See [`Accepted::strict`].
    pub(crate) strict: bool,
    /// See [`Accepted::wait`].
    pub(crate) wait: Duration,
    /// Time of acceptance (Unix seconds).
    pub(crate) at: u64,
    /// End of its last stack (Unix seconds).
    #[serde(default)]
    pub(crate) ended: Option<u64>,
    /// See [`Accepted::duplicate`].
    #[serde(default)]
    pub(crate) duplicate: Option<Fingerprint>,
    /// See [`Accepted::event`].
    #[serde(default)]
    pub(crate) event: String,
    /// One part for each of its stacks.
    pub(crate) parts: Vec<Part>,
}

/// The state of one stack of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The stack's key here.
    pub(crate) stack: StackKey,
    /// The stack's name in Portainer.
    pub(crate) name: String,
    pub(crate) progress: PartProgress,
}

/// The progress of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartProgress {
    /// In the queue of its stack.
    Waiting,
    /// Running, with the current step.
    Running(String),
    Ended(#[serde(with = "kept")] StackReport),
}

/// The status of a delivery; later variants are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeliveryStatus {
    Queued,
    Running,
    Ignored,
    Succeeded,
    Unknown,
    Failed,
}

impl DeliveryStatus {
    /// Returns the spelling in replies.
    pub(crate) fn name(self) -> &'static str {
        match self {
            DeliveryStatus::Queued => "queued",
            DeliveryStatus::Running => "running",
            DeliveryStatus::Ignored => "ignored",
            DeliveryStatus::Succeeded => "succeeded",
            DeliveryStatus::Unknown => "unknown",
            DeliveryStatus::Failed => "failed",
        }
    }

    /// Returns the status that one stack's outcome leads to.
    pub(crate) fn of(outcome: Outcome, strict: bool) -> DeliveryStatus {
        match outcome {
            Outcome::Updated | Outcome::Unchanged => DeliveryStatus::Succeeded,
            Outcome::Skipped if strict => DeliveryStatus::Failed,
            Outcome::Skipped => DeliveryStatus::Ignored,
            Outcome::Failed => DeliveryStatus::Failed,
            Outcome::Unknown => DeliveryStatus::Unknown,
        }
    }
}

impl Delivery {
    /// Returns true if all its stacks have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part.progress, PartProgress::Ended(_)))
    }

    /// Returns the status: running while one stack is, else the worst of its stacks.
    pub(crate) fn status(&self) -> DeliveryStatus {
        let worst = || {
            self.reports()
                .map(|report| DeliveryStatus::of(report.outcome, self.strict))
                .max()
        };
        let all_waiting = || {
            self.parts
                .iter()
                .all(|part| matches!(part.progress, PartProgress::Waiting))
        };
        match self.has_ended() {
            true => worst().unwrap_or(DeliveryStatus::Ignored),
            false if all_waiting() => DeliveryStatus::Queued,
            false => DeliveryStatus::Running,
        }
    }

    /// Returns the reports of stacks that have ended.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &StackReport> {
        self.parts.iter().filter_map(|part| match &part.progress {
            PartProgress::Ended(report) => Some(report),
            PartProgress::Waiting | PartProgress::Running(_) => None,
        })
    }
}

/// The identifier of a delivery: 128 random bits. Knowing it grants read access to the delivery's reply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct DeliveryId(String);

impl DeliveryId {
    const DIGITS: usize = 32;

    /// Encodes random bits.
    pub(crate) fn new(random: [u8; 16]) -> DeliveryId {
        DeliveryId(secret::to_hex(&random))
    }

    /// Parses the one spelling that `new` produces: 32 lowercase hex digits.
    pub(crate) fn parse(text: &str) -> Option<DeliveryId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == Self::DIGITS && text.bytes().all(is_digit))
            .then(|| DeliveryId(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<DeliveryId, &'static str> {
        DeliveryId::parse(&text).ok_or("not a delivery id")
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> String {
        id.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_one_spelling_of_a_delivery_id() {
        let id = DeliveryId::new([0xa5; 16]);
        assert_eq!(id.as_str(), "a5".repeat(16));
        assert_eq!(DeliveryId::parse(id.as_str()), Some(id));
        for wrong in [
            "".to_owned(),
            "a5".repeat(15),
            "a5".repeat(17),
            "A5".repeat(16),
            "g5".repeat(16),
            format!("{}é", "a5".repeat(15)),
        ] {
            assert_eq!(DeliveryId::parse(&wrong), None, "{wrong}");
        }
    }
}
