//! Step 4, what to do: which services an order means, which images are pulled, who pulls. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::health::seen::Seen;
use crate::image::Reference;
use crate::portainer::{Kind, Origin, Status};
use crate::redeploy::End;
use crate::redeploy::find::Found;
use crate::redeploy::look::{Looked, reference_of, was_pulled};
use crate::stack::compose::{ComposeFile, Source, Wanted};
use crate::stack::order::{Order, Selection};
use crate::stack::{PullMode, Stack};

/// Images of Portainer itself: a redeploy of these kills the one who carries it out.
const PORTAINER: [&str; 3] = [
    "docker.io/portainer/portainer-ce",
    "docker.io/portainer/portainer-ee",
    "docker.io/portainer/agent",
];

/// What will be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pulled through the Docker proxy before anything else.
    pub(super) pulls: BTreeSet<Reference>,
    /// The services that the order means, with the reference each wants (`None`: built, its name is compose's affair).
    pub(super) selected: BTreeMap<String, Option<Reference>>,
    /// The other services that must have a container.
    pub(super) others: BTreeMap<String, Option<Reference>>,
    /// Whether Portainer is asked to pull.
    pub(super) repull: bool,
    /// Whether `unchanged` can be told without a submit.
    pub(super) certain: bool,
    /// What the reply says besides.
    pub(super) notes: Vec<String>,
}

impl Plan {
    /// Services that must have a container afterwards.
    pub(super) fn expected(&self) -> BTreeSet<String> {
        self.selected
            .keys()
            .chain(self.others.keys())
            .cloned()
            .collect()
    }

    /// References that must be on the host before an update without a pull is sent.
    pub(super) fn needed(&self) -> BTreeSet<&Reference> {
        self.selected
            .values()
            .chain(self.others.values())
            .flatten()
            .collect()
    }

    /// Whether every selected service runs what its reference is on the host: never "did the pull bring something".
    pub(super) fn up_to_date(&self, seen: &Seen, looked: &Looked) -> bool {
        self.selected.iter().all(|(service, wanted)| {
            let containers = seen.of(service);
            let current = |reference: &Reference| {
                containers.iter().all(|container| {
                    reference_of(container).as_ref() == Some(reference)
                        && looked.id_of(reference) == Some(&container.image_id)
                })
            };
            !containers.is_empty() && wanted.as_ref().is_none_or(current)
        })
    }
}

/// Plans, or says why nothing is done.
pub(super) fn plan(
    stack: &Stack,
    order: &Order,
    found: &Found,
    looked: &Looked,
) -> Result<Plan, End> {
    refuse_portainer(looked)?;
    match (found.record.origin(), found.record.kind) {
        (Origin::Git { .. }, _) => {
            whole(stack, order, "Portainer redeploys a git stack as a whole")
        }
        (Origin::File, Kind::Compose) => file_stack(stack, order, found, looked),
        (Origin::File, _) => whole(stack, order, "this is a Swarm stack"),
    }
}

/// Portainer does it all; that cannot be limited.
fn whole(stack: &Stack, order: &Order, why: &str) -> Result<Plan, End> {
    if let Some(limit) = limit(stack, order) {
        return Err(End::refused(format!(
            "{limit}, but {why}, and that cannot be limited to some images; nothing was sent"
        )));
    }
    Ok(Plan {
        repull: true,
        ..Plan::default()
    })
}

fn file_stack(stack: &Stack, order: &Order, found: &Found, looked: &Looked) -> Result<Plan, End> {
    if stack.pull == PullMode::Portainer {
        return whole(stack, order, "its \"pull\" is \"portainer\"");
    }
    let (wanted, seen) = match (&looked.wanted, &looked.seen) {
        (Ok(wanted), Ok(seen)) if !seen.containers.is_empty() => (wanted, seen),
        (Err(why), _) | (_, Err(why)) => return not_certain(stack, order, why),
        (Ok(_), Ok(_)) => {
            return not_certain(stack, order, "Portainer lists no container of this stack");
        }
    };
    let mut plan = Plan {
        certain: true,
        ..Plan::default()
    };
    for (service, wants) in &wanted.services {
        if !wants.optional || !seen.of(service).is_empty() {
            let selected = match &wants.image {
                Some(image) => order.images.picks(image, &stack.except),
                None => order.images == Selection::All,
            };
            let list = if selected {
                &mut plan.selected
            } else {
                &mut plan.others
            };
            list.insert(service.clone(), wants.image.clone());
        }
    }
    if plan.selected.is_empty() && order.images != Selection::All {
        return Err(End::skipped(not_in_this_stack(order, seen, wanted)));
    }
    let outside = |service: &&String| plan.others.contains_key(*service);
    for (service, wants) in wanted
        .services
        .iter()
        .filter(|(service, _)| outside(service))
    {
        if let Some(policy) = &wants.pulls_itself {
            let why = format!(
                "\"pull_policy: {policy}\" of service {service:?} makes compose pull it in every update"
            );
            return not_certain(stack, order, &why);
        }
    }
    if stack.pull == PullMode::First {
        plan.pulls = wanted
            .services
            .iter()
            .filter_map(|(service, wants)| pulled(service, wants, &plan, looked))
            .collect();
    }
    status_allows(order, found, seen, &plan, looked)?;
    Ok(plan)
}

/// The reference of a service that is pulled: of the selected ones all, of the others what is not on the host; never
/// a digest that is there, nor what was built on the host (a stranger's image may have that name).
fn pulled(service: &str, wants: &Wanted, plan: &Plan, looked: &Looked) -> Option<Reference> {
    let reference = wants
        .image
        .as_ref()
        .filter(|_| wants.source == Source::Registry)?;
    let local = looked.local.get(reference).and_then(Option::as_ref);
    let counts = plan.selected.contains_key(service) || plan.others.contains_key(service);
    let wanted = match local {
        None => counts,
        Some(image) => {
            plan.selected.contains_key(service)
                && reference.digest().is_none()
                && was_pulled(image, reference)
        }
    };
    wanted.then(|| reference.clone())
}

/// Portainer does the pulling where it is not certain what is wanted; a limited event is never widened.
fn not_certain(stack: &Stack, order: &Order, why: &str) -> Result<Plan, End> {
    match limit(stack, order) {
        Some(limit) => Err(End::refused(format!(
            "{limit}, but {why}, so the update could not be kept to these images; nothing was sent (change the file, or update the whole stack)"
        ))),
        None if stack.pull == PullMode::Never => Err(End::refused(format!(
            "\"pull\" is \"never\", but {why}, so it cannot be checked that every image is on the host; nothing was sent"
        ))),
        None => Ok(Plan {
            repull: true,
            notes: vec![format!("Portainer pulled by itself, because {why}")],
            ..Plan::default()
        }),
    }
}

/// What limits the images, in words.
fn limit(stack: &Stack, order: &Order) -> Option<String> {
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

fn not_in_this_stack(order: &Order, seen: &Seen, wanted: &ComposeFile) -> String {
    let asked = match &order.images {
        Selection::Only(named) => named
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        Selection::All => "that".to_owned(),
    };
    let running: BTreeSet<String> = seen
        .containers
        .iter()
        .filter_map(reference_of)
        .map(|one| one.familiar())
        .collect();
    let wants: BTreeSet<String> = wanted
        .services
        .values()
        .filter_map(|one| Some(one.image.as_ref()?.familiar()))
        .collect();
    let both: Vec<String> = running.union(&wants).cloned().collect();
    format!(
        "no service of this stack uses {asked}; it uses {}",
        both.join(", ")
    )
}

fn refuse_portainer(looked: &Looked) -> Result<(), End> {
    let wanted = looked
        .wanted
        .iter()
        .flat_map(|wanted| wanted.services.values().filter_map(|one| one.image.clone()));
    let running = looked
        .seen
        .iter()
        .flat_map(|seen| seen.containers.iter().filter_map(reference_of));
    match wanted
        .chain(running)
        .find(|reference| PORTAINER.contains(&reference.repository().as_str()))
    {
        Some(reference) => Err(End::refused(format!(
            "this stack contains Portainer itself ({}), and redeploying it would kill the one who carries it out; update it with docker on its host",
            reference.familiar()
        ))),
        None => Ok(()),
    }
}

/// Portainer ≥ 2.41 takes a stack in status 4 down before it updates it: only where that cannot make it worse.
fn status_allows(
    order: &Order,
    found: &Found,
    seen: &Seen,
    plan: &Plan,
    looked: &Looked,
) -> Result<(), End> {
    let all_local = || {
        !plan.repull
            && plan
                .needed()
                .iter()
                .all(|one| plan.pulls.contains(*one) || looked.id_of(one).is_some())
    };
    let none_runs = || {
        !seen
            .containers
            .iter()
            .any(|container| container.state == "running")
    };
    match found.record.status {
        Status::Error if !order.force && !all_local() && !none_runs() => {
            Err(End::refused(format!(
                "the last deployment of this stack failed, Portainer takes it down before the next one, and not every image is at hand; run \"stackhook redeploy {} --force\" if it may go down",
                found.record.name
            )))
        }
        Status::Error | Status::Active | Status::Inactive | Status::Deploying | Status::Unsaid => {
            Ok(())
        }
    }
}
