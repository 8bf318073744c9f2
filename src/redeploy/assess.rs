//! The assessment of a stack: its state, and how it would be redeployed. It is made by the steps of a redeploy that only read, so it
//! cannot differ from what a redeploy does. The dry run, `test-connection` and the settings page format it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::calendar::parse_rfc3339;
use crate::compose::ImageSource;
use crate::health::swarm;
use crate::image::Reference;
use crate::portainer::{ImageOrigin, Kind, Origin, SourceAccess, StackId};
use crate::redeploy::find::{self, FoundStack};
use crate::redeploy::inspect::{self, StackInspection, reference_of, side_by_side};
use crate::redeploy::plan::{self, Plan};
use crate::redeploy::record::StackRecord;
use crate::redeploy::{AttemptError, Run};
use crate::stack::order::Order;
use crate::stack::outcome::{ServiceReport, StackReport};
use crate::stack::{PullMode, RollBack, Stack};

/// The questions that an assessment may ask the engine and its registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// None: the page is refreshed often.
    Containers,
    /// The engine's version, and the origin of images that the engine does not record.
    Origins,
    /// Also whether the registries have newer images.
    Registries,
}

/// A stack as it is at this moment, and how it would be redeployed. All texts are redacted.
#[derive(Debug, Clone)]
pub(crate) struct Assessment {
    /// Portainer's id of the stack.
    pub(crate) id: StackId,
    /// The name of its environment, if this user may see it.
    pub(crate) environment: Option<String>,
    /// Its services, or the reason for which they cannot be seen.
    pub(crate) services: Result<Vec<RunningService>, String>,
    /// The manner of its redeploy, a sentence each; or the report with which a redeploy would end before anything is done.
    pub(crate) ready: Result<Vec<String>, StackReport>,
    /// Facts that may turn out to be a mistake, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// The steps that a redeploy would take, a sentence each; empty unless the registries were asked.
    pub(crate) steps: Vec<String>,
    /// Set if a person can roll it back now.
    pub(crate) can_roll_back: bool,
    /// The images that a rollback would restore.
    pub(crate) previous: Vec<(Reference, String)>,
    /// The names of the variables that a rollback would set back.
    pub(crate) previous_variables: Vec<String>,
}

/// A service of a stack as it runs.
#[derive(Debug, Clone)]
pub(crate) struct RunningService {
    /// As in a reply; its fields about changes mean nothing here.
    pub(crate) service: ServiceReport,
    /// The start of its newest container (Unix seconds), if known.
    pub(crate) since: Option<u64>,
    /// The build time of its image (Unix seconds), if known.
    pub(crate) built: Option<u64>,
}

/// A registry's image compared with the one on the host.
enum Newer {
    Yes,
    No,
    CannotTell,
}

impl Run<'_> {
    /// Finds, inspects and plans; sends nothing but GETs.
    pub(super) fn assess(mut self, order: &Order, depth: Depth) -> Result<Assessment, StackReport> {
        self.try_assess(order, depth)
            .map_err(|error| self.report(Err(error.into_result())))
    }

    fn try_assess(&mut self, order: &Order, depth: Depth) -> Result<Assessment, AttemptError> {
        let found = find::find(self.cx.portainer, self.stack)?;
        self.update_redactor(&found, None);
        // Portainer lists a stack also for a user who may not manage stacks, and refuses the stack itself.
        self.cx.portainer.stack(found.record.id)?;
        let mut inspection = inspect::inspect(self.cx.portainer, &found, order)?;
        self.update_redactor(&found, Some(&inspection));
        let (kind, environment) = (found.record.kind, found.record.environment);
        let mut engine = None;
        if depth >= Depth::Origins {
            inspect::ask_origins(self.cx.portainer, environment, &mut inspection)?;
            engine = match self.cx.portainer.engine(environment) {
                Ok(engine) => Some(engine.to_string()),
                Err(error) if error.is_temporary() => return Err(error.into()),
                Err(_) => None,
            };
        }
        let (mut ready, mut warnings, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        let mut refused = None;
        match plan::plan(self.stack, order, &found, &inspection, || {
            self.takes_failed_stack_down()
        }) {
            Ok(plan) => {
                ready = facts(self.stack, &found, engine.as_deref(), &inspection, &plan);
                warnings = self.warnings(&found, &inspection, &plan);
                if depth == Depth::Registries {
                    steps = self.steps(order, &found, engine, &inspection, &plan)?;
                }
            }
            Err(end) => refused = Some(self.report(Err(end))),
        }
        let show = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|line| self.redactor.show(line)).collect()
        };
        // A dry run does not need the state directory.
        let record = match depth {
            Depth::Containers => self.cx.memory.recall(found.record.id),
            Depth::Origins | Depth::Registries => StackRecord::default(),
        };
        let is_remembered = !(record.previous.is_empty() && record.previous_variables.is_empty());
        Ok(Assessment {
            id: found.record.id,
            environment: found.environment.clone(),
            services: services(&inspection, kind, self.cx.clock.now())
                .map_err(|why| self.redactor.show(&why)),
            ready: refused.map_or_else(|| Ok(show(ready)), Err),
            warnings: show(warnings),
            steps: show(steps),
            can_roll_back: is_remembered && found.can_roll_back(),
            previous: record.previous.into_iter().collect(),
            previous_variables: record.previous_variables.into_keys().collect(),
        })
    }

    fn warnings(
        &self,
        found: &FoundStack,
        inspection: &StackInspection,
        plan: &Plan,
    ) -> Vec<String> {
        let mut warnings: Vec<String> = plan.notes.iter().map(|note| in_future(note)).collect();
        match (found.record.kind, &inspection.seen, &inspection.services) {
            (Kind::Compose, Err(why), _) | (Kind::Swarm, _, Err(why)) => {
                warnings.push(format!("its containers cannot be seen: {why}"));
            }
            _ => {}
        }
        warnings.extend(local_images_pulled_by_portainer(inspection, plan));
        if let Ok(wanted) = &inspection.wanted {
            for name in &wanted.unset {
                warnings.push(format!(
                    "its file uses the variable {name}, which has neither value nor default"
                ));
            }
            for name in &self.stack.env {
                if !wanted.variables.contains(name) {
                    warnings.push(format!(
                        "a delivery may set the variable {name}, which its file does not use"
                    ));
                }
            }
        }
        if found.record.name != self.stack.name {
            warnings.push(format!("Portainer calls it {:?}", found.record.name));
        }
        let is_empty = match found.record.kind {
            Kind::Swarm => matches!(&inspection.services, Ok(seen) if seen.services.is_empty()),
            _ => matches!(&inspection.seen, Ok(seen) if seen.containers.is_empty()),
        };
        let is_shared = found.record.source == SourceAccess::Visible;
        let administrator = (is_empty || is_shared) && self.is_administrator();
        if is_empty {
            warnings.push(match administrator {
                true => "it has no container, so an update would start it".to_owned(),
                false => "Portainer shows this user no container of it, so an update can be neither verified nor rolled back; share the stack with this user in Portainer, or use an administrator's API key".to_owned(),
            });
        }
        if is_shared && !administrator {
            warnings.push("Portainer redeploys a git stack only for an administrator or the owner of its git Source; this user sees the Source, but whether it owns it cannot be seen".to_owned());
        }
        warnings
    }

    /// The steps of a redeploy, a sentence each.
    fn steps(
        &self,
        order: &Order,
        found: &FoundStack,
        engine: Option<String>,
        inspection: &StackInspection,
        plan: &Plan,
    ) -> Result<Vec<String>, AttemptError> {
        let environment = found.environment.as_deref().unwrap_or("unknown");
        let mut steps = vec![format!(
            "the stack {:?} on the environment {environment:?}",
            found.record.name
        )];
        steps.extend(engine.map(|engine| format!("runs on {engine}")));
        let (newer, mut certain) = self.pull_steps(found, inspection, plan, &mut steps)?;
        certain &= inspection.seen.is_ok() && !plan.repull;
        let before = steps.len();
        steps.extend(restart_steps(inspection, plan, &newer));
        if certain && steps.len() == before {
            steps.push("would restart nothing".to_owned());
        }
        let stored = found.record.variables();
        for name in order.set.keys() {
            let verb = match stored.contains_key(name) {
                true => "change",
                false => "add",
            };
            steps.push(format!("would {verb} the variable {name}"));
        }
        let kept = stored.keys().filter(|name| !order.set.contains_key(*name));
        steps.push(match kept.count() {
            1 => "keeps 1 variable".to_owned(),
            kept => format!("keeps {kept} variables"),
        });
        Ok(steps)
    }

    /// Adds the pulls; returns the references with a newer image, and whether that is certain.
    fn pull_steps(
        &self,
        found: &FoundStack,
        inspection: &StackInspection,
        plan: &Plan,
        steps: &mut Vec<String>,
    ) -> Result<(Vec<Reference>, bool), AttemptError> {
        if plan.repull {
            let why = plan.notes.first().map_or_else(String::new, |why| {
                format!(" ({})", why.replacen("pulled", "would pull", 1))
            });
            steps.push(format!(
                "Portainer would pull the images itself{why}, and may restart every service"
            ));
        }
        let pulls: Vec<&Reference> = plan.pulls.iter().collect();
        let answers = side_by_side(&pulls, |reference| self.newer(found, inspection, reference));
        let (mut newer, mut certain) = (Vec::new(), true);
        for (reference, answer) in pulls.into_iter().zip(answers) {
            let name = reference.familiar();
            steps.push(match answer? {
                Newer::Yes => {
                    newer.push(reference.clone());
                    format!("would pull {name}: the registry has a newer image")
                }
                Newer::No => format!("would pull {name}: nothing newer"),
                Newer::CannotTell => {
                    certain = false;
                    format!("would pull {name}: cannot tell without pulling whether it is newer")
                }
            });
        }
        Ok((newer, certain))
    }

    fn newer(
        &self,
        found: &FoundStack,
        inspection: &StackInspection,
        reference: &Reference,
    ) -> Result<Newer, AttemptError> {
        let Some(local) = inspection.local.get(reference).and_then(Option::as_ref) else {
            return Ok(Newer::Yes);
        };
        let environment = found.record.environment;
        match self.cx.portainer.distribution(environment, reference) {
            Ok(Some(digest)) => {
                let mut digests = local.repo_digests.iter();
                Ok(match digests.any(|one| one.ends_with(&digest)) {
                    true => Newer::No,
                    false => Newer::Yes,
                })
            }
            Err(error) if error.is_temporary() => Err(error.into()),
            Ok(None) | Err(_) => Ok(Newer::CannotTell),
        }
    }
}

fn facts(
    stack: &Stack,
    found: &FoundStack,
    engine: Option<&str>,
    inspection: &StackInspection,
    plan: &Plan,
) -> Vec<String> {
    let environment = found.environment.as_deref().unwrap_or("unknown");
    let mut facts = vec![format!(
        "found with id {} on the environment {environment}",
        found.record.id
    )];
    facts.extend(engine.map(|engine| format!("runs on {engine}")));
    facts.push(match (found.record.origin(), found.record.kind) {
        (Origin::Git { reference, .. }, _) => format!(
            "would be redeployed from Git ({reference}): Portainer pulls repository and images, and recreates every container"
        ),
        (Origin::File, Kind::Compose) if !plan.repull => {
            let pulls = match (stack.pull, plan.pulls.len()) {
                (PullMode::Never, _) => "without pulling anything".to_owned(),
                (_, 1) => "after pulling 1 image".to_owned(),
                (_, count) => format!("after pulling {count} images"),
            };
            format!("would be redeployed by its file, {pulls}; only what is newer is recreated")
        }
        (Origin::File, Kind::Compose) => {
            "would be redeployed by its file; Portainer pulls the images".to_owned()
        }
        (Origin::File, _) => {
            "would be redeployed as a Swarm stack; Portainer pulls the images".to_owned()
        }
    });
    if let Ok(seen) = &inspection.seen {
        let count = seen.containers.len();
        facts.push(format!("its containers can be seen ({count})"));
    }
    facts.push(match found.record.env.len() {
        0 => "it has no variables in Portainer".to_owned(),
        1 => "its 1 variable in Portainer is kept".to_owned(),
        count => format!("its {count} variables in Portainer are kept"),
    });
    if stack.rollback != RollBack::Never && !found.can_roll_back() {
        let why = match found.record.kind {
            Kind::Swarm => "Swarm itself does that where the file asks for it",
            _ => "the commit in Git decides which images run",
        };
        facts.push(format!("a failed update is not rolled back: {why}"));
    }
    facts
}

/// A note for a reply, about an update that has not been made yet.
fn in_future(note: &str) -> String {
    const TENSES: [(&str, &str); 4] = [
        ("Portainer pulled", "Portainer would pull"),
        ("so it was not pulled", "so it is not pulled"),
        ("so it was pulled", "so it would be pulled"),
        ("redeployed without", "would be redeployed without"),
    ];
    let found = TENSES.iter().find(|(past, _)| note.contains(past));
    found.map_or_else(
        || note.to_owned(),
        |(past, future)| note.replacen(past, future, 1),
    )
}

/// Images that were made on the host and that Portainer would pull: that fails, or fetches the image of another owner of the name.
fn local_images_pulled_by_portainer(inspection: &StackInspection, plan: &Plan) -> Vec<String> {
    let Some(file) = inspection.wanted.as_ref().ok().filter(|_| plan.repull) else {
        return Vec::new();
    };
    let services = file.services.iter();
    let local = services.filter_map(|(service, wants)| {
        let reference = wants.image.as_ref()?;
        let image = inspection.local.get(reference)?.as_ref()?;
        let is_local = wants.source == ImageSource::Registry
            && reference.digest().is_none()
            && inspection.origin(reference, image) == ImageOrigin::Local;
        is_local.then(|| {
            format!(
                "{service}: {} was made on the host, and Portainer would try to pull it: that fails, or fetches an image of that name from a registry; set \"pull_policy: never\" in the file",
                reference.familiar()
            )
        })
    });
    local.collect()
}

fn restart_steps(inspection: &StackInspection, plan: &Plan, newer: &[Reference]) -> Vec<String> {
    let Ok(seen) = &inspection.seen else {
        return Vec::new();
    };
    let selected = plan.selected.iter();
    let step = |(service, wanted): &(String, Option<Reference>)| {
        let (containers, wanted) = (seen.containers_of(service), wanted.as_ref()?);
        let is_stale = || {
            containers.iter().any(|container| {
                reference_of(container).as_ref() != Some(wanted)
                    || inspection.id_of(wanted) != Some(&container.image_id)
            })
        };
        if containers.is_empty() {
            Some(format!("would start {service}, which has no container"))
        } else if newer.contains(wanted) || is_stale() {
            Some(format!(
                "would restart {service} with {}, and the services that depend on it",
                wanted.familiar()
            ))
        } else {
            None
        }
    };
    selected.filter_map(step).collect()
}

/// The beginning of 1990 (Unix seconds).
const YEAR_1990: u64 = 631_152_000;

fn services(
    inspection: &StackInspection,
    kind: Kind,
    now: Instant,
) -> Result<Vec<RunningService>, String> {
    // Both snapshots are compared with themselves, so that nothing counts as changed.
    if kind == Kind::Swarm {
        let seen = inspection.services.as_ref().map_err(Clone::clone)?;
        let mut watch =
            swarm::ServiceWatch::new(seen.clone(), BTreeSet::new(), Duration::ZERO, now);
        let services = watch.evaluate(now, seen).services.into_iter();
        let running = |service| RunningService {
            service,
            since: None,
            built: None,
        };
        return Ok(services.map(running).collect());
    }
    let seen = inspection.seen.as_ref().map_err(Clone::clone)?;
    let since = |service: &str| {
        let containers = seen.containers_of(service).into_iter();
        containers
            .filter_map(|container| container.running_since())
            .max()
    };
    let built = |service: &ServiceReport| {
        let mut images = inspection.local.values().flatten();
        let image = images.find(|image| Some(&image.id) == service.image_id.as_ref())?;
        // Reproducible builds write an arbitrary date of long ago.
        parse_rfc3339(&image.created).filter(|unix| *unix > YEAR_1990)
    };
    let services = seen.report(seen, &inspection.roles()).into_iter();
    let running = |service: ServiceReport| RunningService {
        since: since(&service.service),
        built: built(&service),
        service,
    };
    Ok(services.map(running).collect())
}
