//! The result of a redeploy, and the reasons for which an attempt to submit is repeated.

use std::collections::BTreeSet;

use crate::portainer::PortainerError;
use crate::redeploy::NotWritten;
use crate::stack::outcome::{Fault, Outcome, ServiceLog, ServiceReport};

/// The result of a redeploy, from which its report is made.
#[derive(Debug)]
pub(super) struct RedeployResult {
    pub(super) outcome: Outcome,
    pub(super) fault: Option<Fault>,
    pub(super) message: String,
    pub(super) services: Vec<ServiceReport>,
    pub(super) verified: Option<bool>,
    /// What runs now, in words: left out where a rollback has changed it since.
    pub(super) now: Option<String>,
    /// Services that failed, where that was verified.
    pub(super) bad: Vec<String>,
    /// The services whose own containers made the update fail.
    pub(super) culprits: Culprits,
    /// The last log lines of failed services; shown to staff only.
    pub(super) logs: Vec<ServiceLog>,
}

/// The services whose own containers made an update fail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Culprits {
    /// No evidence against any.
    #[default]
    Unknown,
    /// A container could not be started because of its image, but not which.
    SomeImage,
    /// These.
    Services(BTreeSet<String>),
}

/// The reason for which an attempt to submit was given up.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// The redeploy is over.
    Over(RedeployResult),
    /// The stack was changed in Portainer meanwhile: try again.
    Edited,
    /// Portainer could not be reached and nothing was sent: try again for a while.
    Away(PortainerError),
    /// Another deployment of this stack is under way: try again when it is over.
    Busy(UnderWay),
}

/// The evidence for a deployment by someone else that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnderWay {
    /// Portainer says so.
    Reported,
    /// Its traces, which a Portainer that died leaves behind as well: believed only while they change.
    Traces(String),
}

impl RedeployResult {
    pub(super) fn new(outcome: Outcome, message: impl Into<String>) -> RedeployResult {
        RedeployResult {
            outcome,
            fault: None,
            message: message.into(),
            services: Vec::new(),
            verified: None,
            now: None,
            bad: Vec::new(),
            culprits: Culprits::default(),
            logs: Vec::new(),
        }
    }

    pub(super) fn skipped(message: impl Into<String>) -> RedeployResult {
        RedeployResult::new(Outcome::Skipped, message)
    }

    pub(super) fn failed(fault: Fault, message: impl Into<String>) -> RedeployResult {
        RedeployResult {
            fault: Some(fault),
            ..RedeployResult::new(Outcome::Failed, message)
        }
    }

    pub(super) fn refused(message: impl Into<String>) -> RedeployResult {
        RedeployResult::failed(Fault::Refused, message)
    }
}

impl AttemptError {
    /// The result of an attempt that is not repeated.
    pub(super) fn at_once(self) -> RedeployResult {
        let words = match self {
            AttemptError::Over(end) => return end,
            AttemptError::Away(error) => error.to_string(),
            AttemptError::Busy(_) => "another deployment of this stack is under way".to_owned(),
            AttemptError::Edited => "the stack is being changed in Portainer".to_owned(),
        };
        RedeployResult::failed(Fault::NotReached, words)
    }
}

impl From<PortainerError> for AttemptError {
    fn from(error: PortainerError) -> AttemptError {
        match error {
            error if error.is_away() => AttemptError::Away(error),
            PortainerError::Busy(_) => AttemptError::Busy(UnderWay::Reported),
            _ => AttemptError::Over(RedeployResult::refused(error.to_string())),
        }
    }
}

impl From<RedeployResult> for AttemptError {
    fn from(end: RedeployResult) -> AttemptError {
        AttemptError::Over(end)
    }
}

impl From<NotWritten> for AttemptError {
    fn from(NotWritten(why): NotWritten) -> AttemptError {
        AttemptError::Over(RedeployResult::failed(
            Fault::NotWritten,
            format!("{why}; nothing was sent"),
        ))
    }
}
