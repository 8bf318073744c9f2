//! Who watches a redeploy from outside: is told of each step, keeps what must survive a crash, and may let it wait for its turn.

use std::fmt;
use std::time::Duration;

use crate::portainer::StackId;
use crate::redeploy::submission::{Images, Submission};
use crate::stack::outcome::Stage;
use crate::store::lock::{LockError, LockGuard, LockKey};
use crate::store::stacks::Pause;

/// Who is told of each step, and writes down what must survive a crash.
pub(crate) trait Observer: Sync {
    /// For people who watch.
    fn step(&self, step: &Step);
    /// The image id that each reference has before anything is pulled. Durable when it returns, or nothing is pulled.
    fn pulling(&self, before: &Images) -> Result<(), NotWritten>;
    /// What is about to be sent. Durable when it returns, or nothing is sent.
    fn submitting(&self, submission: &Submission) -> Result<(), NotWritten>;
    /// What was said to be about to be sent was not: not a byte of it left, or Portainer did not take it on.
    fn not_sent(&self) {}
    /// What an earlier try of this redeploy, cut short by a crash, saw before its own pull.
    fn earlier(&self) -> Images {
        Images::new()
    }
    /// The pause of the stack; `None` also if this redeploy ignores pauses. The first call comes before Portainer is asked, without the
    /// number of the stack, the second with it.
    fn pause(&self, _: Option<StackId>) -> Option<Pause> {
        None
    }
    /// Waits for a lock for at most this long.
    fn acquire_lock(&self, _: LockKey, _: Duration) -> Result<LockGuard, LockError> {
        Ok(LockGuard::unlocked())
    }
}

/// The observer of an inspection: nothing is changed, so nothing is reported.
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

/// Why an [`Observer`] could not write down what must survive.
#[derive(Debug)]
pub(crate) struct NotWritten(pub(crate) String);

/// Where a redeploy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Looking for the stack.
    Finding,
    /// Portainer cannot be reached at the moment.
    WaitingForPortainer,
    /// Another deployment of the stack is under way.
    WaitingForDeployment,
    /// Looking at the containers.
    Looking,
    /// Pulling images.
    Pulling(Vec<String>),
    /// Sending the update; Portainer answers when it is done, or at once.
    Submitting,
    /// Finding out how the deployment ends.
    Following,
    /// Going back to the images that ran before.
    RollingBack,
    /// Waiting for services to be well; these are not yet, with how they are where that is bad.
    Verifying(Vec<String>),
}

impl Step {
    /// The stage of a redeploy that the step belongs to.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Step::Finding
            | Step::WaitingForPortainer
            | Step::WaitingForDeployment
            | Step::Looking => Stage::Find,
            Step::Pulling(_) => Stage::Pull,
            Step::Submitting | Step::Following => Stage::Submit,
            Step::Verifying(_) => Stage::Verify,
            Step::RollingBack => Stage::RollBack,
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
            Step::Looking => f.write_str("looking at the containers"),
            Step::Pulling(images) => write!(f, "pulling {}", images.join(", ")),
            Step::Submitting => f.write_str("updating the stack"),
            Step::Following => f.write_str("waiting for the deployment to end"),
            Step::RollingBack => f.write_str("rolling back to the previous images"),
            Step::Verifying(services) if services.is_empty() => f.write_str("verifying"),
            Step::Verifying(services) => {
                write!(f, "waiting for {} to be well", services.join(", "))
            }
        }
    }
}
