//! Step 4, keep still: a service that the order does not mean keeps its container although its tag has moved. The tag goes back
//! to the id that runs, for the time of the submit.

use std::collections::BTreeMap;

use crate::image::Reference;
use crate::portainer::{EnvironmentId, Error, Portainer};
use crate::redeploy::look::{Looked, reference_of};
use crate::redeploy::plan::Plan;
use crate::redeploy::{End, Halt};

/// Tags that were put back for a while, each with the newer id that it goes forward to again.
#[derive(Debug, Default)]
pub(super) struct PutBack(BTreeMap<Reference, String>);

/// Tags the references of the services outside the selection to the ids they run. Refused in the middle, it is undone.
pub(super) fn keep_still(
    portainer: &Portainer,
    environment: EnvironmentId,
    looked: &Looked,
    plan: &Plan,
) -> Result<PutBack, Halt> {
    let mut put_back = PutBack::default();
    for (service, reference, runs, newer) in moved(looked, plan) {
        let Err(error) = portainer.tag(environment, &runs, &reference) else {
            put_back.0.insert(reference, newer);
            continue;
        };
        let notes = put_back.release(portainer, environment);
        if matches!(error, Error::Unreachable(_)) {
            return Err(error.into());
        }
        let mut why = format!(
            "the update would also restart {service}, whose image {} has been moved meanwhile, and that cannot be prevented: {error}; nothing was sent",
            reference.familiar()
        );
        notes
            .iter()
            .for_each(|note| why.push_str(&format!("; {note}")));
        return Err(End::refused(why).into());
    }
    Ok(put_back)
}

impl PutBack {
    /// These references go forward to these ids.
    pub(super) fn of(newer: BTreeMap<Reference, String>) -> PutBack {
        PutBack(newer)
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
fn moved(looked: &Looked, plan: &Plan) -> Vec<(String, Reference, String, String)> {
    let Ok(seen) = &looked.seen else {
        return Vec::new();
    };
    let mut moved: Vec<(String, Reference, String, String)> = Vec::new();
    for (service, wanted) in &plan.others {
        let Some(wanted) = wanted else { continue };
        let runs = seen
            .of(service)
            .into_iter()
            .find(|container| reference_of(container).as_ref() == Some(wanted));
        let (Some(runs), Some(now)) = (runs, looked.id_of(wanted)) else {
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
