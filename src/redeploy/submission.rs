//! The update as it was sent, and the stack before it: everything that following and verifying need, also after a crash.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::health::{ContainerSnapshot, Roles, Snapshot};
use crate::image::Reference;
use crate::portainer::{EnvironmentId, Record, StackId, StackStatus};

/// The image id that each reference has on the host; `None`: the host does not have it.
pub(crate) type Images = BTreeMap<Reference, Option<String>>;

/// The direction of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Direction {
    /// To newer images or variables.
    #[serde(rename = "forward")]
    Update,
    /// To the previous images and variables.
    #[serde(rename = "back")]
    Rollback,
}

/// The images and variable values that a failed update is blamed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Blame {
    /// Image ids by reference.
    pub(crate) images: BTreeMap<Reference, String>,
    /// Set if it is known only that one of these images is at fault, not which.
    pub(crate) together: bool,
    /// Values by variable.
    pub(crate) variables: BTreeMap<String, String>,
}

/// An update that was sent. Of the stack's variables it holds only the old values of those that were set. The journal stores it as
/// JSON, so its keys must not change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Submission {
    /// Portainer's id of the stack.
    pub(crate) id: StackId,
    /// The environment of the stack.
    pub(crate) environment: EnvironmentId,
    /// The project that its containers carry in a label.
    pub(crate) project: String,
    /// Update or rollback.
    #[serde(rename = "way")]
    pub(crate) direction: Direction,
    /// Set if the previous images can be restored: only for compose stacks whose file Portainer keeps.
    #[serde(rename = "has_way_back")]
    pub(crate) can_roll_back: bool,
    /// Portainer's `UpdateDate` before: another one means that the update is done.
    pub(crate) update_date: i64,
    /// The stack's status before: a failure of an earlier deployment says nothing about this one. `None`: written by an older
    /// release of stackhook.
    #[serde(default)]
    pub(crate) status: Option<StackStatus>,
    /// The containers or services before; `None`: they could not be seen.
    pub(crate) before: Option<Snapshot>,
    /// Services that must have a container afterwards; empty: those of the file that Portainer has then.
    pub(crate) expected: BTreeSet<String>,
    /// The role of every service that the file defines; empty where the file was not certain.
    #[serde(default)]
    pub(crate) roles: Roles,
    /// Swarm services that are updated one by one, and how often each had been forced before.
    #[serde(default)]
    pub(crate) forced: BTreeMap<String, u64>,
    /// A git stack's deployed commit and the hash of its file in hexadecimal, before.
    pub(crate) checkout: Option<(String, String)>,
    /// The images before anything was pulled.
    pub(crate) images_before: Images,
    /// The images when the update was sent.
    pub(crate) images: BTreeMap<Reference, String>,
    /// The variables that the update changes, with their values before; `None`: it did not exist.
    pub(crate) variables_before: BTreeMap<String, Option<String>>,
    /// For a rollback: what the failed update is blamed on.
    #[serde(default)]
    pub(crate) blame: Blame,
}

impl Submission {
    /// A submission for a stack, with nothing else known yet.
    pub(super) fn new(record: &Record) -> Submission {
        Submission {
            id: record.id,
            environment: record.environment,
            project: record.project(),
            direction: Direction::Update,
            can_roll_back: false,
            update_date: record.update_date,
            status: Some(record.status),
            before: None,
            expected: BTreeSet::new(),
            roles: Roles::default(),
            forced: BTreeMap::new(),
            checkout: None,
            images_before: Images::new(),
            images: BTreeMap::new(),
            variables_before: BTreeMap::new(),
            blame: Blame::default(),
        }
    }

    /// The containers of a compose stack before.
    pub(super) fn containers(&self) -> Option<&ContainerSnapshot> {
        match self.before.as_ref()? {
            Snapshot::Compose(snapshot) => Some(snapshot),
            Snapshot::Swarm(_) => None,
        }
    }

    /// Returns true if it submits the content that the failed update had, to start a stack that is down.
    pub(super) fn is_restart(&self) -> bool {
        self.direction == Direction::Rollback
            && self.images.is_empty()
            && self.variables_before.is_empty()
    }

    /// Returns true if a service had a container before.
    pub(super) fn ran(&self, service: &str) -> bool {
        let before = self.containers();
        before.is_some_and(|before| !before.containers_of(service).is_empty())
    }
}
