//! The dry run: the head of a redeploy that sends nothing but GETs, and what it would do, in words.

use crate::image::Reference;
use crate::redeploy::find::Found;
use crate::redeploy::inspect::{Inspection, reference_of, side_by_side};
use crate::redeploy::plan::{self, Plan};
use crate::redeploy::{AttemptError, Run, find, inspect};
use crate::stack::order::Order;
use crate::stack::outcome::StackReport;

/// What the registry has, against what the host has.
enum Newer {
    Yes,
    No,
    CannotTell,
}

impl Run<'_> {
    /// What would be done, line by line, or how it would end before anything is done.
    pub(super) fn preview(mut self, order: &Order) -> Result<Vec<String>, StackReport> {
        match self.lines(order) {
            Ok(lines) => Ok(lines.iter().map(|line| self.redactor.show(line)).collect()),
            Err(halt) => Err(self.report(Err(halt.at_once()))),
        }
    }

    fn lines(&mut self, order: &Order) -> Result<Vec<String>, AttemptError> {
        let found = find::find(self.cx.portainer, self.stack)?;
        self.know(&found, None);
        let inspection = inspect::inspect(self.cx.portainer, &found, order)?;
        self.know(&found, Some(&inspection));
        let plan = plan::plan(self.stack, order, &found, &inspection)?;
        let mut lines = Vec::new();
        let environment = found.environment.as_deref().unwrap_or("unknown");
        lines.push(format!(
            "the stack {:?} on the environment {environment:?}",
            found.record.name
        ));
        let (newer, mut certain) = self.pulls(&found, &inspection, &plan, &mut lines)?;
        certain &= inspection.seen.is_ok() && !plan.repull;
        let before = lines.len();
        restarts(&inspection, &plan, &newer, &mut lines);
        if certain && lines.len() == before {
            lines.push("would restart nothing".to_owned());
        }
        let stored = found.record.variables();
        for name in order.set.keys() {
            let verb = if stored.contains_key(name) {
                "change"
            } else {
                "add"
            };
            lines.push(format!("would {verb} the variable {name}"));
        }
        let kept = stored
            .keys()
            .filter(|name| !order.set.contains_key(*name))
            .count();
        lines.push(match kept {
            1 => "keeps 1 variable".to_owned(),
            kept => format!("keeps {kept} variables"),
        });
        Ok(lines)
    }

    /// Which references have a newer image, and whether that is certain.
    fn pulls(
        &self,
        found: &Found,
        inspection: &Inspection,
        plan: &Plan,
        lines: &mut Vec<String>,
    ) -> Result<(Vec<Reference>, bool), AttemptError> {
        if plan.repull {
            let why = plan.notes.first().map_or_else(String::new, |why| {
                format!(" ({})", why.replacen("pulled", "would pull", 1))
            });
            lines.push(format!(
                "Portainer would pull the images itself{why}, and may restart every service"
            ));
        }
        let pulls: Vec<&Reference> = plan.pulls.iter().collect();
        let answers = side_by_side(&pulls, |reference| self.newer(found, inspection, reference));
        let (mut newer, mut certain) = (Vec::new(), true);
        for (reference, answer) in pulls.into_iter().zip(answers) {
            let name = reference.familiar();
            match answer? {
                Newer::Yes => {
                    lines.push(format!("would pull {name}: the registry has a newer image"));
                    newer.push(reference.clone());
                }
                Newer::No => lines.push(format!("would pull {name}: nothing newer")),
                Newer::CannotTell => {
                    certain = false;
                    lines.push(format!(
                        "would pull {name}: cannot tell without pulling whether it is newer"
                    ));
                }
            }
        }
        Ok((newer, certain))
    }

    fn newer(
        &self,
        found: &Found,
        inspection: &Inspection,
        reference: &Reference,
    ) -> Result<Newer, AttemptError> {
        let Some(local) = inspection.local.get(reference).and_then(Option::as_ref) else {
            return Ok(Newer::Yes);
        };
        match self
            .cx
            .portainer
            .distribution(found.record.environment, reference)
        {
            Ok(Some(digest))
                if local
                    .repo_digests
                    .iter()
                    .any(|have| have.ends_with(&digest)) =>
            {
                Ok(Newer::No)
            }
            Ok(Some(_)) => Ok(Newer::Yes),
            Err(error) if error.is_temporary() => Err(error.into()),
            Ok(None) | Err(_) => Ok(Newer::CannotTell),
        }
    }
}

fn restarts(inspection: &Inspection, plan: &Plan, newer: &[Reference], lines: &mut Vec<String>) {
    let Ok(seen) = &inspection.seen else { return };
    for (service, wanted) in &plan.selected {
        let containers = seen.of(service);
        let Some(wanted) = wanted else { continue };
        let stale = |reference: &Reference| {
            containers.iter().any(|container| {
                reference_of(container).as_ref() != Some(reference)
                    || inspection.id_of(reference) != Some(&container.image_id)
            })
        };
        if containers.is_empty() {
            lines.push(format!("would start {service}, which has no container"));
        } else if newer.contains(wanted) || stale(wanted) {
            lines.push(format!(
                "would restart {service} with {}, and the services that depend on it",
                wanted.familiar()
            ));
        }
    }
}
