//! How a redeploy of one stack ended: the words of the reply (design 2.1), and what status and exit code follow from them.

use serde::{Deserialize, Serialize};

/// How a redeploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Something changed, and it was verified or the report says that it could not be.
    Updated,
    /// Nothing was newer, and what runs is well.
    Unchanged,
    /// Deliberately not done; the message says what a person can do.
    Skipped,
    /// Not done, or done and not well.
    Failed,
    /// Sent, and it could not be found out how it ended.
    Unknown,
}

impl Outcome {
    /// Whether it is a success.
    pub(crate) fn is_good(self) -> bool {
        match self {
            Outcome::Updated | Outcome::Unchanged => true,
            Outcome::Skipped | Outcome::Failed | Outcome::Unknown => false,
        }
    }

    /// True if a person has to look after the stack.
    pub(crate) fn is_bad(self) -> bool {
        match self {
            Outcome::Failed | Outcome::Unknown => true,
            Outcome::Updated | Outcome::Unchanged | Outcome::Skipped => false,
        }
    }

    /// As the reply writes it.
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

/// Whose fault a failure is: decides between 502, 503 and 504, and between the exit codes 1 and 75.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Portainer refused, the containers are not well, or stackhook itself refuses this stack: trying again as it is does not help.
    Refused,
    /// Portainer could not be reached, or time was over before anything was sent: try again later.
    NotReached,
    /// What must be on disk before something is sent could not be written.
    NotWritten,
}

/// The stage of a redeploy at which it failed; decides what helps.
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

/// What a service was seen to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServiceState {
    /// Runs, and its health check says so.
    Healthy,
    /// Runs, without a health check.
    Running,
    /// Ended with 0, as it should.
    Completed,
    /// Runs, its health check has not said anything yet.
    Starting,
    /// Runs, its health check fails.
    Unhealthy,
    /// Dies and is started again.
    Restarting,
    /// Ended.
    Exited,
    /// Made and never started.
    Created,
    /// Has no container.
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
    /// The id of the image that it ran before, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) previous_image_id: Option<String>,
    /// Whether it runs another image id than before.
    pub(crate) new_image: bool,
    /// Whether it runs in another container than before.
    pub(crate) recreated: bool,
    /// What it does.
    pub(crate) state: ServiceState,
    /// The code it ended with, where it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) exit_code: Option<i64>,
    /// How often it was restarted, where it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) restarts: Option<u64>,
}

impl ServiceReport {
    /// One of which nothing is there; `image`: what it ran before, where it did.
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

    /// In the order of the names, of which each is there once.
    pub(crate) fn sort(reports: &mut [ServiceReport]) {
        reports.sort_unstable_by(|one, other| one.service.cmp(&other.service));
    }
}

/// How a redeploy of one stack ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StackReport {
    /// Its key here.
    pub(crate) stack: String,
    /// Its name in Portainer.
    pub(crate) name: String,
    /// The name of its environment, once known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) environment: Option<String>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Whether the containers were looked at; absent where nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) verified: Option<bool>,
    /// What happened, in words.
    pub(crate) message: String,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Its services, as last seen.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) services: Vec<ServiceReport>,
    /// Why it failed, where it did; not part of a reply.
    #[serde(skip)]
    pub(crate) fault: Option<Fault>,
    /// The stage at which it failed, where it did; not part of a reply.
    #[serde(skip)]
    pub(crate) stage: Option<Stage>,
    /// What bad services wrote last, for the settings page; never part of a reply.
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
    /// Lines.
    pub(crate) text: String,
}
