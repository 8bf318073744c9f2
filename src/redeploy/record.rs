//! What lasts about a stack from one redeploy to the next: what ran before, what was rolled back, what was left not well. Where it
//! is kept is decided by whoever implements [`Memory`].

use std::collections::{BTreeMap, BTreeSet};
#[cfg(test)]
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::image::Reference;
use crate::portainer::StackId;
use crate::redeploy::{NotWritten, RedeployResult, Submission};
use crate::store::stacks::StackStore;

/// What lasts about a stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StackRecord {
    /// Services that its last redeploy left not well.
    pub(crate) bad: BTreeSet<String>,
    /// The image ids that ran before its last update, of the references that it moved.
    pub(crate) previous: BTreeMap<Reference, String>,
    /// The values that its last update changed; `None`: the variable did not exist.
    pub(crate) previous_variables: BTreeMap<String, Option<String>>,
    /// Images that were rolled back, and stay out until something newer has proved well.
    #[serde(rename = "held")]
    pub(crate) blocked: BTreeMap<Reference, BlockedImage>,
    /// Image ids that its last verified update replaced: the clean-up of the next one removes them.
    pub(crate) replaced: BTreeSet<String>,
}

/// An image that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockedImage {
    /// The image that stays out.
    pub(crate) id: String,
    /// The image that runs instead.
    pub(crate) back_to: String,
    /// When it was rolled back (Unix seconds).
    pub(crate) unix: u64,
}

impl StackRecord {
    /// Remembers what an update that was sent has moved, for the way back.
    pub(crate) fn sent(&mut self, submission: &Submission) {
        let moved = moved(submission);
        if !moved.is_empty() || !submission.variables_before.is_empty() {
            self.previous = moved;
            self.previous_variables = submission.variables_before.clone();
        }
    }

    /// Remembers which services a failed update, or way back, has left not well, where that was looked at.
    pub(super) fn left_bad(&mut self, end: &RedeployResult) {
        if end.verified == Some(true) {
            self.bad = end.bad.iter().cloned().collect();
        }
    }

    /// What was rolled back stays out; what ran before it is no way back any more.
    pub(super) fn rolled_back(
        &mut self,
        newer: &BTreeMap<Reference, String>,
        images: &BTreeMap<Reference, String>,
        unix: u64,
        end: &Result<RedeployResult, RedeployResult>,
    ) {
        for (reference, id) in newer {
            if let Some(back_to) = images.get(reference) {
                let held = BlockedImage {
                    id: id.clone(),
                    back_to: back_to.clone(),
                    unix,
                };
                self.blocked.insert(reference.clone(), held);
            }
        }
        match end {
            Ok(_) => {
                self.previous.clear();
                self.previous_variables.clear();
                self.bad.clear();
            }
            Err(end) => self.left_bad(end),
        }
    }

    /// An update has proved well: nothing is bad any more, and what is newer than a held image ends its hold.
    pub(crate) fn proved_well(&mut self, submission: &Submission) {
        self.bad.clear();
        let held = std::mem::take(&mut self.blocked).into_iter();
        self.blocked = held
            .filter(|(reference, held)| {
                let runs = submission.images.get(reference);
                runs.is_none_or(|id| *id == held.back_to)
            })
            .collect();
    }
}

/// References that a submission's pull moved, with the ids they had before.
pub(crate) fn moved(submission: &Submission) -> BTreeMap<Reference, String> {
    let moved = submission
        .images_before
        .iter()
        .filter_map(|(reference, before)| {
            let before = before.as_ref()?;
            let now = submission.images.get(reference)?;
            (before != now).then(|| (reference.clone(), before.clone()))
        });
    moved.into_iter().collect()
}

/// Where it is kept.
pub(crate) trait Memory: Send + Sync {
    /// What is known of a stack; nothing, if nothing is.
    fn recall(&self, id: StackId) -> StackRecord;
    /// Keeps it.
    fn keep(&self, id: StackId, past: &StackRecord) -> Result<(), NotWritten>;
    /// Whether it survives the end of the process.
    fn lasts(&self) -> bool;
}

impl Memory for StackStore {
    fn recall(&self, id: StackId) -> StackRecord {
        match self.record(id.0).map(serde_json::from_value) {
            Some(Ok(past)) => past,
            Some(Err(error)) => {
                log::error!(
                    "what is kept about stack {id} means nothing to this version ({error}); it counts as nothing"
                );
                StackRecord::default()
            }
            None => StackRecord::default(),
        }
    }

    fn keep(&self, id: StackId, past: &StackRecord) -> Result<(), NotWritten> {
        let value = serde_json::to_value(past).map_err(|error| NotWritten(error.to_string()))?;
        self.set_record(id.0, &value).map_err(NotWritten)
    }

    fn lasts(&self) -> bool {
        self.is_persistent()
    }
}

/// Kept as long as the test lives.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct InMemory(Mutex<BTreeMap<StackId, StackRecord>>);

#[cfg(test)]
impl Memory for InMemory {
    fn recall(&self, id: StackId) -> StackRecord {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
            .unwrap_or_default()
    }

    fn keep(&self, id: StackId, past: &StackRecord) -> Result<(), NotWritten> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, past.clone());
        Ok(())
    }

    fn lasts(&self) -> bool {
        false
    }
}
