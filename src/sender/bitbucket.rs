//! Bitbucket Cloud and Data Center. One push may change several refs, and each is an event.

use serde_json::Value;

use super::git::{self, require, text};
use super::{
    DefaultScheme, Definition, EventKind, Fact, ParseSettings, Parser, SetupText, header, ignored,
    outcome,
};
use crate::event::{Event, ParseError, ParseOutcome, quoted};
use crate::signature::{SchemeName, Verified};
use crate::stack::order::Cause;

const STATUS_FACTS: &[Fact] = Fact::RUN;

pub(super) const SENDER: Definition = Definition {
    name: "bitbucket",
    default_scheme: DefaultScheme::Always(SchemeName::Bitbucket),
    events: &[
        EventKind::git("repo:push", Fact::GIT),
        EventKind::git("repo:refs_changed", Fact::GIT),
        EventKind::git("repo:commit_status_updated", STATUS_FACTS),
        EventKind::git("repo:commit_status_created", STATUS_FACTS),
    ],
    parse: Parser::Code(parse),
    setup: SetupText {
        location: "repository > Repository settings > Webhooks > Add webhook",
        subscribe: "Build status updated",
        rules: "branches = [\"main\"]",
        notes: &[
            "in Data Center, which sends no build status, and for a git stack choose Repository push",
            "Bitbucket Cloud reaches public addresses only",
            "every successful build status acts, of pull requests too if their branch matches; workflows names the status by its name or key",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

/// Parses a delivery.
fn parse(verified: &Verified<'_>, _: &ParseSettings<'_>) -> Result<ParseOutcome, ParseError> {
    let Some(name) = header(verified, "x-event-key") else {
        return ignored("header X-Event-Key is missing");
    };
    if name == "diagnostics:ping" {
        return ignored("ping");
    }
    let body = verified.json()?;
    // Cloud's id is kept when a delivery is repeated.
    let id = header(verified, "x-request-uuid").or_else(|| header(verified, "x-request-id"));
    let (changes, parse_change, repository): (_, fn(&Value) -> _, _) = match name.as_str() {
        "repo:push" => (
            "/push/changes",
            cloud,
            git::owned(&body, "/repository/full_name"),
        ),
        "repo:refs_changed" => ("/changes", data_center, slug(&body)),
        "repo:commit_status_updated" | "repo:commit_status_created" => {
            let event = commit_status(&name, &body);
            return Ok(outcome(id, event.map(|event| vec![event])));
        }
        _ => return ignored(format!("event {} means nothing new", quoted(&name))),
    };
    let Some(changes) = body.pointer(changes).and_then(Value::as_array) else {
        return ignored(format!("nothing at \"{changes}\""));
    };
    let mut events = Vec::new();
    let mut reason = "the push changes nothing".to_owned();
    for change in changes {
        match parse_change(change) {
            Ok(event) => events.push(Event {
                repository: repository.clone(),
                ..event
            }),
            Err(other) => reason = other,
        }
    }
    Ok(outcome(
        id,
        match events.is_empty() {
            true => Err(reason),
            false => Ok(events),
        },
    ))
}

fn cloud(change: &Value) -> Result<Event, String> {
    let new = change
        .get("new")
        .filter(|new| new.is_object())
        .ok_or("a deletion")?;
    let kind = text(new, "/type").unwrap_or_default();
    let event = git::on_short_ref("repo:push", text(new, "/name"), kind)?;
    Ok(Event {
        cause: Cause::Push(git::owned(new, "/target/hash")),
        ..event
    })
}

fn data_center(change: &Value) -> Result<Event, String> {
    let hash = text(change, "/toHash");
    if text(change, "/type") == Some("DELETE") || hash.is_some_and(git::is_zero) {
        return Err("a deletion".to_owned());
    }
    let full = text(change, "/ref/id").or_else(|| text(change, "/refId"));
    Ok(Event {
        cause: Cause::Push(hash.map(str::to_owned)),
        ..git::on_ref("repo:refs_changed", full)?
    })
}

/// A build that has succeeded. Pipelines creates a status in progress and updates it; other systems may create it when they are done.
fn commit_status(name: &str, body: &Value) -> Result<Event, String> {
    require(body, "/commit_status/state", &["SUCCESSFUL"])?;
    let names = [
        text(body, "/commit_status/name"),
        text(body, "/commit_status/key"),
    ];
    Ok(Event {
        name: name.to_owned(),
        refs: git::unknown_ref(text(body, "/commit_status/refname")),
        repository: git::owned(body, "/repository/full_name"),
        workflows: names.into_iter().flatten().map(str::to_owned).collect(),
        ..Event::default()
    })
}

fn slug(body: &Value) -> Option<String> {
    let project = text(body, "/repository/project/key")?;
    let slug = text(body, "/repository/slug")?;
    Some(format!("{project}/{slug}"))
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let repository = serde_json::json!({"full_name": "acme/web"});
    let sample = |event, name, body| super::Sample {
        event,
        headers: vec![("X-Event-Key", name)],
        body,
    };
    vec![
        sample(
            "Build status updated",
            "repo:commit_status_updated",
            serde_json::json!({"repository": repository, "commit_status": {
                "state": "SUCCESSFUL", "name": "Pipeline", "key": "1", "refname": "main"}}),
        ),
        sample(
            "Repository push",
            "repo:push",
            serde_json::json!({"repository": repository, "push": {"changes": [
                {"new": {"type": "branch", "name": "main", "target": {"hash": "aa"}}}]}}),
        ),
        sample(
            "Repository push",
            "repo:refs_changed",
            serde_json::json!({"repository": {"slug": "web", "project": {"key": "ACME"}}, "changes": [
                {"type": "UPDATE", "toHash": "aa", "ref": {"id": "refs/heads/main"}}]}),
        ),
    ]
}
