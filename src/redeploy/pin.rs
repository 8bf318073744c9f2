//! Step 4, keep still: a service that the order does not mean keeps its container although its tag has moved. The tag goes back
//! to the id that runs, for the time of the submit.

use std::collections::BTreeMap;

use crate::image::Reference;
use crate::portainer::{EnvironmentId, Portainer};
use crate::redeploy::inspect::{Inspection, reference_of};
use crate::redeploy::plan::Plan;
use crate::redeploy::{AttemptError, RedeployResult};

/// Tags that were put back for a while, each with the newer id that it goes forward to again.
#[derive(Debug, Default)]
pub(super) struct PinnedTags(BTreeMap<Reference, String>);

/// Tags the references of the services outside the selection to the ids they run. Refused in the middle, it is undone.
pub(super) fn pin_unselected(
    portainer: &Portainer,
    environment: EnvironmentId,
    inspection: &Inspection,
    plan: &Plan,
) -> Result<PinnedTags, AttemptError> {
    let mut pinned = PinnedTags::default();
    for (service, reference, runs, newer) in moved(inspection, plan) {
        let Err(error) = portainer.tag(environment, &runs, &reference) else {
            pinned.0.insert(reference, newer);
            continue;
        };
        let notes = pinned.release(portainer, environment);
        if error.is_temporary() {
            return Err(error.into());
        }
        let mut why = format!(
            "the update would also restart {service}, whose image {} has been moved meanwhile, and that cannot be prevented: {error}; nothing was sent",
            reference.familiar()
        );
        notes
            .iter()
            .for_each(|note| why.push_str(&format!("; {note}")));
        return Err(RedeployResult::refused(why).into());
    }
    Ok(pinned)
}

impl PinnedTags {
    /// These references go forward to these ids.
    pub(super) fn of(newer: BTreeMap<Reference, String>) -> PinnedTags {
        PinnedTags(newer)
    }

    /// Tags forward again. What cannot be is a note: an older image keeps the tag until the next pull.
    pub(super) fn release(self, portainer: &Portainer, environment: EnvironmentId) -> Vec<String> {
        let forward = |(reference, newer): (Reference, String)| {
            let error = portainer.tag(environment, &newer, &reference).err()?;
            Some(format!(
                "{} still stands for the older image, until the next pull: {error}",
                reference.familiar()
            ))
        };
        self.0.into_iter().filter_map(forward).collect()
    }
}

/// Service, reference, the id that it runs, and the newer id that the reference has now.
fn moved(inspection: &Inspection, plan: &Plan) -> Vec<(String, Reference, String, String)> {
    let Ok(seen) = &inspection.seen else {
        return Vec::new();
    };
    let mut moved: Vec<(String, Reference, String, String)> = Vec::new();
    for (service, wanted) in &plan.others {
        let Some(wanted) = wanted else { continue };
        let runs = seen
            .of(service)
            .into_iter()
            .find(|container| reference_of(container).as_ref() == Some(wanted));
        let (Some(runs), Some(now)) = (runs, inspection.id_of(wanted)) else {
            continue;
        };
        let known = moved.iter().any(|(_, reference, ..)| reference == wanted);
        if runs.image_id != now && wanted.digest().is_none() && !known {
            moved.push((
                service.clone(),
                wanted.clone(),
                runs.image_id.clone(),
                now.to_owned(),
            ));
        }
    }
    moved
}
