//! The connection to Portainer on the page: its answer, our user there, and how each configured stack would be redeployed.

use crate::portainer::{Kind, Origin, Record, StackStatus};
use crate::scheduler::probe::PortainerInfo;
use crate::site::page::text::{Moment, sentence};
use crate::site::page::{PageData, Tone};

/// The connection, ready for its template.
pub(super) struct ConnectionCard {
    pub(super) tone: Tone,
    pub(super) text: String,
    pub(super) checked: Option<Moment>,
    pub(super) stacks: Vec<StackFacts>,
    pub(super) records: Vec<RecordRow>,
}

/// The steps that redeploying a configured stack would take.
pub(super) struct StackFacts {
    /// All stacks of which the same is true.
    pub(super) names: String,
    pub(super) facts: Vec<String>,
    pub(super) doubts: Vec<String>,
}

/// A stack as Portainer lists it.
pub(super) struct RecordRow {
    pub(super) name: String,
    pub(super) environment: String,
    pub(super) kind: String,
    pub(super) origin: &'static str,
    pub(super) status: &'static str,
}

/// The connection as of the last inspection.
pub(super) fn connection(data: &PageData<'_>) -> ConnectionCard {
    let Some(look) = &data.look else {
        return ConnectionCard {
            tone: Tone::Neutral,
            text: "Portainer has not been asked yet.".to_owned(),
            checked: None,
            stacks: Vec::new(),
            records: Vec::new(),
        };
    };
    let (tone, text, records) = match &look.portainer {
        Err(away) => (Tone::Bad, sentence(&away.why), Vec::new()),
        Ok(portal) => (Tone::Good, summary(data, portal), rows(portal)),
    };
    let mut stacks: Vec<StackFacts> = Vec::new();
    for stack in &data.site.stacks {
        let Some(Ok(view)) = look.stacks.get(&stack.key) else {
            continue;
        };
        let Ok(facts) = &view.ready else { continue };
        let facts: Vec<String> = facts
            .iter()
            .map(|line| sentence(&without_id(line)))
            .collect();
        let same = stacks
            .iter_mut()
            .find(|one| one.facts == facts && one.doubts == view.warnings);
        match same {
            Some(same) => {
                same.names.push_str(", ");
                same.names.push_str(&stack.name);
            }
            None => stacks.push(StackFacts {
                names: stack.name.clone(),
                facts,
                doubts: view.warnings.clone(),
            }),
        }
    }
    ConnectionCard {
        tone,
        text,
        checked: Some(data.moment(look.unix)),
        stacks,
        records,
    }
}

/// The number of a stack differs for each, so that no two would be grouped.
fn without_id(fact: &str) -> String {
    match fact
        .strip_prefix("found with id ")
        .and_then(|rest| rest.split_once(' '))
    {
        Some((_, rest)) => format!("found {rest}"),
        None => fact.to_owned(),
    }
}

/// The version of Portainer, and our user there.
pub(super) fn summary(data: &PageData<'_>, portal: &PortainerInfo) -> String {
    let row = data
        .desk
        .shown
        .iter()
        .find(|row| row.key == "portainer.url");
    let at = row.map_or(String::new(), |row| format!(" at {}", row.value));
    let account = match &portal.me {
        None => "whose name this release does not report".to_owned(),
        Some(me) if me.administrator => format!("{}, an administrator", me.name),
        Some(me) => format!("{}, which sees only what is shared with it", me.name),
    };
    format!(
        "Portainer {}{at} answers. stackhook uses the account {account}.",
        portal.version
    )
}

fn rows(portal: &PortainerInfo) -> Vec<RecordRow> {
    let row = |record: &Record| {
        let environment = portal
            .environments
            .iter()
            .find(|one| one.id == record.environment);
        let environment = environment.map_or_else(
            || format!("{} (gone)", record.environment),
            |one| one.name.clone(),
        );
        let kind = match record.kind {
            Kind::Compose => "compose".to_owned(),
            Kind::Swarm => "swarm".to_owned(),
            Kind::Kubernetes => "kubernetes, not supported".to_owned(),
            Kind::Other(number) => format!("type {number}, not supported"),
        };
        let origin = match record.origin() {
            Origin::File => "file",
            Origin::Git { .. } => "git",
        };
        let status = match record.status {
            StackStatus::Active => "active",
            StackStatus::Inactive => "stopped",
            StackStatus::Deploying => "deploying",
            StackStatus::Error => "failed",
            StackStatus::Unspecified => "unknown",
        };
        RecordRow {
            name: record.name.clone(),
            environment,
            kind,
            origin,
            status,
        }
    };
    portal.records.iter().map(row).collect()
}
