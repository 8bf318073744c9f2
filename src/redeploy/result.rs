//! The result of a redeploy, its report, and the reasons for which an attempt to submit is repeated.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use crate::portainer::PortainerError;
use crate::redeploy::{NotWritten, Run};
use crate::stack::outcome::{Fault, Outcome, ServiceLog, ServiceReport, StackReport, Stage};

/// The result of a redeploy, from which its report is made.
#[derive(Debug)]
pub(super) struct RedeployResult {
    pub(super) outcome: Outcome,
    pub(super) fault: Option<Fault>,
    pub(super) message: String,
    pub(super) services: Vec<ServiceReport>,
    pub(super) verified: Option<bool>,
    /// The state of the services now, in words; absent if a rollback has changed it since.
    pub(super) now: Option<String>,
    /// Services that failed, if that was verified.
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
    /// The containers of these services.
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

/// The evidence for a deployment that stackhook did not submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnderWay {
    /// Portainer reports it.
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

impl Run<'_> {
    /// The report of a result, with the notes and without secrets.
    pub(super) fn report(&self, end: Result<RedeployResult, RedeployResult>) -> StackReport {
        let (Ok(end) | Err(end)) = end;
        let mut message = end.message;
        for part in end.now.iter().chain(&self.notes) {
            message.push_str("; ");
            message.push_str(part);
        }
        let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = match end.verified {
            // Some containers are judged at the first inspection, before any step of it is shown.
            Some(true) if stage != Stage::RollBack => Stage::Verify,
            _ => stage,
        };
        let seconds = self.cx.clock.now().duration_since(self.began).as_secs_f64();
        StackReport {
            stack: self.stack.key.to_string(),
            name: self.stack.name.clone(),
            environment: self.environment.clone(),
            outcome: end.outcome,
            verified: end.verified,
            message: self.redactor.show(&message),
            seconds: (seconds * 10.0).round() / 10.0,
            services: end.services,
            fault: end.fault,
            stage: Some(stage).filter(|_| end.outcome.is_bad()),
            logs: end.logs,
        }
    }
}

impl AttemptError {
    /// The result of an attempt that is not repeated.
    pub(super) fn into_result(self) -> RedeployResult {
        let why = match self {
            AttemptError::Over(end) => return end,
            AttemptError::Away(error) => error.to_string(),
            AttemptError::Busy(_) => "another deployment of this stack is under way".to_owned(),
            AttemptError::Edited => "the stack is being changed in Portainer".to_owned(),
        };
        RedeployResult::failed(Fault::NotReached, why)
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

/// The end of a rollback or restart, as the beginning of a message.
pub(super) fn restored(
    is_restart: bool,
    end: &Result<RedeployResult, RedeployResult>,
) -> &'static str {
    let is_unverified =
        |end: &RedeployResult| end.verified == Some(false) && end.services.is_empty();
    match (is_restart, end) {
        (false, Ok(end)) if is_unverified(end) => "the previous images were deployed again, but",
        (true, Ok(end)) if is_unverified(end) => "the stack was deployed again, but",
        (false, Ok(_)) => "the previous images run again,",
        (true, Ok(_)) => "the stack was started again,",
        (false, Err(_)) => "it could not be rolled back:",
        (true, Err(_)) => "it could not be started again:",
    }
}
