//! What a redeploy decides and by what, as lines of the log's debug level. Names of services and images, ids, nothing of the file and no
//! value of a variable.

use crate::image::Reference;
use crate::redeploy::Images;
use crate::redeploy::find::Found;
use crate::redeploy::inspect::Inspection;
use crate::redeploy::plan::Plan;
use crate::stack::Stack;

/// Which stack of Portainer's it is.
pub(super) fn found(stack: &Stack, found: &Found) {
    log::debug!(
        stack = stack.key.as_str();
        "decided: it is the stack with id {} on environment {}",
        found.record.id,
        found.record.environment
    );
}

/// Which services are meant, and what is pulled by whom.
pub(super) fn planned(stack: &Stack, plan: &Plan) {
    if !log::log_enabled!(log::Level::Debug) {
        return;
    }
    let names = |services: &[(String, _)]| -> Vec<String> {
        services.iter().map(|(name, _)| name.clone()).collect()
    };
    let (selected, others) = (names(&plan.selected), names(&plan.others));
    let pulls: Vec<String> = plan.pulls.iter().map(Reference::familiar).collect();
    log::debug!(
        stack = stack.key.as_str();
        "decided: meant are {selected:?}, left alone {others:?}; pulled beforehand {pulls:?}, by Portainer: {}",
        plan.repull
    );
}

/// What the pulls brought.
pub(super) fn pulled(stack: &Stack, before: &Images, inspection: &Inspection, plan: &Plan) {
    for reference in &plan.pulls {
        let before = before.get(reference).and_then(Option::as_deref);
        log::debug!(
            stack = stack.key.as_str();
            "decided: {} was {}, is {}",
            reference.familiar(),
            before.unwrap_or("not there"),
            inspection.id_of(reference).unwrap_or("not there")
        );
    }
}

/// Why an update is sent.
pub(super) fn sent(stack: &Stack, force: bool) {
    let why = match force {
        true => "it was asked for by force",
        false => "not everything that is meant is known to run what it should",
    };
    log::debug!(stack = stack.key.as_str(); "decided: an update is sent, {why}");
}
