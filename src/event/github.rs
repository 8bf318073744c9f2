//! GitHub, and GHCR through it. The signature covers the body alone; event and delivery id are in headers.

use std::borrow::Cow;

use serde_json::Value;

use super::git::{self, is, text, wants};
use super::{Event, Reading, Unreadable, header, ignored, quoted};
use crate::image::Reference;
use crate::json;
use crate::message;
use crate::signature::Verified;
use crate::stack::order::Cause;

/// A push lists no more commits than this.
const COMMITS_MAX: usize = 2048;

/// Reads a delivery, JSON or form.
pub(super) fn read(verified: &Verified<'_>) -> Result<Reading, Unreadable> {
    let Some(name) = header(verified, "x-github-event") else {
        return ignored("there is no header X-GitHub-Event");
    };
    if name == "ping" {
        return ignored("ping");
    }
    let body: Value =
        json::from_slice(&unwrap(verified)).map_err(|error| Unreadable::not_read(&error))?;
    let event = match name.as_str() {
        "push" => push(&body),
        "package" | "registry_package" => package(&name, &body),
        "workflow_run" => workflow_run(&body),
        "release" => release(&body),
        "deployment_status" => deployment_status(&body),
        "create" => git::create(&body),
        "delete" => Err("a deletion".to_owned()),
        _ => Err(format!("event {} means nothing new", quoted(&name))),
    };
    let id = header(verified, "x-github-delivery");
    Ok(Reading::of(
        id,
        event.map(|event| vec![git::in_repository(event, &body, "/repository/full_name")]),
    ))
}

/// The JSON, which a form carries in its field `payload`.
fn unwrap<'r>(verified: &Verified<'r>) -> Cow<'r, [u8]> {
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
    if is(body, "/deleted") || after.is_some_and(git::is_zero) {
        return Err("a deletion".to_owned());
    }
    // A new or rewritten branch differs from what was there before by more than the commits that are listed.
    let all_listed =
        !is(body, "/created") && !is(body, "/forced") && git::listed(body) < COMMITS_MAX;
    Ok(Event {
        cause: Cause::Push(after.map(str::to_owned)),
        paths: git::paths(body, all_listed),
        ..git::on_ref("push", text(body, "/ref"))?
    })
}

/// A push of several architectures makes one event without a tag for each of them, and one with.
fn package(name: &str, body: &Value) -> Result<Event, String> {
    wants(body, "/action", &["published"])?;
    let package = body
        .get(name)
        .ok_or_else(|| format!("nothing at \"/{name}\""))?;
    let kind = text(package, "/package_type").unwrap_or_default();
    if !kind.eq_ignore_ascii_case("container") && !kind.eq_ignore_ascii_case("docker") {
        return Err(format!("a package of type {} is no image", quoted(kind)));
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
        tag: Some(tag.to_owned()),
        repository: git::owned(package, "/repository/full_name"),
        images: vec![image],
        ..Event::default()
    })
}

/// Runs for pull requests of forks carry the fork's branch name, which may be "main" too.
fn workflow_run(body: &Value) -> Result<Event, String> {
    wants(body, "/action", &["completed"])?;
    wants(body, "/workflow_run/conclusion", &["success"])?;
    wants(
        body,
        "/workflow_run/event",
        &["push", "workflow_dispatch", "schedule"],
    )?;
    let own = text(body, "/repository/full_name");
    if own.is_none() || text(body, "/workflow_run/head_repository/full_name") != own {
        return Err("a run of a fork".to_owned());
    }
    Ok(Event {
        name: "workflow_run".to_owned(),
        branch: git::owned(body, "/workflow_run/head_branch"),
        ..Event::default()
    })
}

fn release(body: &Value) -> Result<Event, String> {
    wants(body, "/action", &["published", "released"])?;
    if is(body, "/release/draft") {
        return Err("a draft".to_owned());
    }
    Ok(Event {
        name: "release".to_owned(),
        tag: git::owned(body, "/release/tag_name"),
        ..Event::default()
    })
}

/// The ref may be a branch, a tag or a commit, and the event does not say which; mostly it is a branch.
fn deployment_status(body: &Value) -> Result<Event, String> {
    wants(body, "/deployment_status/state", &["success"])?;
    let branch = text(body, "/deployment/ref");
    Ok(Event {
        name: "deployment_status".to_owned(),
        branch: branch.map(|full| full.strip_prefix("refs/heads/").unwrap_or(full).to_owned()),
        ..Event::default()
    })
}
