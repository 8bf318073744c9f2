//! Gitea, and the payloads that Forgejo and Gogs have inherited from it.

use serde_json::Value;

use super::git::{self, is_true, require, text};
use super::{
    DefaultScheme, Definition, EventKind, Fact, Parser, SetupText, header, ignored, outcome,
};
use crate::event::{Event, EventRef, ParseError, ParseOutcome, quoted};
use crate::image::Reference;
use crate::signature::{SchemeName, Verified};
use crate::stack::order::Cause;

pub(super) const SENDER: Definition = Definition {
    name: "gitea",
    default_scheme: DefaultScheme::Always(SchemeName::Gitea),
    events: &[
        PUSH,
        RELEASE,
        PACKAGE,
        EventKind::git("workflow_run", Fact::RUN),
        CREATE,
    ],
    parse: Parser::Code(|verified, _| {
        parse(verified, "gitea", &[("workflow_run", git::workflow_run)])
    }),
    setup: SetupText {
        location: "repository > Settings > Webhooks > Add webhook > Gitea",
        subscribe: "Custom events: Workflow Runs",
        json_content_type: true,
        rules: "branches = [\"main\"]",
        notes: &[
            "workflow runs are sent from version 1.25; before that choose Packages, and for a git stack Push",
            "a push comes before its image is built, a workflow run afterwards; workflows = [\"image.yml\"] limits the hook to one workflow",
            ALLOWED_HOSTS,
            SIGNED_JSON,
        ],
    },
    ..Definition::DEFAULT
};

/// Events of the whole family.
pub(super) const PUSH: EventKind = EventKind::git("push", Fact::PUSH);
pub(super) const RELEASE: EventKind =
    EventKind::publication("release", &[Fact::Tag, Fact::Repository, Fact::Prerelease]);
pub(super) const PACKAGE: EventKind = EventKind::publication("package", Fact::IMAGE);
pub(super) const CREATE: EventKind = EventKind::git("create", Fact::GIT).on_request();

pub(super) const ALLOWED_HOSTS: &str = "private addresses must be allowed in app.ini: [webhook] ALLOWED_HOST_LIST = private (or the host's name)";
pub(super) const SIGNED_JSON: &str =
    "the signature is of the JSON, so the content type must not be the form";

/// Parser of an event that only one member of the family sends.
pub(super) type OwnEvent = (&'static str, fn(&Value) -> Result<Event, String>);

/// Number of commits that a push lists by default, for payloads without a total.
const COMMITS_LISTED: usize = 5;

/// Parses a delivery of the family; `family` is the name in its headers.
pub(super) fn parse(
    verified: &Verified<'_>,
    family: &str,
    own: &[OwnEvent],
) -> Result<ParseOutcome, ParseError> {
    let event_header = format!("x-{family}-event");
    let Some(name) = header(verified, &event_header) else {
        return ignored(format!("header {event_header} is missing"));
    };
    if name == "ping" {
        return ignored("ping");
    }
    let body = verified.json()?;
    let event = match name.as_str() {
        "push" => push(&body),
        "release" => release(&body),
        "package" => package(&body),
        "create" => git::create(&body),
        "delete" => Err("a deletion".to_owned()),
        name => match own.iter().find(|(own, _)| *own == name) {
            Some((_, parse)) => parse(&body),
            None => Err(format!("event {} means nothing new", quoted(name))),
        },
    };
    Ok(outcome(
        header(verified, &format!("x-{family}-delivery")),
        event.map(|event| vec![git::in_repository(event, &body, "/repository/full_name")]),
    ))
}

fn push(body: &Value) -> Result<Event, String> {
    let after = text(body, "/after");
    if after.is_some_and(git::is_zero) {
        return Err("a deletion".to_owned());
    }
    let count = git::commit_count(body);
    let all_listed = match body.get("total_commits").and_then(Value::as_u64) {
        Some(total) => u64::try_from(count) == Ok(total),
        None => count < COMMITS_LISTED,
    };
    let from_nothing = text(body, "/before").is_none_or(git::is_zero);
    Ok(Event {
        cause: Cause::Push(after.map(str::to_owned)),
        paths: git::paths(body, all_listed && !from_nothing),
        ..git::on_ref("push", text(body, "/ref"))?
    })
}

fn release(body: &Value) -> Result<Event, String> {
    require(body, "/action", &["published"])?;
    if is_true(body, "/release/draft") {
        return Err("a draft".to_owned());
    }
    Ok(Event {
        is_prerelease: body.pointer("/release/prerelease").and_then(Value::as_bool),
        ..git::on_short_ref("release", text(body, "/release/tag_name"), "tag")?
    })
}

/// A container image in the built-in registry. The payload does not name the registry's host.
fn package(body: &Value) -> Result<Event, String> {
    require(body, "/action", &["created"])?;
    require(body, "/package/type", &["container"])?;
    let tag = text(body, "/package/version").ok_or("nothing at \"/package/version\"")?;
    if tag.contains(':') {
        return Err("a manifest without a tag".to_owned());
    }
    let name = text(body, "/package/name").ok_or("nothing at \"/package/name\"")?;
    let owner = text(body, "/package/owner/login")
        .or_else(|| text(body, "/package/owner/username"))
        .ok_or("nothing at \"/package/owner/login\"")?;
    let image = format!("{}:{tag}", format!("{owner}/{name}").to_lowercase());
    let image = Reference::on_any_registry(&image)
        .map_err(|error| format!("image {} cannot be read: {error}", quoted(&image)))?;
    Ok(Event {
        name: "package".to_owned(),
        cause: Cause::Image,
        refs: vec![EventRef::ImageTag(tag.to_owned())],
        repository: Some(format!("{owner}/{name}")),
        images: vec![image],
        ..Event::default()
    })
}

/// Deliveries of the events that the whole family has.
#[cfg(test)]
pub(super) fn family_samples(header: &'static str) -> Vec<super::Sample> {
    let repository = serde_json::json!({"full_name": "acme/web"});
    let sample = |event, name, body| super::Sample {
        event,
        headers: vec![(header, name)],
        body,
    };
    vec![
        sample(
            "Push",
            "push",
            serde_json::json!({"ref": "refs/heads/main", "after": "aa", "repository": repository}),
        ),
        sample(
            "Packages",
            "package",
            serde_json::json!({"action": "created", "repository": repository, "package": {
                "type": "container", "name": "web", "version": "latest", "owner": {"login": "acme"}}}),
        ),
        sample(
            "Releases",
            "release",
            serde_json::json!({"action": "published", "repository": repository,
                "release": {"tag_name": "v1.0", "draft": false}}),
        ),
    ]
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let repository = serde_json::json!({"full_name": "acme/web"});
    let mut samples = family_samples("X-Gitea-Event");
    samples.push(super::Sample {
        event: "Workflow Runs",
        headers: vec![("X-Gitea-Event", "workflow_run")],
        body: serde_json::json!({"action": "completed", "repository": repository, "workflow_run": {
            "event": "push", "conclusion": "success", "head_branch": "main", "path": ".gitea/workflows/image.yml",
            "head_repository": repository}}),
    });
    samples
}
