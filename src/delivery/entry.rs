//! What is written down about deliveries: the entries of the journal, of which the ledger is the sum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delivery::DeliveryId;
use crate::delivery::queue::Lane;
use crate::delivery::{Accepted, Delivery, Print, kept};
use crate::image::Reference;
use crate::stack::StackKey;
use crate::stack::outcome::StackReport;

/// Something lasting that happened; times are Unix seconds. The last four say what earlier entries amounted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A delivery was accepted.
    Accepted {
        /// What it asks for.
        accepted: Accepted,
        /// When.
        unix: u64,
    },
    /// The waiting redeploy of this stack began.
    Started(StackKey),
    /// The running redeploy of a stack is about to pull.
    Pulling {
        /// Which.
        stack: StackKey,
        /// The image id that each reference has now.
        before: BTreeMap<Reference, Option<String>>,
    },
    /// The running redeploy of a stack is about to send its update.
    Submitting {
        /// Which.
        stack: StackKey,
        /// All that is needed to find out how it ends.
        submission: Value,
    },
    /// It is certain that nothing of the running redeploy of this stack was sent.
    NotSent(StackKey),
    /// The running redeploy of a stack is over.
    Ended {
        /// Which.
        stack: StackKey,
        /// How.
        #[serde(with = "kept")]
        report: StackReport,
        /// When.
        unix: u64,
    },
    /// A delivery as it stands.
    Delivery(Delivery),
    /// A lane as it stands.
    Lane {
        /// Whose.
        stack: StackKey,
        /// What is in it.
        lane: Lane,
    },
    /// A signed request that must not run again.
    Replay {
        /// What was signed.
        print: Print,
        /// What was made of it.
        delivery: DeliveryId,
        /// When.
        unix: u64,
    },
    /// The last failure of a stack.
    Failure(Failure),
}

/// How a redeploy of a stack failed, or nobody knows how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Which.
    pub(crate) stack: StackKey,
    /// When (Unix seconds).
    pub(crate) unix: u64,
    /// How.
    #[serde(with = "kept")]
    pub(crate) report: StackReport,
}
