//! Plans a redeploy: selects services, and decides which images are pulled and whether stackhook or Portainer pulls. Pure.

use std::collections::BTreeSet;

use crate::compose::{ComposeSpec, ImageSource, ServiceSpec};
use crate::health::{ContainerSnapshot, snapshot};
use crate::image::Reference;
use crate::portainer::{ImageOrigin, Kind, LocalImage, Origin, StackStatus};
use crate::redeploy::find::FoundStack;
use crate::redeploy::inspect::{StackInspection, reference_of};
use crate::redeploy::{Images, RedeployResult};
use crate::stack::order::{Cause, Order, Selection};
use crate::stack::{PullMode, Stack};

/// The plan of a redeploy.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// References that are pulled through the Docker proxy before anything else.
    pub(super) pulls: BTreeSet<Reference>,
    /// Pulls whose failure is not fatal: Portainer may not need them.
    pub(super) optional_pulls: BTreeSet<Reference>,
    /// The services that the order selects, each with its reference; `None` if it is built and compose names it.
    pub(super) selected: Vec<(String, Option<Reference>)>,
    /// The other services that must have a container.
    pub(super) others: Vec<(String, Option<Reference>)>,
    /// Swarm services that are updated one by one, instead of the whole stack.
    pub(super) forced: Vec<snapshot::SwarmService>,
    /// Asks Portainer to pull.
    pub(super) repull: bool,
    /// Selected images that may be newer in their registry, and that are not pulled before the update is sent.
    pub(super) unpulled: BTreeSet<Reference>,
    /// The condition under which nothing needs to be sent.
    pub(super) no_update: NoUpdate,
    /// Further facts for the reply.
    pub(super) notes: Vec<String>,
}

/// The condition under which nothing needs to be sent, provided that the containers are healthy.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoUpdate {
    /// It is not known, or an update was asked for.
    #[default]
    Never,
    /// Every selected service runs the image that its reference names on the host.
    UpToDate,
    /// The pushed commit is deployed already.
    Deployed,
}

impl Plan {
    /// Services that must have a container afterwards.
    pub(super) fn expected(&self) -> BTreeSet<String> {
        let services = self.selected.iter().chain(&self.others);
        services.map(|(service, _)| service.clone()).collect()
    }

    /// The images that a rollback restores: the id that each reference has on the host or, of containers that the update replaces, the
    /// id that they run, for a tag may have been moved long before.
    pub(super) fn images_before(&self, inspection: &StackInspection) -> Images {
        let mut images = inspection.images();
        for container in inspection.seen.iter().flat_map(|seen| &seen.containers) {
            let is_selected = self.repull || has(&self.selected, &container.service);
            if let Some(reference) = reference_of(container).filter(|_| is_selected)
                && reference.digest().is_none()
            {
                images.insert(reference, Some(container.image_id.clone()));
            }
        }
        images
    }

    /// Adds the images that a release which pulls only missing images would leave out: the file's images and the running ones. The next
    /// commit may use neither, so a failed pull is not fatal.
    pub(super) fn pull_for_portainer(&mut self, inspection: &StackInspection, status: StackStatus) {
        let wanted = inspection
            .wanted
            .iter()
            .filter(|_| status != StackStatus::Error);
        let wanted = wanted.flat_map(|file| file.services.values());
        for wants in wanted {
            if let Some(reference) = &wants.image
                && matches!(
                    pull_need(wants, reference, inspection),
                    PullNeed::MayBeNewer
                )
                && self.pulls.insert(reference.clone())
            {
                self.optional_pulls.insert(reference.clone());
            }
        }
        // A certain file's pull policies decide about running images, too.
        let is_certain = inspection.wanted.is_ok() && status != StackStatus::Error;
        let containers = inspection.seen.iter().flat_map(|seen| &seen.containers);
        for reference in containers.filter_map(reference_of) {
            let local = inspection.local.get(&reference).and_then(Option::as_ref);
            let may_be_old = local
                .is_some_and(|image| inspection.origin(&reference, image) != ImageOrigin::Local);
            if !is_certain
                && may_be_old
                && reference.digest().is_none()
                && self.pulls.insert(reference.clone())
            {
                self.optional_pulls.insert(reference);
            }
        }
    }

    /// References that must be on the host before an update without a pull is sent.
    pub(super) fn needed(&self) -> BTreeSet<Reference> {
        let services = self.selected.iter().chain(&self.others);
        services.filter_map(|(_, wanted)| wanted.clone()).collect()
    }

    /// Returns true if every selected service runs the image that its reference names on the host.
    pub(super) fn up_to_date(
        &self,
        seen: &ContainerSnapshot,
        inspection: &StackInspection,
    ) -> bool {
        self.selected.iter().all(|(service, wanted)| {
            let containers = seen.containers_of(service);
            let current = |reference: &Reference| {
                containers.iter().all(|container| {
                    reference_of(container).as_ref() == Some(reference)
                        && inspection.id_of(reference) == Some(&container.image_id)
                })
            };
            let is_known = |reference: &Reference| !self.unpulled.contains(reference);
            let is_current = |one: &Reference| is_known(one) && current(one);
            !containers.is_empty() && wanted.as_ref().is_none_or(is_current)
        })
    }
}

/// Plans a redeploy, or returns the result with which it ends before anything is done. `takes_down` tells if this Portainer takes a
/// stack down before an update whose last deployment failed; it is called only for such a stack.
pub(super) fn plan(
    stack: &Stack,
    order: &Order,
    found: &FoundStack,
    inspection: &StackInspection,
    takes_down: impl FnOnce() -> bool,
) -> Result<Plan, RedeployResult> {
    refuse_portainer(inspection)?;
    if let (Some(why), None) = (&inspection.refused, limit(stack, order)) {
        return Err(RedeployResult::refused(format!("{why}; nothing was sent")));
    }
    let mut plan = match (found.record.origin(), found.record.kind) {
        (Origin::Git { config_hash, .. }, _) => {
            git_stack(stack, order, inspection, &config_hash, found.record.status)?
        }
        (Origin::File, Kind::Swarm) => swarm_stack(stack, order, inspection)?,
        (Origin::File, _) => file_stack(stack, order, inspection)?,
    };
    plan.check_pulls(stack, order, inspection);
    if found.record.status == StackStatus::Error && !order.force {
        check_failed_stack(stack, order, found, &plan, inspection, takes_down)?;
    }
    if let Some(why) = &found.unreadable {
        plan.notes
            .push(format!("redeployed without reading its file: {why}"));
    }
    Ok(plan)
}

/// The plan of an update that Portainer makes alone; it cannot be limited to some images.
fn whole_stack(stack: &Stack, order: &Order, why: &str) -> Result<Plan, RedeployResult> {
    if let Some(limit) = limit(stack, order) {
        return Err(RedeployResult::refused(format!(
            "{limit}, but {why}, and that cannot be limited to some images; nothing was sent"
        )));
    }
    Ok(Plan {
        repull: stack.pull != PullMode::Never,
        ..Plan::default()
    })
}

/// The plan for a git stack: always the whole stack, and always with a pull, because without one a bad image in a new commit takes the
/// stack down. Images that the event names are pulled first, so that a failed pull ends it before anything is touched.
fn git_stack(
    stack: &Stack,
    order: &Order,
    inspection: &StackInspection,
    config_hash: &str,
    status: StackStatus,
) -> Result<Plan, RedeployResult> {
    if !stack.except.is_empty() {
        return whole_stack(stack, order, "Portainer redeploys a git stack as a whole");
    }
    let mut plan = Plan {
        repull: true,
        ..Plan::default()
    };
    if order.images != Selection::All {
        plan.notes
            .push("Portainer redeploys a git stack as a whole, with every container".to_owned());
    }
    if let (Ok(wanted), Ok(seen)) = (&inspection.wanted, &inspection.seen) {
        let matches = |image: &Reference| order.images.matches(image, &[]);
        let used = wanted
            .services
            .iter()
            .filter(|(service, wants)| !wants.optional || !seen.containers_of(service).is_empty())
            .filter(|(_, wants)| wants.image.as_ref().is_some_and(matches));
        let running = seen.containers.iter().filter_map(|container| {
            let reference = reference_of(container).filter(matches)?;
            Some((container.service.clone(), reference))
        });
        // After a failed deployment the checked-out file may be the bad commit's, and the next commit decides.
        if status == StackStatus::Error {
            for (service, reference) in running.clone() {
                if order.images != Selection::All && !has(&plan.selected, &service) {
                    if stack.pull == PullMode::First && reference.digest().is_none() {
                        plan.pulls.insert(reference.clone());
                    }
                    plan.selected.push((service, Some(reference)));
                }
            }
        } else {
            plan.selected.extend(
                used.clone()
                    .map(|(name, wants)| (name.clone(), wants.image.clone())),
            );
            if order.images != Selection::All && stack.pull == PullMode::First {
                plan.pulls = used
                    .clone()
                    .filter_map(|(service, wants)| {
                        reference_to_pull(service, wants, &plan, inspection)
                    })
                    .collect();
            }
        }
        if order.images != Selection::All && used.count() == 0 && running.count() == 0 {
            return Err(RedeployResult::skipped(not_in_this_stack(
                order, seen, wanted,
            )));
        }
    }
    if let (Err(_), Ok(seen), Selection::Only(named)) =
        (&inspection.wanted, &inspection.seen, &order.images)
        && !seen.containers.is_empty()
        && !seen
            .containers
            .iter()
            .filter_map(reference_of)
            .any(|runs| named.iter().any(|named| named.may_match_repository(&runs)))
    {
        let runs: BTreeSet<String> = seen
            .containers
            .iter()
            .filter_map(|one| Some(reference_of(one)?.familiar()))
            .collect();
        let runs: Vec<String> = runs.into_iter().collect();
        let named: Vec<String> = named.iter().map(ToString::to_string).collect();
        return Err(RedeployResult::skipped(format!(
            "no service of this stack uses {}; it runs {}",
            named.join(", "),
            runs.join(", ")
        )));
    }
    plan.no_update = match &order.cause {
        Cause::Asked | Cause::Push(None) => NoUpdate::Never,
        Cause::Image if plan.selected.is_empty() => NoUpdate::Never,
        Cause::Image => NoUpdate::UpToDate,
        Cause::Push(Some(commit)) if commit == config_hash && status != StackStatus::Error => {
            NoUpdate::Deployed
        }
        Cause::Push(Some(_)) => NoUpdate::Never,
    };
    Ok(plan)
}

/// The plan for a Swarm stack: without a limit one update with a pull; with a limit an update of each selected service.
fn swarm_stack(
    stack: &Stack,
    order: &Order,
    inspection: &StackInspection,
) -> Result<Plan, RedeployResult> {
    let Some(limit) = limit(stack, order) else {
        return whole_stack(stack, order, "this is a Swarm stack");
    };
    match stack.pull {
        PullMode::First => {}
        PullMode::Portainer => return whole_stack(stack, order, "its \"pull\" is \"portainer\""),
        PullMode::Never => return whole_stack(stack, order, "its \"pull\" is \"never\""),
    }
    let services = match &inspection.services {
        Ok(seen) => &seen.services,
        Err(why) => {
            return Err(RedeployResult::refused(format!(
                "{limit}, but the services cannot be seen: {why}; nothing was sent"
            )));
        }
    };
    let reference = |service: &snapshot::SwarmService| {
        Reference::parse(service.reference())
            .ok()
            .map(Reference::with_default_tag)
    };
    let picked = |service: &&snapshot::SwarmService| {
        reference(service).is_some_and(|one| order.images.matches(&one, &stack.except))
    };
    let forced: Vec<snapshot::SwarmService> = services.iter().filter(picked).cloned().collect();
    if forced.is_empty() {
        let uses = services.iter().map(|one| one.reference().to_owned());
        let uses: Vec<String> = uses
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        return Err(RedeployResult::skipped(format!(
            "{limit}, but no other service of this stack is there; it uses {}",
            uses.join(", ")
        )));
    }
    Ok(Plan {
        forced,
        ..Plan::default()
    })
}

fn file_stack(
    stack: &Stack,
    order: &Order,
    inspection: &StackInspection,
) -> Result<Plan, RedeployResult> {
    if stack.pull == PullMode::Portainer {
        return whole_stack(stack, order, "its \"pull\" is \"portainer\"");
    }
    let (wanted, seen) = match (&inspection.wanted, &inspection.seen) {
        (Ok(wanted), Ok(seen)) if !seen.containers.is_empty() => (wanted, seen),
        (Err(why), _) | (_, Err(why)) => return uncertain_file(stack, order, why),
        (Ok(_), Ok(_)) => {
            return uncertain_file(stack, order, "Portainer lists no container of this stack");
        }
    };
    let mut plan = Plan {
        no_update: NoUpdate::UpToDate,
        ..Plan::default()
    };
    for (service, wants) in &wanted.services {
        if !wants.optional || !seen.containers_of(service).is_empty() {
            let selected = match &wants.image {
                Some(image) => order.images.matches(image, &stack.except),
                None => order.images == Selection::All,
            };
            let list = if selected {
                &mut plan.selected
            } else {
                &mut plan.others
            };
            list.push((service.clone(), wants.image.clone()));
        }
    }
    if plan.selected.is_empty() && order.images != Selection::All {
        return Err(RedeployResult::skipped(not_in_this_stack(
            order, seen, wanted,
        )));
    }
    let services = wanted.services.iter();
    for (service, wants) in services.filter(|(service, _)| has(&plan.others, service)) {
        if let Some(policy) = &wants.pulls_itself {
            let why = format!(
                "\"pull_policy: {policy}\" of service {service:?} makes compose pull it in every update"
            );
            return uncertain_file(stack, order, &why);
        }
    }
    if stack.pull == PullMode::First {
        let services = wanted.services.iter();
        plan.pulls = services
            .filter_map(|(service, wants)| reference_to_pull(service, wants, &plan, inspection))
            .collect();
    }
    Ok(plan)
}

/// The names of services.
pub(super) fn names(services: &[(String, Option<Reference>)]) -> Vec<&str> {
    services.iter().map(|(name, _)| name.as_str()).collect()
}

fn has(services: &[(String, Option<Reference>)], name: &str) -> bool {
    services.iter().any(|(service, _)| service == name)
}

/// The reference of a service, if it is to be pulled.
fn reference_to_pull(
    service: &str,
    wants: &ServiceSpec,
    plan: &Plan,
    inspection: &StackInspection,
) -> Option<Reference> {
    let reference = wants.image.as_ref()?;
    let is_due = match pull_need(wants, reference, inspection) {
        PullNeed::Missing => has(&plan.selected, service) || has(&plan.others, service),
        PullNeed::MayBeNewer => has(&plan.selected, service),
        PullNeed::Pinned | PullNeed::Policy | PullNeed::Local => false,
    };
    is_due.then(|| reference.clone())
}

/// The reason to pull an image, or not to.
enum PullNeed {
    /// It is not on the host, or not for the platform that the file asks for.
    Missing,
    /// The registry may have a newer one.
    MayBeNewer,
    /// Its digest is on the host.
    Pinned,
    /// The file's `pull_policy` does not allow it.
    Policy,
    /// It was made on the host: another owner's image may have that name in a registry.
    Local,
}

fn pull_need(wants: &ServiceSpec, reference: &Reference, inspection: &StackInspection) -> PullNeed {
    if wants.source == ImageSource::Host {
        return PullNeed::Policy;
    }
    let local = inspection.local.get(reference).and_then(Option::as_ref);
    let for_platform = |image: &&LocalImage| {
        let platform = wants.platform.as_deref();
        platform.is_none_or(|platform| image.is_for(platform))
    };
    let Some(image) = local.filter(for_platform) else {
        return PullNeed::Missing;
    };
    match inspection.origin(reference, image) {
        _ if reference.digest().is_some() => PullNeed::Pinned,
        _ if wants.only_if_missing => PullNeed::Policy,
        ImageOrigin::Local => PullNeed::Local,
        ImageOrigin::Pulled | ImageOrigin::Unknown => PullNeed::MayBeNewer,
    }
}

impl Plan {
    /// Notes the selected images that are left as they are on the host, and those that are not pulled although they may be newer.
    fn check_pulls(&mut self, stack: &Stack, order: &Order, inspection: &StackInspection) {
        let Ok(file) = &inspection.wanted else { return };
        for (service, wanted) in &self.selected {
            let (Some(reference), Some(wants)) = (wanted, file.services.get(service)) else {
                continue;
            };
            let name = reference.familiar();
            match pull_need(wants, reference, inspection) {
                PullNeed::Missing | PullNeed::MayBeNewer => {
                    if stack.pull != PullMode::Never && !self.pulls.contains(reference) {
                        self.unpulled.insert(reference.clone());
                    }
                }
                PullNeed::Local if stack.pull == PullMode::First && !self.repull => {
                    self.notes.push(format!(
                        "{service}: {name} was made on the host, not pulled from a registry, so it was not pulled"
                    ));
                }
                PullNeed::Policy if matches!(order.images, Selection::Only(_)) => {
                    self.notes.push(format!(
                        "{service}: its \"pull_policy\" does not allow to pull {name}, which is on the host"
                    ));
                }
                PullNeed::Pinned | PullNeed::Policy | PullNeed::Local => {}
            }
        }
        for reference in &self.pulls {
            if inspection.asked_origins.contains_key(reference) {
                self.notes.push(format!(
                    "this engine does not record where {} came from; the registry has that name, so it was pulled",
                    reference.familiar()
                ));
            }
        }
    }
}

/// The plan if the file is not certain: Portainer pulls. A limited event is never widened.
fn uncertain_file(stack: &Stack, order: &Order, why: &str) -> Result<Plan, RedeployResult> {
    match limit(stack, order) {
        Some(limit) => Err(RedeployResult::refused(format!(
            "{limit}, but {why}, so the update could not be kept to these images; nothing was sent (change the file, or update the whole stack)"
        ))),
        None if stack.pull == PullMode::Never => Err(RedeployResult::refused(format!(
            "\"pull\" is \"never\", but {why}, so it cannot be checked that every image is on the host; nothing was sent"
        ))),
        None => Ok(Plan {
            repull: true,
            notes: vec![format!("Portainer pulled by itself, because {why}")],
            ..Plan::default()
        }),
    }
}

/// The limit to some images, in words.
pub(super) fn limit(stack: &Stack, order: &Order) -> Option<String> {
    match &order.images {
        Selection::Only(named) => {
            let named: Vec<String> = named.iter().map(ToString::to_string).collect();
            Some(format!("only {} should be updated", named.join(", ")))
        }
        Selection::All if !stack.except.is_empty() => {
            let except: Vec<String> = stack.except.iter().map(ToString::to_string).collect();
            Some(format!("{} should stay as they are", except.join(", ")))
        }
        Selection::All => None,
    }
}

fn not_in_this_stack(order: &Order, seen: &ContainerSnapshot, wanted: &ComposeSpec) -> String {
    let requested = match &order.images {
        Selection::Only(named) => named
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        Selection::All => "that".to_owned(),
    };
    let running = seen.containers.iter().filter_map(reference_of);
    let wants = wanted.services.values();
    let wants = wants.filter_map(|one| Some(one.image.as_ref()?.familiar()));
    let both = running
        .map(|one| one.familiar())
        .chain(wants)
        .collect::<BTreeSet<_>>();
    let both: Vec<String> = both.into_iter().collect();
    format!(
        "no service of this stack uses {requested}; it uses {}",
        both.join(", ")
    )
}

/// Images of Portainer itself: a redeploy of these kills the process that carries it out.
const PORTAINER: [&str; 3] = [
    "docker.io/portainer/portainer-ce",
    "docker.io/portainer/portainer-ee",
    "docker.io/portainer/agent",
];

/// Refuses a stack that contains Portainer.
fn refuse_portainer(inspection: &StackInspection) -> Result<(), RedeployResult> {
    let wanted = inspection
        .wanted
        .iter()
        .flat_map(|wanted| wanted.services.values().filter_map(|one| one.image.clone()));
    let running = inspection
        .seen
        .iter()
        .flat_map(|seen| seen.containers.iter().filter_map(reference_of));
    let swarm = inspection.services.iter().flat_map(|seen| {
        let references = seen.services.iter().map(snapshot::SwarmService::reference);
        references.filter_map(|text| Reference::parse(text).ok())
    });
    match wanted
        .chain(running)
        .chain(swarm)
        .find(|reference| PORTAINER.contains(&reference.repository().as_str()))
    {
        Some(reference) => Err(RedeployResult::refused(format!(
            "this stack contains Portainer itself ({}), and redeploying it would kill the Portainer that carries it out; update it with docker on its host",
            reference.familiar()
        ))),
        None => Ok(()),
    }
}

/// Refuses an update after a failed deployment that could make the stack worse: some releases take a stack in Status 4 down
/// before they update it.
fn check_failed_stack(
    stack: &Stack,
    order: &Order,
    found: &FoundStack,
    plan: &Plan,
    inspection: &StackInspection,
    takes_down: impl FnOnce() -> bool,
) -> Result<(), RedeployResult> {
    let none_runs = inspection
        .seen
        .as_ref()
        .is_ok_and(|seen| !seen.containers.iter().any(|one| one.state == "running"));
    if let Origin::Git { config_hash, .. } = found.record.origin() {
        return match &order.cause {
            Cause::Push(Some(commit)) if *commit == config_hash && !none_runs => {
                Err(RedeployResult::refused(format!(
                    "the last deployment of this stack failed, Portainer would take it down before the next one, and commit {commit} is the one it has on record; push a commit that fixes it, or run \"stackhook redeploy {} --force\"",
                    stack.key
                )))
            }
            // The next commit may fix it, and only a redeploy reads that.
            _ => Ok(()),
        };
    }
    let local = |reference: &Reference| {
        plan.pulls.contains(reference) || inspection.id_of(reference).is_some()
    };
    let wanted = inspection.wanted.as_ref().ok();
    let all_local = wanted.is_some_and(|file| {
        let pulled_now = !plan.repull || !plan.pulls.is_empty();
        pulled_now
            && file
                .services
                .values()
                .filter_map(|wants| wants.image.as_ref())
                .all(local)
    });
    match all_local || none_runs || !takes_down() {
        true => Ok(()),
        false => Err(RedeployResult::refused(format!(
            "the last deployment of this stack failed, Portainer would take it down before the next one, and not every image is certain to be available; run \"stackhook redeploy {} --force\" if it may go down",
            stack.key
        ))),
    }
}
