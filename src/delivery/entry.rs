//! The entries of the journal. The ledger is the result of applying them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delivery::DeliveryId;
use crate::delivery::queue::StackQueue;
use crate::delivery::{Accepted, Delivery, Fingerprint, kept};
use crate::image::Reference;
use crate::stack::StackKey;
use crate::stack::outcome::StackReport;

/// A lasting change; times are Unix seconds. `Delivery`, `Queue`, `Replay` and `Failure` are the state after earlier entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A delivery was accepted.
    Accepted { accepted: Accepted, unix: u64 },
    /// The waiting redeploy of this stack began.
    Started(StackKey),
    /// The running redeploy of a stack is about to pull.
    Pulling {
        stack: StackKey,
        /// The image id that each reference has now.
        before: BTreeMap<Reference, Option<String>>,
    },
    /// The running redeploy of a stack is about to send its update.
    Submitting {
        stack: StackKey,
        /// Everything that is needed to follow the update after a crash.
        submission: Value,
    },
    /// It is certain that nothing of the running redeploy of this stack was sent.
    NotSent(StackKey),
    /// The running redeploy of a stack has ended.
    Ended {
        stack: StackKey,
        #[serde(with = "kept")]
        report: StackReport,
        unix: u64,
    },
    /// The current state of a delivery.
    Delivery(Delivery),
    /// The current state of the queue of a stack.
    #[serde(rename = "lane")]
    Queue {
        stack: StackKey,
        /// Its running and waiting redeploys.
        #[serde(rename = "lane")]
        queue: StackQueue,
    },
    /// A signed request that must not run again.
    Replay {
        /// Fingerprint of everything that was signed.
        #[serde(rename = "print")]
        fingerprint: Fingerprint,
        /// The delivery that it became.
        delivery: DeliveryId,
        /// Time of acceptance.
        unix: u64,
        /// The hook that it came through; missing in version 0.1.
        #[serde(default)]
        hook: String,
        /// Time at which its signed time becomes too old; missing in version 0.1.
        #[serde(default)]
        until: Option<u64>,
    },
    /// The last failure of a stack.
    Failure(StackFailure),
    /// A server started and resumes running redeploys. If the one before did not stop in order, they may have been the cause.
    Resumed,
    /// The running redeploy of this stack was tried again with nothing else running, because servers ended during it before.
    RunsAlone(StackKey),
    /// The server stopped in order, and leaves running redeploys to the next one.
    Stopped,
}

/// The last failure of a stack, or the last redeploy with an unknown outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StackFailure {
    pub(crate) stack: StackKey,
    /// End of the redeploy (Unix seconds).
    pub(crate) unix: u64,
    #[serde(with = "kept")]
    pub(crate) report: StackReport,
}
