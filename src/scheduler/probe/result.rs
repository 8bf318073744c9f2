//! Jobs and results of the probe.

use std::collections::HashMap;
use std::time::Instant;

use crate::portainer::{Environment, Me, Record};
use crate::redeploy::Assessment;
use crate::stack::StackKey;

/// A job of the probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeJob {
    /// Read the state of Portainer and of every stack.
    Refresh,
    /// Predict the effects of an action.
    DryRun(DryRun),
    /// Skip the deliveries for this stack from now on.
    Pause(StackKey),
    /// Stop skipping them.
    Resume(StackKey),
    /// Allow the blocked images and values of the stack again.
    Unblock(StackKey),
}

/// An action of staff on a stack, shown as a dry run before it is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaffAction {
    /// Update to what is newer.
    Update,
    /// Update even if nothing is newer or the image is blocked.
    Force,
    /// Roll back to the images before the last update.
    RollBack,
}

/// A dry run that staff asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DryRun {
    pub(crate) stack: StackKey,
    pub(crate) action: StaffAction,
    /// See [`Note::marker`].
    pub(crate) marker: String,
}

/// The state of Portainer and of every stack at one time.
#[derive(Debug, Clone)]
pub(crate) struct Overview {
    /// Time of the overview (Unix seconds).
    pub(crate) unix: u64,
    /// The same, for measuring.
    pub(crate) at: Instant,
    /// Portainer, or the reason why it is unavailable.
    pub(crate) portainer: Result<PortainerInfo, Unavailable>,
    /// Every configured stack, or the reason why it cannot be inspected.
    pub(crate) stacks: HashMap<StackKey, Result<Assessment, String>>,
}

/// The reason why Portainer is unavailable.
#[derive(Debug, Clone)]
pub(crate) struct Unavailable {
    /// Nothing answered at all.
    pub(crate) unreachable: bool,
    /// A message for staff.
    pub(crate) why: String,
}

/// Portainer, as its user sees it.
#[derive(Debug, Clone)]
pub(crate) struct PortainerInfo {
    /// Release of Portainer.
    pub(crate) version: String,
    /// The user of stackhook there; `None`: the release does not report it.
    pub(crate) me: Option<Me>,
    /// The environments visible to this user.
    pub(crate) environments: Vec<Environment>,
    /// The stacks visible to this user.
    pub(crate) records: Vec<Record>,
}

/// The result of a dry run or of an action that failed, shown at its stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// Identifies the result, so that a confirmation belongs to what was shown.
    pub(crate) number: u64,
    /// The time of the result (Unix seconds).
    pub(crate) unix: u64,
    /// The same, for measuring.
    pub(crate) at: Instant,
    /// The result in a few words.
    pub(crate) title: String,
    /// The details, a sentence each.
    pub(crate) lines: Vec<String>,
    /// The action that may be carried out now.
    pub(crate) action: Option<StaffAction>,
    /// Describes the last event of the stack: after another one the result is out of date.
    pub(crate) marker: String,
}
