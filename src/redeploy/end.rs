//! The ends of a redeploy, and what makes an attempt to submit begin again.

use crate::portainer::Error;
use crate::redeploy::NotWritten;
use crate::stack::outcome::{Fault, Outcome, ServiceLog, ServiceReport};

/// How a redeploy ended, before it is made a report.
#[derive(Debug)]
pub(super) struct End {
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
pub(super) enum Halt {
    /// For good.
    Over(End),
    /// Somebody changed the stack meanwhile: begin again.
    Edited,
    /// Portainer could not be reached and nothing was sent: begin again while patience lasts.
    Away(Error),
    /// Another deployment of this stack is under way: begin again when it is over.
    Busy,
}

impl End {
    pub(super) fn new(outcome: Outcome, message: impl Into<String>) -> End {
        End {
            outcome,
            fault: None,
            message: message.into(),
            services: Vec::new(),
            verified: None,
            bad: Vec::new(),
            logs: Vec::new(),
        }
    }

    pub(super) fn skipped(message: impl Into<String>) -> End {
        End::new(Outcome::Skipped, message)
    }

    pub(super) fn failed(fault: Fault, message: impl Into<String>) -> End {
        End {
            fault: Some(fault),
            ..End::new(Outcome::Failed, message)
        }
    }

    pub(super) fn refused(message: impl Into<String>) -> End {
        End::failed(Fault::Refused, message)
    }
}

impl Halt {
    /// The end of an attempt that is not made again.
    pub(super) fn at_once(self) -> End {
        let words = match self {
            Halt::Over(end) => return end,
            Halt::Away(error) => error.to_string(),
            Halt::Busy => "another deployment of this stack is under way".to_owned(),
            Halt::Edited => "somebody is changing the stack".to_owned(),
        };
        End::failed(Fault::NotReached, words)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        match error {
            Error::Unreachable(_) => Halt::Away(error),
            _ => Halt::Over(End::refused(error.to_string())),
        }
    }
}

impl From<End> for Halt {
    fn from(end: End) -> Halt {
        Halt::Over(end)
    }
}

impl From<NotWritten> for Halt {
    fn from(NotWritten(why): NotWritten) -> Halt {
        Halt::Over(End::failed(
            Fault::NotWritten,
            format!("{why}; nothing was sent"),
        ))
    }
}
