//! Inspects a stack: its file, its containers or services, and the images on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::compose::{self, ComposeSpec, ImageSource, ServiceSpec};
use crate::health::snapshot::waits_for_completion;
use crate::health::{Container, ContainerSnapshot, Roles, ServiceSnapshot, Snapshot, snapshot};
use crate::image::Reference;
use crate::portainer::{
    self, Containers, EnvironmentId, ImageOrigin, Inspected, Kind, Listed, LocalImage, Mode,
    Origin, Portainer, PortainerError, PullFailure, StackStatus,
};
use crate::redeploy::find::{self, FoundStack};
use crate::redeploy::{AttemptError, Images, Submission, UnderWay};
use crate::stack::order::Order;
use crate::stack::outcome::ServiceState;

/// GETs that run side by side.
pub(super) const SIDE_BY_SIDE: usize = 8;

/// The file, the containers or services, and the images of a stack.
#[derive(Debug)]
pub(super) struct StackInspection {
    /// The file's contents with the variables of the order, or the reason for which they are not certain.
    pub(super) wanted: Result<ComposeSpec, String>,
    /// The reason for which compose is certain to refuse the file.
    pub(super) refused: Option<String>,
    /// The containers, or the reason for which they cannot be seen.
    pub(super) seen: Result<ContainerSnapshot, String>,
    /// The services of a Swarm stack, or the reason for which they cannot be seen.
    pub(super) services: Result<ServiceSnapshot, String>,
    /// The image on the host for each reference of the file or of a container.
    pub(super) local: BTreeMap<Reference, Option<LocalImage>>,
    /// Origins that the engine does not record, if a registry was asked.
    pub(super) asked_origins: BTreeMap<Reference, ImageOrigin>,
}

impl StackInspection {
    /// The id that each reference has on the host.
    pub(super) fn images(&self) -> Images {
        let id = |image: &Option<LocalImage>| image.as_ref().map(|image| image.id.clone());
        let local = self.local.iter();
        local
            .map(|(reference, image)| (reference.clone(), id(image)))
            .collect()
    }

    /// The role of every service of the file; empty where the file is not certain.
    pub(super) fn roles(&self) -> Roles {
        let services = self.wanted.iter().flat_map(|wanted| &wanted.services);
        Roles(
            services
                .map(|(name, wants)| (name.clone(), wants.role))
                .collect(),
        )
    }

    /// Returns an error while another deployment replaces containers of this stack, which compose marks. A Portainer that died leaves the
    /// same traces; `ignored` are traces that have not changed for a while. A deployment whose failure Portainer has recorded is over.
    pub(super) fn check_not_under_way(
        &self,
        found: &FoundStack,
        ignored: Option<&str>,
    ) -> Result<(), AttemptError> {
        let Ok(seen) = &self.seen else { return Ok(()) };
        if !seen.is_half_replaced() || found.record.status == StackStatus::Error {
            return Ok(());
        }
        let states = seen.containers.iter();
        let states: Vec<String> = states
            .map(|one| format!("{} {}", one.id, one.state))
            .collect();
        let traces = format!("{} {}", found.record.update_date, states.join(" "));
        match ignored == Some(&traces) {
            true => Ok(()),
            false => Err(AttemptError::Busy(UnderWay::Traces(traces))),
        }
    }

    /// The references that containers or tasks were made from.
    pub(super) fn running(&self) -> Vec<String> {
        let containers = self.seen.iter().flat_map(|seen| &seen.containers);
        let services = self.services.iter().flat_map(|seen| &seen.services);
        containers
            .map(|one| one.reference.clone())
            .chain(services.map(|one| one.reference().to_owned()))
            .collect()
    }

    /// The id that a reference has on the host.
    pub(super) fn id_of(&self, reference: &Reference) -> Option<&str> {
        self.local
            .get(reference)?
            .as_ref()
            .map(|image| image.id.as_str())
    }

    /// The platform that the file states for an image.
    pub(super) fn platform(&self, reference: &Reference) -> Option<&str> {
        let services = self.wanted.iter().flat_map(|file| file.services.values());
        let mut of_image = services.filter(|wants| wants.image.as_ref() == Some(reference));
        of_image.find_map(|wants| wants.platform.as_deref())
    }

    /// Returns true if neither the engine nor the registry knows where the image came from.
    pub(super) fn origin_is_unknown(&self, reference: &Reference) -> bool {
        self.asked_origins.get(reference) == Some(&ImageOrigin::Unknown)
    }

    /// The origin of an image that is on the host.
    pub(super) fn origin(&self, reference: &Reference, image: &LocalImage) -> ImageOrigin {
        match image.origin(reference) {
            ImageOrigin::Unknown => self
                .asked_origins
                .get(reference)
                .copied()
                .unwrap_or(ImageOrigin::Unknown),
            known => known,
        }
    }
}

/// Asks the registry about images whose origin the engine does not record, as Docker with the containerd image store does
/// before API 1.53: an image that the registry does not have was made on the host. [`ImageOrigin::Unknown`] stays where
/// the registry does not answer without credentials and Portainer has some.
pub(super) fn ask_origins(
    portainer: &Portainer,
    environment: EnvironmentId,
    inspection: &mut StackInspection,
) -> Result<(), PortainerError> {
    let wanted = inspection
        .wanted
        .iter()
        .flat_map(|file| file.services.values());
    let unknown: BTreeSet<Reference> = wanted
        .filter(|wants| wants.source != ImageSource::Host)
        .filter_map(|wants| wants.image.clone())
        .filter(|reference| {
            let image = inspection.local.get(reference).and_then(Option::as_ref);
            reference.digest().is_none()
                && image.is_some_and(|image| image.origin(reference) == ImageOrigin::Unknown)
        })
        .collect();
    let unknown: Vec<Reference> = unknown.into_iter().collect();
    let answers = side_by_side(&unknown, |reference| {
        portainer.distribution(environment, reference)
    });
    let mut registries = None;
    for (reference, answer) in unknown.into_iter().zip(answers) {
        let origin = match answer {
            Ok(Some(_)) => ImageOrigin::Pulled,
            Ok(None) => ImageOrigin::Local,
            Err(error) if error.is_temporary() => return Err(error),
            Err(error) => match error.pull_failure() {
                Some(PullFailure::NotFound) => ImageOrigin::Local,
                Some(PullFailure::NotAllowed | PullFailure::Expired) => {
                    let registries = registries.get_or_insert_with(|| {
                        portainer.registries(environment).unwrap_or_default()
                    });
                    match registries.iter().any(|one| one.serves(&reference)) {
                        true => ImageOrigin::Unknown,
                        false => ImageOrigin::Local,
                    }
                }
                // The pull itself reports that the registry does not answer.
                _ => ImageOrigin::Pulled,
            },
        };
        inspection.asked_origins.insert(reference, origin);
    }
    Ok(())
}

/// Inspects a stack. Only an unreachable Portainer is an error; anything else that cannot be seen is part of the result.
pub(super) fn inspect(
    portainer: &Portainer,
    found: &FoundStack,
    order: &Order,
) -> Result<StackInspection, AttemptError> {
    let (mut refused, is_git) = (None, found.record.origin() != Origin::File);
    let wanted = match found.record.has_more_files {
        _ if found.unreadable.is_some() => Err(found.unreadable.clone().unwrap_or_default()),
        true => Err(
            "the stack consists of several files, and Portainer shows only the first".to_owned(),
        ),
        false => {
            let variables = find::compose_variables(&found.record, &order.set);
            let read = compose::read(&found.file, &variables);
            refused = read
                .as_ref()
                .err()
                // The next commit of a git stack may have fixed its file.
                .filter(|why| why.is_refused_by_compose() && !is_git)
                .map(ToString::to_string);
            read.map_err(|why| why.to_string())
        }
    };
    let (environment, project) = (found.record.environment, found.record.project());
    let mut inspection = StackInspection {
        wanted,
        refused,
        seen: Err("this is not a compose stack".to_owned()),
        services: Err("this is not a Swarm stack".to_owned()),
        local: BTreeMap::new(),
        asked_origins: BTreeMap::new(),
    };
    match found.record.kind {
        Kind::Compose => {
            inspection.seen = reachable(containers(portainer, environment, &project))?;
            if let Some(why) = unshown_variables(&inspection, is_git) {
                inspection.wanted = Err(why);
            }
            if let Err(why) = reachable(local_images(portainer, environment, &mut inspection))? {
                inspection.wanted = Err(why);
            }
        }
        Kind::Swarm => inspection.services = reachable(services(portainer, environment, &project))?,
        Kind::Kubernetes | Kind::Other(_) => {}
    }
    Ok(inspection)
}

/// The problem of a service whose image depends on a variable without a value, if a source that Portainer does not show may set it: the
/// `.env` file of a git repository, or any source if a container runs another reference.
fn unshown_variables(inspection: &StackInspection, is_git: bool) -> Option<String> {
    let (Ok(file), Ok(seen)) = (&inspection.wanted, &inspection.seen) else {
        return None;
    };
    let assumed = file.services.iter().filter(|(_, spec)| spec.assumes_unset);
    let doubtful = |(name, spec): &(&String, &ServiceSpec)| {
        let runs_another = seen
            .containers_of(name)
            .into_iter()
            .any(|container| reference_of(container) != spec.image);
        is_git || runs_another
    };
    let (name, _) = assumed.into_iter().find(doubtful)?;
    Some(format!(
        "service {name:?} uses the default of a variable, which a source that Portainer does not show may set (such as an .env file in the repository)"
    ))
}

/// All containers of a compose stack, each inspected.
pub(super) fn containers(
    portainer: &Portainer,
    environment: EnvironmentId,
    project: &str,
) -> Result<ContainerSnapshot, PortainerError> {
    let listed = portainer.containers(environment, project)?;
    inspect_listed(portainer, environment, &listed, Vec::new())
}

/// The stack's own containers of a list, each inspected unless it is `known`.
fn inspect_listed(
    portainer: &Portainer,
    environment: EnvironmentId,
    listed: &Containers,
    known: Vec<Container>,
) -> Result<ContainerSnapshot, PortainerError> {
    let is_new = |one: &&Listed| !known.iter().any(|known| known.id == one.id);
    let new: Vec<&Listed> = own_containers(listed).into_iter().filter(is_new).collect();
    let inspected = side_by_side(&new, |one| portainer.inspect(environment, &one.id));
    let mut seen = ContainerSnapshot {
        containers: known,
        date: listed.date,
    };
    for (one, inspected) in new.iter().zip(inspected) {
        // It may have gone since the list was made.
        seen.containers
            .extend(inspected?.map(|inspected| container(one, inspected)));
    }
    seen.containers
        .sort_unstable_by(|one, other| (&one.service, &one.id).cmp(&(&other.service, &other.id)));
    Ok(seen)
}

/// The containers of a list that belong to the stack. Compose ignores one-off containers and those without its labels, such as a
/// container of `docker run --label`. A container of another compose file with the same project name is not the stack's either, if its
/// service has one of Portainer's.
pub(super) fn own_containers(listed: &Containers) -> Vec<&Listed> {
    let of_compose = listed.list.iter().filter(|one| one.labels.is_of_compose());
    let from_portainer: BTreeSet<&str> = of_compose
        .clone()
        .filter(|one| one.labels.is_from_portainer())
        .map(|one| one.labels.service.as_str())
        .collect();
    let is_own = |one: &&Listed| {
        one.labels.is_from_portainer() || !from_portainer.contains(one.labels.service.as_str())
    };
    of_compose.filter(is_own).collect()
}

/// All services of a Swarm stack, each with its tasks.
fn services(
    portainer: &Portainer,
    environment: EnvironmentId,
    stack: &str,
) -> Result<ServiceSnapshot, PortainerError> {
    let services = portainer.services(environment, stack)?;
    let tasks = side_by_side(&services, |service| {
        portainer.tasks(environment, &service.id)
    });
    let mut seen = ServiceSnapshot::default();
    for (service, tasks) in services.into_iter().zip(tasks) {
        seen.services.push(self::service(stack, service, tasks?));
    }
    Ok(seen)
}

/// A snapshot of the same kind as before an update.
pub(super) fn take_snapshot(
    portainer: &Portainer,
    submission: &Submission,
) -> Result<Snapshot, PortainerError> {
    let (environment, project) = (submission.environment, submission.project.as_str());
    match submission.before {
        Some(Snapshot::Swarm(_)) => services(portainer, environment, project).map(Snapshot::Swarm),
        Some(Snapshot::Compose(_)) | None => {
            containers(portainer, environment, project).map(Snapshot::Compose)
        }
    }
}

/// Inspects the image on the host for every reference of the file or of a container.
pub(super) fn local_images(
    portainer: &Portainer,
    environment: EnvironmentId,
    inspection: &mut StackInspection,
) -> Result<(), PortainerError> {
    let mut references = BTreeSet::new();
    if let Ok(wanted) = &inspection.wanted {
        references.extend(
            wanted
                .services
                .values()
                .filter_map(|service| service.image.clone()),
        );
    }
    if let Ok(seen) = &inspection.seen {
        references.extend(seen.containers.iter().filter_map(reference_of));
    }
    let references: Vec<Reference> = references.into_iter().collect();
    let images = side_by_side(&references, |reference| {
        portainer.image(environment, &reference.familiar())
    });
    for (reference, image) in references.into_iter().zip(images) {
        inspection.local.insert(reference, image?);
    }
    Ok(())
}

/// Returns an error if the containers are not those that were inspected: another deployment has replaced them meanwhile.
pub(super) fn check_same_containers(
    seen: &ContainerSnapshot,
    listed: &Containers,
) -> Result<(), AttemptError> {
    let now = own_containers(listed).into_iter();
    let now: BTreeSet<&str> = now.map(|one| one.id.as_str()).collect();
    let before: BTreeSet<&str> = seen.containers.iter().map(|one| one.id.as_str()).collect();
    match now == before {
        true => Ok(()),
        false => Err(AttemptError::Busy(UnderWay::Traces(
            now.into_iter().collect::<Vec<_>>().join(" "),
        ))),
    }
}

/// The reference that a container was made from; `None` for a bare id.
pub(super) fn reference_of(container: &Container) -> Option<Reference> {
    Reference::parse(&container.reference)
        .ok()
        .map(Reference::with_default_tag)
}

/// Makes a refusal part of the result; an unreachable Portainer stays an error.
fn reachable<T>(answer: Result<T, PortainerError>) -> Result<Result<T, String>, AttemptError> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_temporary() => Err(error.into()),
        Err(error) => Ok(Err(error.to_string())),
    }
}

fn container(listed: &Listed, inspected: Inspected) -> Container {
    Container {
        id: inspected.id,
        service: listed.labels.service.clone(),
        image_id: inspected.image_id,
        reference: inspected.reference,
        state: inspected.state,
        exit_code: inspected.exit_code,
        restarts: inspected.restart_count,
        started_at: inspected.started_at,
        restart_policy: inspected.restart_policy,
        health_takes: inspected
            .health
            .as_ref()
            .and(inspected.healthcheck)
            .map(|check| check.takes()),
        health: inspected.health,
        waits_for: waits_for_completion(&listed.labels.depends_on),
        replaces: !listed.labels.replace.is_empty(),
    }
}

fn service(
    stack: &str,
    service: portainer::SwarmService,
    tasks: Vec<portainer::SwarmTask>,
) -> snapshot::SwarmService {
    let task = |task: portainer::SwarmTask| snapshot::SwarmTask {
        image: task.image,
        force_update: task.force_update,
        state: task.state,
        desired: task.desired_state,
        error: task.error,
        exit_code: task.exit_code,
    };
    snapshot::SwarmService {
        name: service
            .name
            .strip_prefix(&format!("{stack}_"))
            .unwrap_or(&service.name)
            .to_owned(),
        id: service.id,
        image: service.image,
        version: service.version,
        force_update: service.force_update,
        wants: match service.mode {
            Mode::Replicated(replicas) => snapshot::Replicas::Running(replicas),
            Mode::Global => snapshot::Replicas::RunningEverywhere,
            Mode::Job(total) => snapshot::Replicas::Completed(total),
            Mode::GlobalJob => snapshot::Replicas::Completed(1),
        },
        rollout: service
            .update
            .map(|rollout| (rollout.state, rollout.message)),
        tasks: tasks.into_iter().map(task).collect(),
    }
}

/// Calls `work` for every item, a few at a time, and returns the results in order.
pub(super) fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let run = || loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let (Some(item), Some(result)) = (items.get(index), results.get(index)) else {
            break;
        };
        let done = work(item);
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    };
    // A panic of a thread becomes a panic of the caller when the scope ends.
    thread::scope(|scope| {
        for _ in 1..SIDE_BY_SIDE.min(items.len()) {
            // If no thread can be started, the others do its work.
            let _ = thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    results
        .into_iter()
        .filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// A cheap snapshot that takes over containers which ran before and are listed as running now. Call [`PartialSnapshot::completed`]
/// before a verdict is drawn from it.
#[derive(Debug)]
pub(super) struct PartialSnapshot {
    /// The stack; containers that were not inspected are as in the last snapshot.
    pub(super) seen: Snapshot,
    /// Of a compose stack: the list, and the containers that were inspected.
    incomplete: Option<(Containers, Vec<Container>)>,
}

impl PartialSnapshot {
    /// Takes a snapshot, given the last one.
    pub(super) fn take(
        portainer: &Portainer,
        submission: &Submission,
        last: &Snapshot,
    ) -> Result<PartialSnapshot, PortainerError> {
        let Snapshot::Compose(last) = last else {
            let seen = take_snapshot(portainer, submission)?;
            return Ok(PartialSnapshot {
                seen,
                incomplete: None,
            });
        };
        let environment = submission.environment;
        let listed = portainer.containers(environment, &submission.project)?;
        let as_before = |one: &Listed| last.containers.iter().find(|old| runs_still(old, one));
        let old: Vec<Container> = listed.list.iter().filter_map(as_before).cloned().collect();
        let seen = inspect_listed(portainer, environment, &listed, old.clone())?;
        let fresh = seen
            .containers
            .iter()
            .filter(|one| !old.iter().any(|old| old.id == one.id))
            .cloned()
            .collect();
        Ok(PartialSnapshot {
            seen: Snapshot::Compose(seen),
            incomplete: (!old.is_empty()).then_some((listed, fresh)),
        })
    }

    /// The snapshot with every container inspected. It shows restarts that the list does not, by their time of start.
    pub(super) fn completed(
        self,
        portainer: &Portainer,
        submission: &Submission,
    ) -> Result<Snapshot, PortainerError> {
        match self.incomplete {
            Some((listed, fresh)) => {
                inspect_listed(portainer, submission.environment, &listed, fresh)
                    .map(Snapshot::Compose)
            }
            None => Ok(self.seen),
        }
    }
}

/// Returns true if a container ran and is listed as running.
fn runs_still(old: &Container, listed: &Listed) -> bool {
    old.id == listed.id
        && old.state == listed.state
        && matches!(old.state(), ServiceState::Running | ServiceState::Healthy)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::fake::{Behaviour, Era};
    use crate::redeploy::bench::{Bench, GOOD};
    use crate::stack::order::Order;
    use crate::stack::outcome::Outcome;

    const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    healthcheck: &check
      test: [\"CMD\", \"/app\", \"health\"]
      interval: 1s
      retries: 3
  worker:
    image: ghcr.io/acme/worker:1
    healthcheck: *check
";

    /// It is listed as running all the time, and was healthy before the update.
    #[test]
    fn sees_a_service_that_becomes_unhealthy_although_it_is_not_touched() {
        let bench = Bench::with(Era::A, |world| {
            let an_hour = Duration::from_secs(3600);
            let after = an_hour + Duration::from_secs(10);
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("ghcr.io/acme/worker:1", Behaviour::Sickens { after });
            world.compose_stack("web-stack", FILE, &[]);
            let after = Duration::from_secs(30);
            world.push("ghcr.io/acme/web:1", Behaviour::Healthy { after });
        });
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
        assert!(
            report.message.contains("worker is unhealthy"),
            "{}",
            report.message
        );
    }
}
