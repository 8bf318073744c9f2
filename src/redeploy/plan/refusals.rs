//! Stacks that are left alone whatever is asked for, because an update could take down what runs.

use super::Plan;
use crate::image::Reference;
use crate::portainer::Status;
use crate::redeploy::End;
use crate::redeploy::find::Found;
use crate::redeploy::look::{Looked, reference_of};
use crate::stack::Stack;
use crate::stack::order::Order;

/// Images of Portainer itself: a redeploy of these kills the one who carries it out.
const PORTAINER: [&str; 3] = [
    "docker.io/portainer/portainer-ce",
    "docker.io/portainer/portainer-ee",
    "docker.io/portainer/agent",
];

/// A stack that contains Portainer is never touched.
pub(super) fn refuse_portainer(looked: &Looked) -> Result<(), End> {
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
pub(super) fn status_allows(
    stack: &Stack,
    order: &Order,
    found: &Found,
    plan: &Plan,
    looked: &Looked,
) -> Result<(), End> {
    if found.record.status != Status::Error || order.force {
        return Ok(());
    }
    let local =
        |reference: &Reference| plan.pulls.contains(reference) || looked.id_of(reference).is_some();
    let wanted = looked.wanted.as_ref().ok();
    let all_local = wanted.is_some_and(|file| {
        let pulled_now = !plan.repull || !plan.pulls.is_empty();
        pulled_now
            && file
                .services
                .values()
                .filter_map(|wants| wants.image.as_ref())
                .all(local)
    });
    let none_runs = looked
        .seen
        .as_ref()
        .is_ok_and(|seen| !seen.containers.iter().any(|one| one.state == "running"));
    match all_local || none_runs {
        true => Ok(()),
        false => Err(End::refused(format!(
            "the last deployment of this stack failed, Portainer would take it down before the next one, and not every image is certain to be at hand; run \"stackhook redeploy {} --force\" if it may go down",
            stack.key
        ))),
    }
}
