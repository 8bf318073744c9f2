//! Pulls that were left to Portainer: some of its releases fetch only images that are missing on the host, and answer as if
//! they had pulled. What they left out is found by comparing what runs with the registry.

use std::collections::BTreeSet;

use crate::health::Snapshot;
use crate::image::Reference;
use crate::portainer::{self, EnvironmentId, ImageOrigin, LocalImage};
use crate::redeploy::inspect::{self, reference_of};
use crate::redeploy::{Direction, RedeployResult, Run, Submission};
use crate::stack::outcome::{Fault, Outcome};

/// What this redeploy knows about the images that it left to Portainer.
#[derive(Debug, Default)]
pub(super) struct Delegated {
    /// The references that were pulled before the update.
    pub(super) pulled: BTreeSet<Reference>,
    /// Why a reference could not be pulled.
    pub(super) failed: Vec<(Reference, String)>,
}

impl Run<'_> {
    /// The version of a Portainer that pulls only missing images.
    pub(super) fn missing_only_version(&self) -> Option<String> {
        let version = self.cx.portainer.version().ok()?;
        portainer::pulls_missing_only(&version).then_some(version)
    }

    /// Turns the success of an update into a failure where Portainer left an image as it was although it was to pull it.
    pub(super) fn require_pulled(
        &self,
        submission: &Submission,
        end: RedeployResult,
    ) -> RedeployResult {
        let was_delegated = submission.direction == Direction::Update
            && submission.expected.is_empty()
            && submission.forced.is_empty();
        if !was_delegated || end.outcome != Outcome::Updated {
            return end;
        }
        let Some(version) = self.missing_only_version() else {
            return end;
        };
        let Ok(Snapshot::Compose(seen)) = inspect::again(self.cx.portainer, submission) else {
            return end;
        };
        let kept = seen.containers.iter().filter_map(|container| {
            let reference = reference_of(container).filter(|one| one.digest().is_none())?;
            // One that was not on the host is fetched by every release.
            let before = submission.images_before.get(&reference);
            let is_kept =
                before.is_none_or(|id| id.as_deref() == Some(container.image_id.as_str()));
            is_kept.then_some(reference)
        });
        let kept: BTreeSet<Reference> = kept.collect();
        let problems: Vec<String> = kept
            .difference(&self.delegated.pulled)
            .filter_map(|reference| self.not_newest(submission.environment, reference))
            .collect();
        match problems.is_empty() {
            true => end,
            false => RedeployResult {
                outcome: Outcome::Failed,
                fault: Some(Fault::Refused),
                message: format!(
                    "{}; but Portainer {version} pulls only images that are missing on the host: {}",
                    end.message,
                    problems.join("; ")
                ),
                ..end
            },
        }
    }

    /// Why an image that Portainer did not pull is not known to be the newest.
    fn not_newest(&self, environment: EnvironmentId, reference: &Reference) -> Option<String> {
        let name = reference.familiar();
        let failed = &self.delegated.failed;
        if let Some((_, why)) = failed.iter().find(|(other, _)| other == reference) {
            return Some(why.clone());
        }
        let local = self.cx.portainer.image(environment, &name);
        let was_made_here = |image: &LocalImage| image.origin(reference) == ImageOrigin::Local;
        let local = local.ok().flatten().filter(|image| !was_made_here(image))?;
        let has = |image: &LocalImage, digest: &str| {
            let mut digests = image.repo_digests.iter();
            digests.any(|one| one.rsplit('@').next() == Some(digest))
        };
        match self.cx.portainer.distribution(environment, reference) {
            Ok(Some(digest)) if has(&local, &digest) => None,
            Ok(Some(_)) => Some(format!(
                "the registry has a newer {name}; run the update again, and stackhook pulls it first"
            )),
            Ok(None) => Some(format!("the registry no longer has {name}")),
            Err(error) => Some(format!(
                "whether {name} is the newest cannot be found out: {error}"
            )),
        }
    }
}
