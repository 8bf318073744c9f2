//! The ends of a redeploy, and what makes an attempt to submit begin again.

use crate::portainer::Error;
use crate::redeploy::NotWritten;
use crate::stack::outcome::{Fault, Outcome, ServiceLog, ServiceReport};

/// How a redeploy ended, before it is made a report.
#[derive(Debug)]
pub(super) struct RedeployResult {
    pub(super) outcome: Outcome,
    pub(super) fault: Option<Fault>,
    pub(super) message: String,
    pub(super) services: Vec<ServiceReport>,
    pub(super) verified: Option<bool>,
    /// Services that were found not well, where that was looked at.
    pub(super) bad: Vec<String>,
    /// What bad services wrote last; for staff alone.
    pub(super) logs: Vec<ServiceLog>,
}

/// Why an attempt to submit came to a halt.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// For good.
    Over(RedeployResult),
    /// Somebody changed the stack meanwhile: begin again.
    Edited,
    /// Portainer could not be reached and nothing was sent: begin again while patience lasts.
    Away(Error),
    /// Another deployment of this stack is under way: begin again when it is over.
    Busy,
}

impl RedeployResult {
    pub(super) fn new(outcome: Outcome, message: impl Into<String>) -> RedeployResult {
        RedeployResult {
            outcome,
            fault: None,
            message: message.into(),
            services: Vec::new(),
            verified: None,
            bad: Vec::new(),
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
    /// The end of an attempt that is not made again.
    pub(super) fn at_once(self) -> RedeployResult {
        let words = match self {
            AttemptError::Over(end) => return end,
            AttemptError::Away(error) => error.to_string(),
            AttemptError::Busy => "another deployment of this stack is under way".to_owned(),
            AttemptError::Edited => "somebody is changing the stack".to_owned(),
        };
        RedeployResult::failed(Fault::NotReached, words)
    }
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> AttemptError {
        match error {
            Error::Unreachable(_) => AttemptError::Away(error),
            Error::Busy(_) => AttemptError::Busy,
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
