//! GitHub, GitHub Enterprise, and GHCR through them. The signature covers the body alone; event and delivery id are in headers.

use std::borrow::Cow;

use serde_json::Value;

use super::git::{self, is_true, require, text};
use super::{
    DefaultScheme, Definition, EventKind, Fact, ParseSettings, Parser, SetupText, header, ignored,
    outcome,
};
use crate::event::{Event, EventRef, ParseError, ParseOutcome, quoted};
use crate::image::Reference;
use crate::json;
use crate::message;
use crate::signature::{SchemeName, Verified};
use crate::stack::order::Cause;

pub(super) const SENDER: Definition = Definition {
    name: "github",
    default_scheme: DefaultScheme::Always(SchemeName::Github),
    events: &[
        EventKind::git("push", Fact::PUSH),
        EventKind::git("workflow_run", Fact::RUN),
        EventKind::publication("package", Fact::IMAGE),
        EventKind::publication("registry_package", Fact::IMAGE),
        EventKind::publication("release", &[Fact::Tag, Fact::Repository, Fact::Prerelease]),
        EventKind::git("deployment_status", Fact::DEPLOYMENT),
        EventKind::git("create", Fact::GIT).on_request(),
    ],
    parse: Parser::Code(parse),
    setup: SetupText {
        location: "repository or organisation > Settings > Webhooks > Add webhook",
        subscribe: "\"Let me select individual events\": Workflow runs",
        json_content_type: true,
        rules: "branches = [\"main\"]\nimages = [\"ghcr.io/you/app:*\"]",
        notes: &[
            "GitHub does not repeat a failed delivery by itself, and does not call localhost or private addresses",
            "a push usually comes before its image is built, a workflow run afterwards, and rule \"images\" says what it has built; for a git stack choose Pushes instead",
            "every successful workflow acts, also one that only checks the code; workflows = [\"image.yml\"] limits the hook to one, by file or name",
            "a workflow that was started by another workflow acts only if rule \"workflows\" names it",
            "Redeliver within 15 minutes after a success is answered with the first result, marked \"repeated\"",
        ],
    },
    ..Definition::DEFAULT
};

/// A push lists no more commits than this.
const COMMITS_MAX: usize = 2048;

/// Parses a delivery, JSON or form.
fn parse(verified: &Verified<'_>, _: &ParseSettings<'_>) -> Result<ParseOutcome, ParseError> {
    let Some(name) = header(verified, "x-github-event") else {
        return ignored("header X-GitHub-Event is missing");
    };
    if name == "ping" {
        return ignored("ping");
    }
    let body: Value = json::from_slice(&unwrap_form(verified))?;
    let event = match name.as_str() {
        "push" => push(&body),
        "package" | "registry_package" => package(&name, &body),
        "workflow_run" => git::workflow_run(&body),
        "release" => release(&body),
        "deployment_status" => deployment_status(&body),
        "create" => git::create(&body),
        "delete" => Err("a deletion".to_owned()),
        _ => Err(format!("event {} means nothing new", quoted(&name))),
    };
    let id = header(verified, "x-github-delivery");
    Ok(outcome(
        id,
        event.map(|event| vec![git::in_repository(event, &body, "/repository/full_name")]),
    ))
}

/// The JSON, which a form carries in its field `payload`.
fn unwrap_form<'r>(verified: &Verified<'r>) -> Cow<'r, [u8]> {
    let bytes = verified.bytes();
    let payload = bytes
        .starts_with(b"payload=")
        .then(|| message::form(bytes))
        .and_then(|pairs| pairs.into_iter().next());
    match payload {
        Some((_, json)) => Cow::Owned(json.into_bytes()),
        None => Cow::Borrowed(bytes),
    }
}

fn push(body: &Value) -> Result<Event, String> {
    let after = text(body, "/after");
    if is_true(body, "/deleted") || after.is_some_and(git::is_zero) {
        return Err("a deletion".to_owned());
    }
    // A new or rewritten branch differs from what was there before by more than the commits that are listed.
    let all_listed = !is_true(body, "/created")
        && !is_true(body, "/forced")
        && git::commit_count(body) < COMMITS_MAX;
    Ok(Event {
        cause: Cause::Push(after.map(str::to_owned)),
        paths: git::paths(body, all_listed),
        ..git::on_ref("push", text(body, "/ref"))?
    })
}

/// A push of several architectures makes one event without a tag for each of them, and one with.
fn package(name: &str, body: &Value) -> Result<Event, String> {
    require(body, "/action", &["published", "updated"])?;
    let package = body
        .get(name)
        .ok_or_else(|| format!("nothing at \"/{name}\""))?;
    let kind = text(package, "/package_type").unwrap_or_default();
    if !kind.eq_ignore_ascii_case("container") && !kind.eq_ignore_ascii_case("docker") {
        return Err(format!(
            "a package of type {} is not an image",
            quoted(kind)
        ));
    }
    let tag = text(package, "/package_version/container_metadata/tag/name")
        .ok_or("a manifest without a tag")?;
    let name_on_registry = match text(package, "/package_version/package_url") {
        Some(url) => url
            .strip_suffix(&format!(":{tag}"))
            .unwrap_or(url)
            .to_owned(),
        None => format!(
            "ghcr.io/{}/{}",
            text(package, "/owner/login").unwrap_or_default(),
            text(package, "/name").unwrap_or_default()
        ),
    };
    // Owners may have capitals, image names never; tags may.
    let image = format!("{}:{tag}", name_on_registry.to_lowercase());
    let image = Reference::parse(&image)
        .map_err(|error| format!("image {} cannot be read: {error}", quoted(&image)))?;
    Ok(Event {
        name: name.to_owned(),
        cause: Cause::Image,
        refs: vec![EventRef::ImageTag(tag.to_owned())],
        repository: git::owned(package, "/repository/full_name"),
        images: vec![image],
        ..Event::default()
    })
}

fn release(body: &Value) -> Result<Event, String> {
    require(body, "/action", &["published", "released"])?;
    if is_true(body, "/release/draft") {
        return Err("a draft".to_owned());
    }
    Ok(Event {
        name: "release".to_owned(),
        refs: git::owned(body, "/release/tag_name")
            .map(EventRef::Tag)
            .into_iter()
            .collect(),
        is_prerelease: body.pointer("/release/prerelease").and_then(Value::as_bool),
        ..Event::default()
    })
}

/// The ref may be a branch, a tag or a commit, and the event does not say which.
fn deployment_status(body: &Value) -> Result<Event, String> {
    require(body, "/deployment_status/state", &["success"])?;
    let environment = git::owned(body, "/deployment_status/environment")
        .or_else(|| git::owned(body, "/deployment/environment"));
    Ok(Event {
        name: "deployment_status".to_owned(),
        refs: git::unknown_ref(text(body, "/deployment/ref")),
        environment,
        ..Event::default()
    })
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let repository = serde_json::json!({"full_name": "acme/web"});
    let sample = |event, name, body| super::Sample {
        event,
        headers: vec![("X-GitHub-Event", name)],
        body,
    };
    vec![
        sample(
            "Workflow runs",
            "workflow_run",
            serde_json::json!({"action": "completed", "repository": repository, "workflow_run": {
                "event": "push", "conclusion": "success", "head_branch": "main", "path": ".github/workflows/image.yml",
                "head_repository": repository}}),
        ),
        sample(
            "Pushes",
            "push",
            serde_json::json!({"ref": "refs/heads/main", "after": "aa", "repository": repository}),
        ),
    ]
}
