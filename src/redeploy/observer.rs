//! The observer of a redeploy: receives each step, stores what must survive a crash, and gives out locks.

use std::fmt;
use std::time::Duration;

use crate::portainer::StackId;
use crate::redeploy::submission::{Images, Submission};
use crate::stack::outcome::Stage;
use crate::store::lock::{LockError, LockGuard, LockKey};
use crate::store::stacks::Pause;

/// Receives each step, and stores what must survive a crash.
pub(crate) trait Observer: Sync {
    /// Reports the step that begins, for display.
    fn step(&self, step: &Step);
    /// Stores the image id of each reference before anything is pulled. Durable when it returns, or nothing is pulled.
    fn pulling(&self, before: &Images) -> Result<(), NotWritten>;
    /// Stores an update that is about to be sent. Durable when it returns, or nothing is sent.
    fn submitting(&self, submission: &Submission) -> Result<(), NotWritten>;
    /// Withdraws the stored update: not a byte of it was sent, or Portainer refused it before it did anything.
    fn not_sent(&self) {}
    /// The images that an earlier attempt of this redeploy, cut short by a crash, stored before its own pull.
    fn earlier(&self) -> Images {
        Images::new()
    }
    /// The pause of the stack; `None` also if this redeploy ignores pauses. The first call comes before Portainer is asked, without
    /// the id of the stack.
    fn pause(&self, _: Option<StackId>) -> Option<Pause> {
        None
    }
    /// Waits for a lock for at most this long.
    fn acquire_lock(&self, _: LockKey, _: Duration) -> Result<LockGuard, LockError> {
        Ok(LockGuard::unlocked())
    }
}

/// The observer of calls that change nothing.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn step(&self, _: &Step) {}

    fn pulling(&self, _: &Images) -> Result<(), NotWritten> {
        Ok(())
    }

    fn submitting(&self, _: &Submission) -> Result<(), NotWritten> {
        Ok(())
    }
}

/// The reason for which an [`Observer`] could not store something.
#[derive(Debug)]
pub(crate) struct NotWritten(pub(crate) String);

/// The step that a redeploy has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Finding the stack by its name.
    Finding,
    /// Portainer cannot be reached at the moment.
    WaitingForPortainer,
    /// Another deployment of the stack is under way.
    WaitingForDeployment,
    /// Inspecting its containers.
    Inspecting,
    /// Pulling images.
    Pulling(Vec<String>),
    /// Sending the update; Portainer answers when it is done, or at once.
    Submitting,
    /// Polling until the deployment has ended.
    Following,
    /// Restoring the previous images.
    RollingBack,
    /// Starting a stack again that the update left down.
    Restarting,
    /// Waiting for these services to be healthy; one that is unhealthy has its state behind it.
    Verifying(Vec<String>),
}

impl Step {
    /// The stage of a redeploy that the step belongs to.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Step::Finding
            | Step::WaitingForPortainer
            | Step::WaitingForDeployment
            | Step::Inspecting => Stage::Find,
            Step::Pulling(_) => Stage::Pull,
            Step::Submitting | Step::Following => Stage::Submit,
            Step::Verifying(_) => Stage::Verify,
            Step::RollingBack | Step::Restarting => Stage::RollBack,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Finding => f.write_str("finding the stack"),
            Step::WaitingForPortainer => f.write_str("waiting for Portainer"),
            Step::WaitingForDeployment => {
                f.write_str("waiting for another deployment of this stack")
            }
            Step::Inspecting => f.write_str("inspecting the containers"),
            Step::Pulling(images) => write!(f, "pulling {}", images.join(", ")),
            Step::Submitting => f.write_str("updating the stack"),
            Step::Following => f.write_str("waiting for the deployment to end"),
            Step::RollingBack => f.write_str("rolling back to the previous images"),
            Step::Restarting => f.write_str("starting the stack again"),
            Step::Verifying(services) if services.is_empty() => f.write_str("verifying"),
            Step::Verifying(services) => {
                write!(f, "waiting for {} to be healthy", services.join(", "))
            }
        }
    }
}
