//! Blocked images: finds the images and variable values that made an update fail, and leaves them out of the next updates. Only an
//! image whose own containers failed is blocked, never one that an engine or Portainer took down with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::rfc3339;
use crate::health::{Container, Snapshot, Verdict};
use crate::image::Reference;
use crate::redeploy::find::FoundStack;
use crate::redeploy::inspect::{StackInspection, reference_of};
use crate::redeploy::plan::Plan;
use crate::redeploy::record::{BlockedImage, StackRecord, moved};
use crate::redeploy::result::Culprits;
use crate::redeploy::submission::Blame;
use crate::redeploy::{AttemptError, RedeployResult, Run, Submission};
use crate::stack::order::Order;
use crate::stack::outcome::{ServiceReport, ServiceState};

impl Culprits {
    /// The failed services of a verdict, but those that never ran: they are not the cause.
    pub(super) fn of_verdict(verdict: &Verdict) -> Culprits {
        let failed = |service: &&ServiceReport| {
            verdict.bad.contains(&service.service)
                && !matches!(service.state, ServiceState::Created | ServiceState::Missing)
        };
        let services = verdict.services.iter().filter(failed);
        Culprits::Services(services.map(|service| service.service.clone()).collect())
    }

    /// The culprits by the message of a failed deployment and by the containers that it left behind.
    pub(super) fn of_deployment(
        why: &str,
        submission: &Submission,
        now: Option<&Snapshot>,
        services: &[ServiceReport],
    ) -> Culprits {
        let mut found = services_named(why, &submission.project);
        if let (Some(Snapshot::Compose(now)), false) = (now, found.is_empty()) {
            // A name that the file gave its container.
            let of_name = |name: &String| now.containers_of(name).is_empty();
            found.retain(|name| !of_name(name) || submission.ran(name));
        }
        let failed = |service: &&ServiceReport| {
            let failed = match service.state {
                ServiceState::Exited => service.exit_code != Some(0),
                ServiceState::Restarting | ServiceState::Unhealthy => true,
                _ => false,
            };
            failed && service.recreated
        };
        let left = services.iter().filter(failed);
        found.extend(left.map(|service| service.service.clone()));
        match (found.is_empty(), is_about_an_image(why)) {
            (false, _) => Culprits::Services(found),
            (true, true) => Culprits::SomeImage,
            (true, false) => Culprits::Unknown,
        }
    }
}

/// The services that Docker Compose names as the reason for a failed `up`: `container shop-web-1 is unhealthy`,
/// `container shop-web-1 exited (3)`, `service "migrate" didn't complete successfully: exit 1`.
fn services_named(why: &str, project: &str) -> BTreeSet<String> {
    let mut services = BTreeSet::new();
    let words: Vec<&str> = why.split_whitespace().collect();
    for window in words.windows(4) {
        let [first, name, verb, next] = window else {
            continue;
        };
        let name = name.trim_matches('"');
        match (*first, *verb, *next) {
            ("container", "is", next) if next.starts_with("unhealthy") => {
                services.extend(service_of(name, project));
            }
            ("container", "exited", next) if next.starts_with('(') => {
                services.extend(service_of(name, project));
            }
            ("service", "didn't", "complete") => drop(services.insert(name.to_owned())),
            _ => {}
        }
    }
    // At the end of the text no fourth word follows.
    if let [.., "container", name, "is", "unhealthy"] = words.as_slice() {
        services.extend(service_of(name, project));
    }
    services
}

/// The service of a container named by Docker Compose: `shop-web-1`, or `shop_web_1` as older releases wrote it.
fn service_of(container: &str, project: &str) -> Option<String> {
    let rest = container.strip_prefix(project)?;
    let rest = rest.strip_prefix(['-', '_'])?;
    let (service, number) = rest.rsplit_once(['-', '_'])?;
    number.parse::<u32>().ok()?;
    Some(service.to_owned())
}

/// Returns true if the engine could not start a container because of the contents of its image.
fn is_about_an_image(why: &str) -> bool {
    const TEXTS: [&str; 6] = [
        "unable to start container process",
        "OCI runtime create failed",
        "executable file not found",
        "exec format error",
        "no command specified",
        "does not match the specified platform",
    ];
    // The same call fails for mounts and devices, which are not in an image.
    let mount = why.contains("error mounting") || why.contains("invalid mount");
    !mount && TEXTS.iter().any(|text| why.contains(text))
}

impl Run<'_> {
    /// The images and variable values that a failed update is blamed on.
    pub(super) fn blame(&self, submission: &Submission, failed: &RedeployResult) -> Blame {
        if self.was_absent() {
            return Blame::default();
        }
        let moved: BTreeMap<Reference, String> = moved(submission)
            .into_keys()
            .filter_map(|reference| {
                let id = submission.images.get(&reference)?.clone();
                Some((reference, id))
            })
            .collect();
        let variables = || {
            let names = submission.variables_before.keys();
            names
                .filter_map(|name| Some((name.clone(), self.set.get(name)?.clone())))
                .collect()
        };
        match &failed.culprits {
            Culprits::Unknown => Blame::default(),
            Culprits::SomeImage => Blame {
                together: moved.len() > 1,
                images: moved,
                variables: variables(),
            },
            Culprits::Services(services) => {
                let before = submission.containers().into_iter();
                let before = before.flat_map(|before| &before.containers);
                let mut at_fault: BTreeSet<Reference> = before
                    .filter(|container| services.contains(&container.service))
                    .filter_map(reference_of)
                    .collect();
                let reports = failed.services.iter();
                let reports = reports.filter(|report| services.contains(&report.service));
                at_fault.extend(
                    reports
                        .filter_map(|report| Reference::parse(&report.image).ok())
                        .map(Reference::with_default_tag),
                );
                let images = moved.into_iter();
                Blame {
                    images: images
                        .filter(|(reference, _)| at_fault.contains(reference))
                        .collect(),
                    together: false,
                    variables: match services.is_empty() {
                        true => BTreeMap::new(),
                        false => variables(),
                    },
                }
            }
        }
    }

    /// Refuses an order that sets the very values that were rolled back.
    pub(super) fn refuse_blocked_variables(
        &self,
        order: &Order,
        found: &FoundStack,
    ) -> Result<(), AttemptError> {
        let record = self.cx.memory.recall(found.record.id);
        let Some(blocked) = record.blocked_variables.filter(|_| !order.force) else {
            return Ok(());
        };
        let stored = found.record.variables();
        let value_of = |name: &String| order.set.get(name).or_else(|| stored.get(name));
        let same = |(name, value): (&String, &String)| value_of(name) == Some(value);
        let sets_one = blocked
            .values
            .keys()
            .any(|name| order.set.contains_key(name));
        if !sets_one || !blocked.values.iter().all(same) {
            return Ok(());
        }
        let names: Vec<&str> = blocked.values.keys().map(String::as_str).collect();
        Err(RedeployResult::skipped(format!(
            "the value of {} was rolled back at {}, because the containers failed with it; set another value, or deploy it anyway with \"stackhook redeploy {} --force\"",
            names.join(", "),
            rfc3339(blocked.unix),
            self.stack.key
        ))
        .into())
    }

    /// Leaves blocked images out of the update: their tags point at the running images again, and their services are pinned. Where
    /// nothing else is newer, nothing is sent.
    pub(super) fn leave_out_blocked(
        &mut self,
        order: &Order,
        found: &FoundStack,
        mut inspection: StackInspection,
        mut plan: Plan,
    ) -> Result<(StackInspection, Plan), AttemptError> {
        let record = self.cx.memory.recall(found.record.id);
        let blocked = blocked_in(&record, &inspection, &plan);
        if order.force || blocked.is_empty() {
            return Ok((inspection, plan));
        }
        let (mut names, mut unix, mut refused) = (Vec::new(), 0, Vec::new());
        for (reference, image) in &blocked {
            let environment = found.record.environment;
            let portainer = self.cx.portainer;
            if let Err(error) = portainer.tag(environment, &image.back_to, reference) {
                refused.push(format!("its tag could not be restored: {error}"));
            } else if let Some(Some(local)) = inspection.local.get_mut(reference) {
                local.id.clone_from(&image.back_to);
            }
            names.push(reference.familiar());
            unix = image.unix;
        }
        let mut message = format!(
            "the image of {} was rolled back at {} and is blocked until a newer one is pushed; \"stackhook redeploy {} --force\" deploys it anyway",
            names.join(", "),
            rfc3339(unix),
            self.stack.key
        );
        for why in &refused {
            message.push_str(&format!("; {why}"));
        }
        let is_blocked = |(_, wanted): &(String, Option<Reference>)| {
            wanted
                .as_ref()
                .is_some_and(|wanted| blocked.contains_key(wanted))
        };
        let selected = std::mem::take(&mut plan.selected);
        let (pinned, rest): (Vec<_>, Vec<_>) = selected.into_iter().partition(is_blocked);
        plan.others.extend(pinned);
        plan.selected = rest;
        let seen = inspection.seen.as_ref().ok();
        let is_newer = seen.is_some_and(|seen| !plan.up_to_date(seen, &inspection));
        // Portainer's own pull would move the tags again.
        match is_newer && !plan.selected.is_empty() && !plan.repull && refused.is_empty() {
            true => self.notes.push(message),
            false => return Err(RedeployResult::skipped(message).into()),
        }
        Ok((inspection, plan))
    }
}

/// The selected references that name a blocked image now, unless that runs already.
fn blocked_in(
    record: &StackRecord,
    inspection: &StackInspection,
    plan: &Plan,
) -> BTreeMap<Reference, BlockedImage> {
    let Ok(seen) = &inspection.seen else {
        return BTreeMap::new();
    };
    let is_there = |(reference, image): &(&Reference, &BlockedImage)| {
        inspection.id_of(reference) == Some(image.id.as_str())
    };
    let runs = |container: &Container, image: &BlockedImage| container.image_id == image.id;
    let selected = plan.selected.iter().flat_map(|(_, wanted)| wanted);
    selected
        .filter_map(|reference| Some((reference, record.blocked.get(reference)?)))
        .filter(is_there)
        .filter(|(_, image)| !seen.containers.iter().any(|one| runs(one, image)))
        // One of several is at fault: another one of them that has become newer may have been it.
        .filter(|(_, image)| {
            let mut group = record
                .blocked
                .iter()
                .filter(|(_, other)| image.together && other.together && other.unix == image.unix);
            group.all(|entry| is_there(&entry))
        })
        .map(|(reference, image)| (reference.clone(), image.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(why: &str, expected: &[&str]) {
        let found = services_named(why, "shop");
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, expected, "{why}");
    }

    #[test]
    fn reads_the_failed_services_from_the_words_of_compose() {
        check(
            "dependency failed to start: container shop-web-1 is unhealthy",
            &["web"],
        );
        check(
            "dependency failed to start: container shop-web-app-2 exited (3)",
            &["web-app"],
        );
        check(
            "service \"migrate\" didn't complete successfully: exit 1",
            &["migrate"],
        );
        check("container shop_db_1 is unhealthy, again", &["db"]);
        check("Cannot connect to the Docker daemon", &[]);
        check("container other-web-1 is unhealthy", &[]);
        check("endpoint shop-web-1 (0f): address already in use", &[]);
    }

    #[test]
    fn tells_faults_of_images_from_others() {
        assert!(is_about_an_image(
            "OCI runtime create failed: runc create failed: unable to start container process: exec: \"/app\": permission denied"
        ));
        assert!(!is_about_an_image(
            "listen tcp4 0.0.0.0:80: bind: address already in use"
        ));
        assert!(!is_about_an_image(
            "OCI runtime create failed: error mounting \"/data\" to rootfs: not a directory"
        ));
    }
}
