//! What the probe is asked, and what it has seen: values for whoever shows them.

use std::collections::HashMap;
use std::time::Instant;

use crate::portainer::{Environment, Me, Record};
use crate::redeploy::View;
use crate::stack::StackKey;

/// What can be asked of the probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Look at Portainer and at every stack.
    Look,
    /// Find out what an action would do.
    DryRun(DryRun),
    /// Skip the deliveries for this stack from now on.
    Pause(StackKey),
    /// Act on them again.
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
    /// The stack.
    pub(crate) stack: StackKey,
    /// The action.
    pub(crate) action: StaffAction,
    /// See [`Note::marker`].
    pub(crate) marker: String,
}

/// What was seen.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// When (Unix seconds).
    pub(crate) unix: u64,
    /// When, for measuring.
    pub(crate) at: Instant,
    /// What Portainer says of itself, or why it says nothing.
    pub(crate) portainer: Result<Portal, Away>,
    /// Every configured stack, or why it cannot be seen.
    pub(crate) stacks: HashMap<StackKey, Result<View, String>>,
}

/// Why nothing is known of Portainer.
#[derive(Debug, Clone)]
pub(crate) struct Away {
    /// Whether nobody answered at all.
    pub(crate) unreachable: bool,
    /// For a person.
    pub(crate) why: String,
}

/// Portainer, as its user sees it.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    /// Its release.
    pub(crate) version: String,
    /// Who we are there; `None`: the release does not tell.
    pub(crate) me: Option<Me>,
    /// Those that this user sees.
    pub(crate) environments: Vec<Environment>,
    /// Those that this user sees.
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
