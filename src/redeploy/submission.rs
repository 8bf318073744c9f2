//! What lies between the halves of a redeploy: the update as it was sent, and how everything was before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::health::{ContainerSnapshot, Snapshot};
use crate::image::Reference;
use crate::portainer::{EnvironmentId, Record, StackId, Status};

/// The image id that each reference has on the host; `None`: it is not there.
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

/// What was sent: all that the second half needs. Of the stack's variables it holds only the old values of those that
/// were set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Submission {
    /// Which stack.
    pub(crate) id: StackId,
    /// On which environment.
    pub(crate) environment: EnvironmentId,
    /// The project that its containers carry in a label.
    pub(crate) project: String,
    /// Forward or back.
    #[serde(rename = "way")]
    pub(crate) direction: Direction,
    /// Whether the previous images can be brought back: only for compose stacks whose file Portainer keeps.
    #[serde(rename = "has_way_back")]
    pub(crate) can_roll_back: bool,
    /// Portainer's `UpdateDate` before: another one means that the update is done.
    pub(crate) update_date: i64,
    /// What Portainer said of the stack before: a failure of then says nothing of this update. `None`: an older release of
    /// stackhook did not write it down.
    #[serde(default)]
    pub(crate) status: Option<Status>,
    /// The containers or services before; `None`: they could not be seen.
    pub(crate) before: Option<Snapshot>,
    /// Services that must have a container afterwards; empty: what the file says then.
    pub(crate) expected: BTreeSet<String>,
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
}

impl Submission {
    /// About a stack, with nothing known yet.
    pub(super) fn of(record: &Record) -> Submission {
        Submission {
            id: record.id,
            environment: record.environment,
            project: record.name.clone(),
            direction: Direction::Update,
            can_roll_back: false,
            update_date: record.update_date,
            status: Some(record.status),
            before: None,
            expected: BTreeSet::new(),
            forced: BTreeMap::new(),
            checkout: None,
            images_before: Images::new(),
            images: BTreeMap::new(),
            variables_before: BTreeMap::new(),
        }
    }

    /// The containers of a compose stack before.
    pub(super) fn containers(&self) -> Option<&ContainerSnapshot> {
        match self.before.as_ref()? {
            Snapshot::Compose(seen) => Some(seen),
            Snapshot::Swarm(_) => None,
        }
    }
}
