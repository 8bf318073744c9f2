//! The steps of a redeploy, as people who watch are told of them.

use std::fmt;

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
