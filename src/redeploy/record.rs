//! The record of a stack that lasts from one redeploy to the next: what ran before, what is blocked, which services were left failed.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(test)]
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::image::Reference;
use crate::portainer::StackId;
use crate::redeploy::submission::Blame;
use crate::redeploy::{NotWritten, RedeployResult, Run, Submission};
use crate::store::stacks::StackStore;

/// The record of one stack. Its JSON keys are those of the files in `state_dir`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StackRecord {
    /// Services that its last redeploy left failed.
    pub(crate) bad: BTreeSet<String>,
    /// The image ids that ran before its last update, of the references that it moved.
    pub(crate) previous: BTreeMap<Reference, String>,
    /// The values that its last update changed; `None`: the variable did not exist.
    pub(crate) previous_variables: BTreeMap<String, Option<String>>,
    /// Images that were rolled back and are not deployed again until a newer one was verified.
    #[serde(rename = "held")]
    pub(crate) blocked: BTreeMap<Reference, BlockedImage>,
    /// Values of variables that were rolled back, which no delivery may set again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocked_variables: Option<BlockedVariables>,
    /// Image ids that its last verified update replaced: the clean-up of the next one removes them.
    pub(crate) replaced: BTreeSet<String>,
}

/// An image that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockedImage {
    /// The id of the image.
    pub(crate) id: String,
    /// The id of the image that runs instead.
    pub(crate) back_to: String,
    /// The time of the rollback (Unix seconds).
    pub(crate) unix: u64,
    /// Set if only one of the images of that rollback is at fault, and it is not known which.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) together: bool,
}

/// Values of variables that were rolled back together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockedVariables {
    /// Values by name.
    pub(crate) values: BTreeMap<String, String>,
    /// The time of the rollback (Unix seconds).
    pub(crate) unix: u64,
}

impl StackRecord {
    /// Remembers what an update that was sent has moved, for a rollback.
    pub(crate) fn sent(&mut self, submission: &Submission) {
        let moved = moved(submission);
        if !moved.is_empty() || !submission.variables_before.is_empty() {
            self.previous = moved;
            self.previous_variables = submission.variables_before.clone();
        }
    }

    /// Remembers the services that a failed update or rollback left failed, if that was verified.
    pub(super) fn left_bad(&mut self, end: &RedeployResult) {
        if end.verified == Some(true) {
            self.bad = end.bad.iter().cloned().collect();
        }
    }

    /// Records the end of a restart of the same content.
    pub(super) fn restarted(&mut self, end: &Result<RedeployResult, RedeployResult>) {
        match end {
            Ok(_) => self.bad.clear(),
            Err(end) => self.left_bad(end),
        }
    }

    /// Blocks the images and values that a rollback is blamed on, and forgets the images that it restored.
    pub(super) fn rolled_back(
        &mut self,
        blame: &Blame,
        images: &BTreeMap<Reference, String>,
        unix: u64,
        end: &Result<RedeployResult, RedeployResult>,
    ) {
        for (reference, id) in &blame.images {
            if let Some(back_to) = images.get(reference) {
                let blocked = BlockedImage {
                    id: id.clone(),
                    back_to: back_to.clone(),
                    unix,
                    together: blame.together,
                };
                self.blocked.insert(reference.clone(), blocked);
            }
        }
        if !blame.variables.is_empty() {
            self.blocked_variables = Some(BlockedVariables {
                values: blame.variables.clone(),
                unix,
            });
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

    /// Records a verified update: nothing is failed any more, and a blocked image or value is unblocked by what was deployed instead.
    pub(crate) fn proved_healthy(&mut self, submission: &Submission) {
        self.bad.clear();
        self.blocked.retain(|reference, blocked| {
            let runs = submission.images.get(reference);
            runs.is_none_or(|id| *id == blocked.back_to)
        });
        let changes = |name: &String| submission.variables_before.contains_key(name);
        self.blocked_variables
            .take_if(|blocked| blocked.values.keys().any(changes));
    }
}

/// References that a submission's pull moved, with the ids they had before.
pub(crate) fn moved(submission: &Submission) -> BTreeMap<Reference, String> {
    let moved = |(reference, before): (&Reference, &Option<String>)| {
        let before = before.as_ref()?;
        let now = submission.images.get(reference)?;
        (before != now).then(|| (reference.clone(), before.clone()))
    };
    submission.images_before.iter().filter_map(moved).collect()
}

impl Run<'_> {
    /// Records an update that did not fail: a rollback restores what it replaced, and the clean-up may remove what the update before
    /// it had replaced.
    pub(super) fn remember_success(&mut self, submission: &Submission, end: &RedeployResult) {
        let mut record = self.cx.memory.recall(submission.id);
        record.sent(submission);
        if end.verified == Some(true) {
            record.proved_healthy(submission);
            if self.stack.cleanup {
                self.clean_up(submission, &mut record);
            }
        }
        self.keep(submission.id, &record);
    }

    /// Changes the record of a stack.
    pub(super) fn remember(&mut self, id: StackId, change: impl FnOnce(&mut StackRecord)) {
        let mut record = self.cx.memory.recall(id);
        change(&mut record);
        self.keep(id, &record);
    }

    fn keep(&mut self, id: StackId, record: &StackRecord) {
        if let Err(NotWritten(why)) = self.cx.memory.keep(id, record) {
            self.notes
                .push(format!("the data for a rollback could not be saved: {why}"));
        }
    }
}

/// Storage of the records.
pub(crate) trait Memory: Send + Sync {
    /// The record of a stack, empty if there is none.
    fn recall(&self, id: StackId) -> StackRecord;
    /// Replaces the record of a stack.
    fn keep(&self, id: StackId, record: &StackRecord) -> Result<(), NotWritten>;
    /// Returns true if the records survive the end of the process.
    fn lasts(&self) -> bool;
}

impl Memory for StackStore {
    fn recall(&self, id: StackId) -> StackRecord {
        match self.record(id.0).map(serde_json::from_value) {
            Some(Ok(record)) => record,
            Some(Err(error)) => {
                log::error!(
                    "the record of stack {id} cannot be read by this version ({error}); it is ignored"
                );
                StackRecord::default()
            }
            None => StackRecord::default(),
        }
    }

    fn keep(&self, id: StackId, record: &StackRecord) -> Result<(), NotWritten> {
        let value = serde_json::to_value(record).map_err(|error| NotWritten(error.to_string()))?;
        self.set_record(id.0, &value).map_err(NotWritten)
    }

    fn lasts(&self) -> bool {
        self.is_persistent()
    }
}

/// Records that are kept until the test ends.
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

    fn keep(&self, id: StackId, record: &StackRecord) -> Result<(), NotWritten> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, record.clone());
        Ok(())
    }

    fn lasts(&self) -> bool {
        false
    }
}
