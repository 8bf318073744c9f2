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
    /// Find out what an update of this stack would do.
    DryRun(StackKey),
    /// Skip the deliveries for this stack from now on.
    Pause(StackKey),
    /// Act on them again.
    Resume(StackKey),
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

/// What was found out about a stack because somebody asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// When (Unix seconds).
    pub(crate) unix: u64,
    /// What it is.
    pub(crate) title: String,
    /// A sentence each.
    pub(crate) lines: Vec<String>,
}
