//! The outcome of a redeploy of one stack, as the reply writes it; HTTP status and exit code follow from it.

use serde::{Deserialize, Serialize};

/// The outcome of a redeploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Something changed; it was verified, or the report gives the reason why it was not.
    Updated,
    /// Nothing was newer, and the containers are healthy.
    Unchanged,
    /// Deliberately not done; the message names what a person can do.
    Skipped,
    /// Not done, or done with unhealthy containers.
    Failed,
    /// Sent, with an unknown result.
    Unknown,
}

impl Outcome {
    /// Returns true for a success.
    pub(crate) fn is_good(self) -> bool {
        match self {
            Outcome::Updated | Outcome::Unchanged => true,
            Outcome::Skipped | Outcome::Failed | Outcome::Unknown => false,
        }
    }

    /// Returns true if it needs attention.
    pub(crate) fn is_bad(self) -> bool {
        match self {
            Outcome::Failed | Outcome::Unknown => true,
            Outcome::Updated | Outcome::Unchanged | Outcome::Skipped => false,
        }
    }

    /// Its name in replies.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Updated => "updated",
            Outcome::Unchanged => "unchanged",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        }
    }
}

/// The kind of a failure, which decides between 502, 503 and 504, and between the exit codes 1 and 75.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Portainer refused, containers are unhealthy, or stackhook itself refuses this stack: a repetition does not help.
    Refused,
    /// Portainer could not be reached, or time was over before anything was sent: try again later.
    NotReached,
    /// The data that must be on disk before something is sent could not be written.
    NotWritten,
}

/// The stage of a redeploy at which it failed; the advice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Before anything was pulled: the stack was searched for and inspected.
    Find,
    /// While images were pulled; nothing of the stack was touched.
    Pull,
    /// While the update was submitted to Portainer or carried out by it.
    Submit,
    /// After the update, while its containers were verified.
    Verify,
    /// The update failed, and the previous images were restored, or that was tried.
    RollBack,
}

/// The observed state of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServiceState {
    /// Runs, and its health check succeeds.
    Healthy,
    /// Runs, without a health check.
    Running,
    /// Exited with 0, as a job should.
    Completed,
    /// Runs, and its health check has no result yet.
    Starting,
    /// Runs, and its health check fails.
    Unhealthy,
    /// Exits and is started again.
    Restarting,
    /// Exited and not restarted.
    Exited,
    /// Created and never started.
    Created,
    /// Without a container.
    Missing,
}

impl ServiceState {
    /// Returns true if the service does what it should.
    pub(crate) fn is_good(self) -> bool {
        match self {
            ServiceState::Healthy | ServiceState::Running | ServiceState::Completed => true,
            ServiceState::Starting
            | ServiceState::Unhealthy
            | ServiceState::Restarting
            | ServiceState::Exited
            | ServiceState::Created
            | ServiceState::Missing => false,
        }
    }
}

/// One service of a stack, as last seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceReport {
    /// Its name in the compose file.
    pub(crate) service: String,
    /// The reference that it runs.
    pub(crate) image: String,
    /// The id of the image that it runs; for a Swarm service the digest that it is pinned to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) image_id: Option<String>,
    /// The id of the image that it ran before, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) previous_image_id: Option<String>,
    /// Set if it runs another image id than before.
    pub(crate) new_image: bool,
    /// Set if it runs in another container than before.
    pub(crate) recreated: bool,
    /// Its observed state.
    pub(crate) state: ServiceState,
    /// The exit code, if it has exited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) exit_code: Option<i64>,
    /// The number of restarts, if there were any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) restarts: Option<u64>,
}

impl ServiceReport {
    /// The report of a service without a container; `image`: the reference that it ran before, if it did.
    pub(crate) fn missing(service: &str, image: &str) -> ServiceReport {
        ServiceReport {
            service: service.to_owned(),
            image: image.to_owned(),
            image_id: None,
            previous_image_id: None,
            new_image: false,
            recreated: false,
            state: ServiceState::Missing,
            exit_code: None,
            restarts: None,
        }
    }

    /// Sorts reports by service; each service occurs once.
    pub(crate) fn sort(reports: &mut [ServiceReport]) {
        reports.sort_unstable_by(|one, other| one.service.cmp(&other.service));
    }
}

/// The report of a redeploy of one stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StackReport {
    /// The key of the stack.
    pub(crate) stack: String,
    /// Its name in Portainer.
    pub(crate) name: String,
    /// The name of its environment, once known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) environment: Option<String>,
    /// The outcome of the redeploy.
    pub(crate) outcome: Outcome,
    /// True if the health of the containers was verified; absent if nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) verified: Option<bool>,
    /// The message for people.
    pub(crate) message: String,
    /// The duration of the redeploy.
    pub(crate) seconds: f64,
    /// Its services, as last seen.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) services: Vec<ServiceReport>,
    /// The kind of its failure, if it failed; not part of a reply.
    #[serde(skip)]
    pub(crate) fault: Option<Fault>,
    /// The stage at which it failed, if it did; not part of a reply.
    #[serde(skip)]
    pub(crate) stage: Option<Stage>,
    /// The last log lines of failed services, for the settings page; never part of a reply.
    #[serde(skip)]
    pub(crate) logs: Vec<ServiceLog>,
}

impl StackReport {
    /// The outcome in people's words: unlike its name in a reply, it tells a rollback from an update, and a failed update whose previous
    /// images were restored from one that left the stack failed.
    pub(crate) fn word(&self, is_rollback: bool) -> &'static str {
        match self.outcome {
            Outcome::Updated if is_rollback => "rolled back",
            Outcome::Failed if self.is_restored() => "failed, restored",
            outcome => outcome.name(),
        }
    }

    /// Returns true if the update failed and the previous images then proved healthy.
    pub(crate) fn is_restored(&self) -> bool {
        let healthy = |service: &ServiceReport| service.state.is_good();
        self.outcome == Outcome::Failed
            && self.stage == Some(Stage::RollBack)
            && !self.services.is_empty()
            && self.services.iter().all(healthy)
    }
}

/// The end of the log of a service's container, redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceLog {
    /// Its name in the compose file.
    pub(crate) service: String,
    /// The last lines, redacted.
    pub(crate) text: String,
}
