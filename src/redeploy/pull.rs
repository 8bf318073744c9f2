//! Step 4, done: images are pulled before the stack is touched, and `unchanged` is said only when it is true.

use std::collections::BTreeMap;

use crate::health::compose::{Verdict, Watch};
use crate::image::Reference;
use crate::limits;
use crate::portainer::{EnvironmentId, Error, Registry, RegistryId, Status};
use crate::redeploy::find::Found;
use crate::redeploy::look::{self, Looked};
use crate::redeploy::plan::Plan;
use crate::redeploy::{End, Halt, Run, Step};
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
        let before = looked.local.iter().map(|(reference, image)| {
            (
                reference.clone(),
                image.as_ref().map(|image| image.id.clone()),
            )
        });
        let before: BTreeMap<Reference, Option<String>> = before.collect();
        if !plan.pulls.is_empty() || plan.repull {
            self.cx.observer.pulling(&before)?;
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
            let arrived = results.iter().filter(|result| result.is_ok()).count();
            for result in results {
                result.map_err(|halt| match halt {
                    Halt::Over(end) if arrived > 0 => Halt::Over(End {
                        message: format!(
                            "{} ({arrived} other images arrived and are used by the next update)",
                            end.message
                        ),
                        ..end
                    }),
                    halt => halt,
                })?;
            }
            look::local_images(self.cx.portainer, environment, &mut looked)?;
        }
        if !plan.repull {
            for reference in plan.needed() {
                if looked.id_of(reference).is_none() {
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

    /// Whether nothing needs to be sent: all is up to date, and what runs is well right now.
    pub(super) fn unchanged(
        &self,
        order: &Order,
        found: &Found,
        looked: &Looked,
        plan: &Plan,
    ) -> Result<Option<End>, Halt> {
        let Ok(seen) = &looked.seen else {
            return Ok(None);
        };
        let stored = found.record.variables();
        let sets_nothing = order
            .set
            .iter()
            .all(|(name, value)| stored.get(name) == Some(value));
        let idle =
            plan.certain && sets_nothing && !order.force && found.record.status == Status::Active;
        if !idle || !plan.up_to_date(seen, looked) {
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
