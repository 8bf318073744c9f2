//! The connection to Portainer on the page: what it says of itself and of us, and how each configured stack would be redeployed.

use crate::portainer::{Kind, Origin, Record, Status};
use crate::scheduler::probe::Portal;
use crate::site::page::Known;
use crate::site::page::Mood;
use crate::site::page::words::{sentence, time, utc};
use crate::site::template::Fields;

/// All of it.
pub(super) fn add(known: &Known<'_>, fields: Fields) -> Fields {
    let Some(look) = &known.look else {
        return fields
            .text("connection", "Portainer has not been looked at yet.")
            .text("connection_class", "")
            .text("looked_at", "")
            .text("looked_words", "")
            .list("facts", [])
            .given("has_records", false)
            .list("records", []);
    };
    let (mood, words, records) = match &look.portainer {
        Err(away) => (Mood::Bad, sentence(&away.why), Vec::new()),
        Ok(portal) => (Mood::Good, words(known, portal), rows(portal)),
    };
    let facts = known.site.stacks.iter().filter_map(|stack| {
        let view = look.stacks.get(&stack.key)?.as_ref().ok()?;
        let lines = view.ready.as_ref().ok()?;
        Some(
            Fields::default()
                .text("title", stack.name.as_str())
                .lines("lines", "line", lines.iter().map(|line| sentence(line)))
                .lines("doubts", "line", view.doubts.iter().map(String::as_str)),
        )
    });
    fields
        .text("connection", words)
        .text("connection_class", mood.class())
        .text("looked_at", time(look.unix))
        .text("looked_words", utc(look.unix))
        .list("facts", facts)
        .given("has_records", !records.is_empty())
        .list("records", records)
}

/// Which Portainer, and who we are there.
pub(super) fn words(known: &Known<'_>, portal: &Portal) -> String {
    let row = known
        .desk
        .shown
        .iter()
        .find(|row| row.key == "portainer.url");
    let at = row.map_or(String::new(), |row| format!(" at {}", row.value));
    let who = match &portal.me {
        None => "a user whom this release does not name".to_owned(),
        Some(me) if me.administrator => format!("{}, an administrator", me.name),
        Some(me) => format!("{}, who sees what is shared with this user", me.name),
    };
    format!(
        "Portainer {}{at} answers. stackhook is {who}.",
        portal.version
    )
}

fn rows(portal: &Portal) -> Vec<Fields> {
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
        let from = match record.origin() {
            Origin::File => "file",
            Origin::Git { .. } => "git",
        };
        let status = match record.status {
            Status::Active => "active",
            Status::Inactive => "stopped",
            Status::Deploying => "deploying",
            Status::Error => "failed",
            Status::Unsaid => "not said",
        };
        Fields::default()
            .text("name", record.name.as_str())
            .text("environment", environment)
            .text("kind", kind)
            .text("from", from)
            .text("status", status)
    };
    portal.records.iter().map(row).collect()
}
