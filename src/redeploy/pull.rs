//! Step 4, done: images are pulled before the stack is touched, and `unchanged` is said only when it is true.

use std::cmp::Reverse;

use crate::health::Verdict;
use crate::health::compose::{Criteria, Watch};
use crate::image::Reference;
use crate::limits;
use crate::portainer::{PortainerError, PullFailure, Registry, RegistryId, StackStatus};
use crate::redeploy::find::Found;
use crate::redeploy::inspect::{self, Inspection};
use crate::redeploy::plan::{self, Idle, Plan};
use crate::redeploy::{AttemptError, Images, RedeployResult, Run, Step};
use crate::stack::order::Order;
use crate::stack::outcome::Outcome;

impl Run<'_> {
    /// Pulls what the plan says; returns what there is afterwards.
    pub(super) fn pull(
        &mut self,
        order: &Order,
        found: &Found,
        mut inspection: Inspection,
        plan: &Plan,
    ) -> Result<Inspection, AttemptError> {
        self.check_forced_services(order, found, plan)?;
        if !plan.pulls.is_empty() || plan.repull {
            self.cx.observer.pulling(&plan.images_before(&inspection))?;
        }
        if !plan.pulls.is_empty() {
            let environment = found.record.environment;
            self.step(Step::Pulling(
                plan.pulls.iter().map(Reference::familiar).collect(),
            ));
            // A user who may not see the registries pulls without credentials, and the registry's words then say what is missing.
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
            let seen_again = inspect::local_images(self.cx.portainer, environment, &mut inspection);
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
            seen_again?;
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
        found: &Found,
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
        found: &Found,
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

    /// Whether nothing needs to be sent: all is up to date, and what runs is well right now.
    pub(super) fn unchanged(
        &self,
        order: &Order,
        found: &Found,
        inspection: &Inspection,
        plan: &Plan,
    ) -> Result<Option<RedeployResult>, AttemptError> {
        // An empty list is no proof of anything (contract 7).
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
        let may_be = match plan.idle {
            Idle::Never => false,
            Idle::UpToDate => plan.up_to_date(seen, inspection),
            Idle::Deployed => true,
        };
        // After a failed deployment, another submit would at best change nothing, and some releases take the stack down first.
        let was_deployed = matches!(
            found.record.status,
            StackStatus::Active | StackStatus::Error
        );
        let idle = may_be && sets_nothing && !order.force && was_deployed;
        if !idle {
            return Ok(None);
        }
        if self.stack.healthy_within.is_zero() {
            let end = RedeployResult::new(
                Outcome::Unchanged,
                "nothing newer; its health was not looked at (\"healthy_within\" is zero)",
            );
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
        let mut watch = Watch::new(criteria, self.cx.clock.now());
        let mut seen = seen.clone();
        loop {
            let now = self.cx.clock.now();
            match watch.recheck(now, &seen) {
                Some(verdict) if verdict.bad.is_empty() => return Ok(Some(nothing_newer(verdict))),
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

    /// Whether the registry does not have the image, or not for us.
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

/// A failed pull, and what other pulls of the same redeploy brought: it stays.
fn also_arrived(halt: AttemptError, before: &Images, now: &Images) -> AttemptError {
    let moved = now
        .iter()
        .filter(|(reference, id)| id.is_some() && before.get(*reference) != Some(*id));
    let moved: Vec<String> = moved.map(|(reference, _)| reference.familiar()).collect();
    match halt {
        AttemptError::Over(end) if !moved.is_empty() => {
            let message = format!(
                "{}; what did arrive is used by the next update: {}",
                end.message,
                moved.join(", ")
            );
            AttemptError::Over(RedeployResult { message, ..end })
        }
        halt => halt,
    }
}
