//! What `test-connection` says of a configured stack: how it would be redeployed, by the very code that would do it, and
//! what a person should know before the first delivery comes.

use crate::portainer::{Kind, Origin, SourceAccess};
use crate::redeploy::find::Found;
use crate::redeploy::inspect::Inspection;
use crate::redeploy::plan::{self, Plan};
use crate::redeploy::{AttemptError, RedeployResult, Run, find, inspect};
use crate::stack::order::Order;
use crate::stack::outcome::StackReport;
use crate::stack::{PullMode, Stack};

/// A stack that would be redeployed.
#[derive(Debug)]
pub(crate) struct Checked {
    /// How, and with what; a sentence each.
    pub(crate) facts: Vec<String>,
    /// What may turn out to be a mistake; a sentence each.
    pub(crate) doubts: Vec<String>,
}

impl Run<'_> {
    pub(super) fn check(mut self) -> Result<Checked, StackReport> {
        match self.checked() {
            Ok(Checked { facts, doubts }) => {
                let show = |line: &String| self.redactor.show(line);
                Ok(Checked {
                    facts: facts.iter().map(show).collect(),
                    doubts: doubts.iter().map(show).collect(),
                })
            }
            Err(halt) => Err(self.report(Err(halt.at_once()))),
        }
    }

    /// The stack, where a user may do more than see that it is there.
    pub(super) fn looked_at(&mut self, order: &Order) -> Result<(Found, Inspection), AttemptError> {
        let found = find::find(self.cx.portainer, self.stack)?;
        self.know(&found, None);
        // Being listed is not enough: who may not manage stacks is refused only here (contract 7).
        self.cx.portainer.stack(found.record.id)?;
        let inspection = inspect::inspect(self.cx.portainer, &found, order)?;
        self.know(&found, Some(&inspection));
        Ok((found, inspection))
    }

    fn checked(&mut self) -> Result<Checked, AttemptError> {
        let order = Order::default();
        let (found, inspection) = self.looked_at(&order)?;
        if let (Kind::Compose, Err(why)) = (found.record.kind, &inspection.seen) {
            let why = format!("{why}; without that no redeploy can be verified");
            return Err(RedeployResult::refused(why).into());
        }
        let plan = plan::plan(self.stack, &order, &found, &inspection)?;
        let mut doubts = doubts(self.stack, &found, &inspection, &plan);
        if found.record.source == SourceAccess::Visible && !self.is_administrator() {
            doubts.push("Portainer redeploys a git stack only for an administrator or the owner of its git Source; this user sees the Source, but whether it owns it cannot be seen".to_owned());
        }
        Ok(Checked {
            facts: facts(self.stack, &found, &inspection, &plan),
            doubts,
        })
    }
}

pub(super) fn facts(
    stack: &Stack,
    found: &Found,
    inspection: &Inspection,
    plan: &Plan,
) -> Vec<String> {
    let environment = found.environment.as_deref().unwrap_or("unknown");
    let mut facts = vec![format!(
        "found with id {} on the environment {environment}",
        found.record.id
    )];
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
        facts.push(format!(
            "its containers can be seen ({})",
            seen.containers.len()
        ));
    }
    facts.push(match found.record.env.len() {
        0 => "it has no variables in Portainer".to_owned(),
        1 => "its 1 variable in Portainer is kept".to_owned(),
        count => format!("its {count} variables in Portainer are kept"),
    });
    facts
}

pub(super) fn doubts(
    stack: &Stack,
    found: &Found,
    inspection: &Inspection,
    plan: &Plan,
) -> Vec<String> {
    // Written for a reply, after the fact.
    let ahead = |note: &String| note.replacen("Portainer pulled", "Portainer would pull", 1);
    let mut doubts: Vec<String> = plan.notes.iter().map(ahead).collect();
    if let Ok(wanted) = &inspection.wanted {
        for name in &wanted.unset {
            doubts.push(format!(
                "its file uses the variable {name}, which has neither value nor default"
            ));
        }
        for name in &stack.env {
            if !wanted.variables.contains(name) {
                doubts.push(format!(
                    "a delivery may set the variable {name}, which its file does not use"
                ));
            }
        }
    }
    if found.record.name != stack.name {
        doubts.push(format!("Portainer calls it {:?}", found.record.name));
    }
    doubts
}
