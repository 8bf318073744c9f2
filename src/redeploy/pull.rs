//! Pulls images before the stack is touched, and finds out whether that leaves anything to update. Pulls that are left to Portainer
//! are checked afterwards: some of its releases fetch only images that are missing on the host, and answer as if they had pulled.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::health::compose::{ContainerWatch, Criteria};
use crate::health::{Snapshot, Verdict};
use crate::image::Reference;
use crate::limits;
use crate::portainer::{
    self, EnvironmentId, ImageOrigin, LocalImage, PortainerError, PullFailure, Registry,
    RegistryId, StackStatus,
};
use crate::redeploy::find::FoundStack;
use crate::redeploy::inspect::{self, StackInspection, reference_of};
use crate::redeploy::plan::{self, NoUpdate, Plan};
use crate::redeploy::{AttemptError, Direction, Images, RedeployResult, Run, Step, Submission};
use crate::stack::order::Order;
use crate::stack::outcome::{Fault, Outcome};

/// The images of which Portainer does the pulling, as far as this redeploy knows them.
#[derive(Debug, Default)]
pub(super) struct DelegatedPulls {
    /// The references that were pulled before the update all the same.
    pulled: BTreeSet<Reference>,
    /// References that could not be pulled, with the reason.
    failed: Vec<(Reference, String)>,
}

impl Run<'_> {
    /// Pulls the images of the plan; returns the inspection with the images that the host has afterwards.
    pub(super) fn pull(
        &mut self,
        order: &Order,
        found: &FoundStack,
        mut inspection: StackInspection,
        plan: &Plan,
    ) -> Result<StackInspection, AttemptError> {
        self.check_forced_services(order, found, plan)?;
        if !plan.pulls.is_empty() || plan.repull {
            self.cx.observer.pulling(&plan.images_before(&inspection))?;
        }
        if !plan.pulls.is_empty() {
            let environment = found.record.environment;
            self.step(Step::Pulling(
                plan.pulls.iter().map(Reference::familiar).collect(),
            ));
            // A user who may not see the registries pulls without credentials; the registry's answer then names what is missing.
            let registries = match self.cx.portainer.registries(environment) {
                Ok(registries) => registries,
                Err(error) if error.is_temporary() => return Err(error.into()),
                Err(_) => Vec::new(),
            };
            let pulls: Vec<&Reference> = plan.pulls.iter().collect();
            let results = inspect::side_by_side(&pulls, |reference| {
                let platform = inspection.platform(reference);
                self.pull_one(found, reference, platform, &registries)
            });
            let before = inspection.images();
            let inspected_again =
                inspect::local_images(self.cx.portainer, environment, &mut inspection);
            for (reference, result) in pulls.into_iter().zip(results) {
                let failed = match result {
                    Ok(()) => {
                        self.delegated.pulled.insert(reference.clone());
                        continue;
                    }
                    Err(failed) => failed,
                };
                if plan.optional_pulls.contains(reference) && !failed.error.is_temporary() {
                    let failed = (reference.clone(), failed.error.to_string());
                    self.delegated.failed.push(failed);
                    continue;
                }
                if failed.is_refusal() && inspection.origin_is_unknown(reference) {
                    self.notes.push(format!(
                        "{} was not pulled: this engine does not record where it came from, and the registry refused it; the image on the host is used",
                        reference.familiar()
                    ));
                    continue;
                }
                return Err(also_arrived(failed.into(), &before, &inspection.images()));
            }
            inspected_again?;
            for reference in &plan.pulls {
                let before = self.images_before.get(reference).and_then(Option::as_deref);
                self.log_decision(format_args!(
                    "{} was {}, is {}",
                    reference.familiar(),
                    before.unwrap_or("not there"),
                    inspection.id_of(reference).unwrap_or("not there")
                ));
            }
        }
        if !plan.repull {
            for reference in plan.needed() {
                if inspection.id_of(&reference).is_none() {
                    let why = format!(
                        "the image {} is not on the host, and the update would take the stack down; nothing was sent",
                        reference.familiar()
                    );
                    return Err(RedeployResult::refused(why).into());
                }
            }
        }
        Ok(inspection)
    }

    /// Pulls one image with each of Portainer's registries that has credentials for it, until one succeeds.
    fn pull_one(
        &self,
        found: &FoundStack,
        reference: &Reference,
        platform: Option<&str>,
        registries: &[Registry],
    ) -> Result<(), PullError> {
        let matching = matching_registries(reference, registries, found.record.registries());
        let ids: Vec<Option<RegistryId>> = match matching.is_empty() {
            true => vec![None],
            false => matching.iter().map(|one| Some(one.id)).collect(),
        };
        let (mut first, mut tried) = (None, 0_usize);
        for id in ids {
            let within = self.left().min(limits::PULL);
            let environment = found.record.environment;
            let answer = self
                .cx
                .portainer
                .pull(environment, reference, platform, id, within);
            let error = match answer {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let other_credentials = error
                .pull_failure()
                .is_some_and(PullFailure::depends_on_credentials);
            if !other_credentials {
                return Err(PullError::plain(error));
            }
            tried += 1;
            first.get_or_insert(error);
        }
        let Some(error) = first else { return Ok(()) };
        let names = matching
            .iter()
            .take(tried)
            .map(|one| format!("{:?}", one.name));
        let names: Vec<String> = names.collect();
        Err(PullError {
            note: match names.is_empty() {
                true => String::new(),
                false => format!(
                    "; tried with Portainer's registries {}; with pull = \"portainer\" Portainer pulls by itself",
                    names.join(", ")
                ),
            },
            error,
        })
    }

    /// Refuses to update single Swarm services whose images need credentials: Portainer sends them only with an update of the
    /// whole stack, and without them the service would lose its digest and keep the old image.
    fn check_forced_services(
        &self,
        order: &Order,
        found: &FoundStack,
        plan: &Plan,
    ) -> Result<(), AttemptError> {
        for service in &plan.forced {
            let Ok(reference) = Reference::parse(service.reference()) else {
                continue;
            };
            let answer = self
                .cx
                .portainer
                .distribution(found.record.environment, &reference);
            let refused = answer.is_err_and(|error| {
                matches!(
                    error.pull_failure(),
                    Some(PullFailure::NotAllowed | PullFailure::Expired)
                )
            });
            if refused {
                return Err(RedeployResult::refused(format!(
                    "{}, but the image of {} needs credentials, which Portainer uses only when it updates the whole stack; nothing was sent (update the whole stack)",
                    plan::limit(self.stack, order).unwrap_or_default(),
                    service.name
                ))
                .into());
            }
        }
        Ok(())
    }

    /// The result of a redeploy that needs no update: everything is up to date, and the containers are healthy right now.
    pub(super) fn unchanged(
        &mut self,
        order: &Order,
        found: &FoundStack,
        inspection: &StackInspection,
        plan: &Plan,
    ) -> Result<Option<RedeployResult>, AttemptError> {
        // Portainer shows an empty list to a user without access.
        let Some(seen) = inspection
            .seen
            .as_ref()
            .ok()
            .filter(|seen| !seen.containers.is_empty())
        else {
            return Ok(None);
        };
        let stored = found.record.variables();
        let sets_nothing = order
            .set
            .iter()
            .all(|(name, value)| stored.get(name) == Some(value));
        let may_be = match plan.no_update {
            NoUpdate::Never => false,
            NoUpdate::UpToDate => plan.up_to_date(seen, inspection),
            NoUpdate::Deployed => true,
        };
        // Whatever the status: after a failed deployment, another submit would at best change nothing, and some releases take the stack
        // down first.
        let idle = may_be && sets_nothing && !order.force;
        if !idle {
            return Ok(None);
        }
        let failed_before = found.record.status == StackStatus::Error;
        let note = failed_before.then_some("Portainer's last deployment of this stack failed");
        if self.stack.healthy_within.is_zero() {
            let end = RedeployResult::new(
                Outcome::Unchanged,
                "nothing newer; its health was not checked (\"healthy_within\" is zero)",
            );
            self.notes.extend(note.map(str::to_owned));
            return Ok(Some(RedeployResult {
                services: seen.report(seen, &inspection.roles()),
                verified: Some(false),
                ..end
            }));
        }
        let criteria = Criteria {
            before: seen.clone(),
            expected: plan.expected(),
            roles: inspection.roles(),
            within: limits::SETTLE,
            ..Criteria::default()
        };
        let mut watch = ContainerWatch::new(criteria, self.cx.clock.now());
        let mut seen = seen.clone();
        loop {
            let now = self.cx.clock.now();
            match watch.recheck(now, &seen) {
                Some(verdict) if verdict.bad.is_empty() => {
                    self.notes.extend(note.map(str::to_owned));
                    return Ok(Some(nothing_newer(verdict)));
                }
                Some(_) => return Ok(None),
                None => {
                    self.step(Step::Verifying(Vec::new()));
                    self.cx.clock.sleep(limits::SETTLE);
                    seen = inspect::containers(
                        self.cx.portainer,
                        found.record.environment,
                        &found.record.project(),
                    )?;
                }
            }
        }
    }

    /// Adds the images that Portainer pulled: the references that moved are known only after the update.
    pub(super) fn add_portainers_pulls(&self, submission: &mut Submission) {
        if !submission.can_roll_back || !submission.expected.is_empty() {
            return;
        }
        let environment = submission.environment;
        let references: Vec<&Reference> = submission.images_before.keys().collect();
        let images = inspect::side_by_side(&references, |reference| {
            self.cx.portainer.image(environment, &reference.familiar())
        });
        for (reference, image) in references.into_iter().zip(images) {
            if let Ok(Some(image)) = image {
                submission.images.insert(reference.clone(), image.id);
            }
        }
    }

    /// The version of a Portainer that pulls only missing images.
    pub(super) fn missing_only_version(&self) -> Option<String> {
        let version = self.cx.portainer.version().ok()?;
        portainer::pulls_missing_only(&version).then_some(version)
    }

    /// Turns the success of an update into a failure where Portainer did not pull an image that it had to pull.
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
        let Ok(Snapshot::Compose(seen)) = self.snapshot_patiently(submission) else {
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

    /// The reason for which an image that Portainer did not pull is not known to be the newest.
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
                "it is not known whether {name} is the newest: {error}"
            )),
        }
    }
}

fn nothing_newer(verdict: Verdict) -> RedeployResult {
    let end = RedeployResult::new(
        Outcome::Unchanged,
        format!(
            "nothing newer, {}{}",
            verdict.wellness(),
            verdict.leftovers_note()
        ),
    );
    RedeployResult {
        services: verdict.services,
        verified: Some(true),
        ..end
    }
}

/// A pull that failed, and the credentials that were tried.
struct PullError {
    error: PortainerError,
    note: String,
}

impl PullError {
    fn plain(error: PortainerError) -> PullError {
        PullError {
            error,
            note: String::new(),
        }
    }

    /// Returns true if the registry does not have the image, or not for these credentials.
    fn is_refusal(&self) -> bool {
        matches!(
            self.error.pull_failure(),
            Some(PullFailure::NotAllowed | PullFailure::Expired | PullFailure::NotFound)
        )
    }
}

impl From<PullError> for AttemptError {
    fn from(failed: PullError) -> AttemptError {
        match failed.error {
            error if error.is_temporary() => error.into(),
            error => {
                RedeployResult::refused(format!("{error}{}; nothing was changed", failed.note))
                    .into()
            }
        }
    }
}

/// The registries that have credentials for a reference: those assigned to the stack first, then the longest address.
fn matching_registries<'r>(
    reference: &Reference,
    registries: &'r [Registry],
    own: &[RegistryId],
) -> Vec<&'r Registry> {
    let mut matching: Vec<&Registry> = registries
        .iter()
        .filter(|one| one.serves(reference))
        .collect();
    matching.sort_by_key(|one| (!own.contains(&one.id), Reverse(one.url.len())));
    matching
}

/// A failed pull that names the images which other pulls of the same redeploy fetched: they stay on the host.
fn also_arrived(failed: AttemptError, before: &Images, now: &Images) -> AttemptError {
    let moved = now
        .iter()
        .filter(|(reference, id)| id.is_some() && before.get(*reference) != Some(*id));
    let moved: Vec<String> = moved.map(|(reference, _)| reference.familiar()).collect();
    match failed {
        AttemptError::Over(end) if !moved.is_empty() => {
            let message = format!(
                "{}; these did arrive and are used by the next update: {}",
                end.message,
                moved.join(", ")
            );
            AttemptError::Over(RedeployResult { message, ..end })
        }
        failed => failed,
    }
}
