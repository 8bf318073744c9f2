//! Step 4, done: images are pulled before the stack is touched, and `unchanged` is said only when it is true.

use crate::clock::rfc3339;
use crate::health::Verdict;
use crate::health::compose::Watch;
use crate::image::Reference;
use crate::limits;
use crate::portainer::{EnvironmentId, Error, Registry, RegistryId, Status};
use crate::redeploy::find::Found;
use crate::redeploy::look::{self, Looked};
use crate::redeploy::past::{Held, Past};
use crate::redeploy::plan::{Idle, Plan};
use crate::redeploy::{End, Halt, Images, Run, Step};
use crate::stack::order::Order;
use crate::stack::outcome::Outcome;

impl Run<'_> {
    /// Pulls what the plan says; returns what there is afterwards.
    pub(super) fn pull(
        &self,
        found: &Found,
        mut looked: Looked,
        plan: &Plan,
    ) -> Result<Looked, Halt> {
        if !plan.pulls.is_empty() || plan.repull {
            self.cx.observer.pulling(&plan.images_before(&looked))?;
        }
        if !plan.pulls.is_empty() {
            let environment = found.record.environment;
            self.step(Step::Pulling(
                plan.pulls.iter().map(Reference::familiar).collect(),
            ));
            // A user who may not see the registries pulls without credentials, and the registry's words then say what is missing.
            let registries = match self.cx.portainer.registries(environment) {
                Ok(registries) => registries,
                Err(error @ Error::Unreachable(_)) => return Err(error.into()),
                Err(_) => Vec::new(),
            };
            let pulls: Vec<&Reference> = plan.pulls.iter().collect();
            let results = look::side_by_side(&pulls, |reference| {
                self.pull_one(environment, reference, &registries)
            });
            let before = looked.images();
            let seen_again = look::local_images(self.cx.portainer, environment, &mut looked);
            for result in results {
                result.map_err(|halt| also_arrived(halt, &before, &looked.images()))?;
            }
            seen_again?;
        }
        if !plan.repull {
            for reference in plan.needed() {
                if looked.id_of(&reference).is_none() {
                    let why = format!(
                        "the image {} is not on the host, and the update would take the stack down; nothing was sent",
                        reference.familiar()
                    );
                    return Err(End::refused(why).into());
                }
            }
        }
        Ok(looked)
    }

    fn pull_one(
        &self,
        environment: EnvironmentId,
        reference: &Reference,
        registries: &[Registry],
    ) -> Result<(), Halt> {
        let within = self.left().min(limits::PULL);
        match self.cx.portainer.pull(
            environment,
            reference,
            registry_of(reference, registries),
            within,
        ) {
            Ok(_) => Ok(()),
            Err(error @ Error::Unreachable(_)) => Err(error.into()),
            Err(error) => Err(End::refused(format!("{error}; nothing was changed")).into()),
        }
    }

    /// An image that was rolled back stays out: its tag goes back to what runs, and nothing is sent.
    pub(super) fn refuse_held(
        &self,
        order: &Order,
        found: &Found,
        looked: &Looked,
        plan: &Plan,
    ) -> Result<(), Halt> {
        let past = self.cx.memory.recall(found.record.id);
        let Some((reference, held)) = held_in(&past, looked, plan).filter(|_| !order.force) else {
            return Ok(());
        };
        let mut message = format!(
            "the image of {} was rolled back at {} and stays out until a newer one is there; \"stackhook redeploy {} --force\" takes it all the same",
            reference.familiar(),
            rfc3339(held.unix),
            self.stack.key
        );
        if let Err(error) =
            self.cx
                .portainer
                .tag(found.record.environment, &held.back_to, reference)
        {
            message.push_str(&format!("; its tag could not be put back: {error}"));
        }
        Err(End::skipped(message).into())
    }

    /// Whether nothing needs to be sent: all is up to date, and what runs is well right now.
    pub(super) fn unchanged(
        &self,
        order: &Order,
        found: &Found,
        looked: &Looked,
        plan: &Plan,
    ) -> Result<Option<End>, Halt> {
        // An empty list is no proof of anything (contract 7).
        let Some(seen) = looked
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
            Idle::UpToDate => plan.up_to_date(seen, looked),
            Idle::Deployed => true,
        };
        let idle = may_be && sets_nothing && !order.force && found.record.status == Status::Active;
        if !idle {
            return Ok(None);
        }
        if self.stack.healthy_within.is_zero() {
            let end = End::new(
                Outcome::Unchanged,
                "nothing newer; its health was not looked at (\"healthy_within\" is zero)",
            );
            return Ok(Some(End {
                services: seen.report(seen),
                verified: Some(false),
                ..end
            }));
        }
        let mut watch = Watch::new(
            seen.clone(),
            plan.expected(),
            Default::default(),
            limits::SETTLE,
            self.cx.clock.now(),
        );
        let mut seen = seen.clone();
        loop {
            let now = self.cx.clock.now();
            match watch.holds(now, &seen) {
                Some(verdict) if verdict.bad.is_empty() => return Ok(Some(nothing_newer(verdict))),
                Some(_) => return Ok(None),
                None => {
                    self.step(Step::Verifying(Vec::new()));
                    self.cx.clock.sleep(limits::SETTLE);
                    seen = look::containers(
                        self.cx.portainer,
                        found.record.environment,
                        &found.record.name,
                    )?;
                }
            }
        }
    }
}

fn nothing_newer(verdict: Verdict) -> End {
    let end = End::new(
        Outcome::Unchanged,
        format!("nothing newer, {}", verdict.wellness()),
    );
    End {
        services: verdict.services,
        verified: Some(true),
        ..end
    }
}

/// The registry whose stored credentials fit a reference: the one with the longest matching address.
fn registry_of(reference: &Reference, registries: &[Registry]) -> Option<RegistryId> {
    let name = reference.repository();
    let fits = |registry: &&Registry| {
        let url = registry
            .url
            .trim_start_matches("https://")
            .trim_start_matches("http://")
            .trim_end_matches('/');
        registry.authentication
            && name
                .strip_prefix(url)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    registries
        .iter()
        .filter(fits)
        .max_by_key(|registry| registry.url.len())
        .map(|registry| registry.id)
}

/// A failed pull, and what other pulls of the same redeploy brought: it stays.
fn also_arrived(halt: Halt, before: &Images, now: &Images) -> Halt {
    let moved = now
        .iter()
        .filter(|(reference, id)| id.is_some() && before.get(*reference) != Some(*id));
    let moved: Vec<String> = moved.map(|(reference, _)| reference.familiar()).collect();
    match halt {
        Halt::Over(end) if !moved.is_empty() => {
            let message = format!(
                "{}; what did arrive is used by the next update: {}",
                end.message,
                moved.join(", ")
            );
            Halt::Over(End { message, ..end })
        }
        halt => halt,
    }
}

/// A selected reference that stands for a held image now, unless that runs already.
fn held_in<'a>(
    past: &'a Past,
    looked: &Looked,
    plan: &'a Plan,
) -> Option<(&'a Reference, &'a Held)> {
    let seen = looked.seen.as_ref().ok()?;
    let runs = |held: &Held| seen.containers.iter().any(|one| one.image_id == held.id);
    let selected = plan.selected.iter().flat_map(|(_, wanted)| wanted);
    let mut held = selected.filter_map(|reference| Some((reference, past.held.get(reference)?)));
    held.find(|(reference, held)| looked.id_of(reference) == Some(held.id.as_str()) && !runs(held))
}
