//! Gitea, Forgejo and Gogs: one family of payloads under three names of headers.

use serde_json::Value;

use super::git::{self, is, text, wants};
use super::{Event, Reading, Sender, Unreadable, header, ignored, quoted};
use crate::image::Reference;
use crate::signature::Verified;
use crate::stack::order::Cause;

/// How many commits a push lists where nobody configured it otherwise, and the payload does not give the total.
const COMMITS_LISTED: usize = 5;

/// Reads a delivery.
pub(super) fn read(sender: Sender, verified: &Verified<'_>) -> Result<Reading, Unreadable> {
    let (event_header, id_header) = match sender {
        Sender::Forgejo => ("x-forgejo-event", "x-forgejo-delivery"),
        Sender::Gogs => ("x-gogs-event", "x-gogs-delivery"),
        _ => ("x-gitea-event", "x-gitea-delivery"),
    };
    let Some(name) = header(verified, event_header) else {
        return ignored(&format!("there is no header {event_header}"));
    };
    if name == "ping" {
        return ignored("ping");
    }
    let body = verified
        .json()
        .map_err(|error| Unreadable::not_read(&error))?;
    let event = match name.as_str() {
        "push" => push(&body),
        "release" => release(&body),
        "package" => package(&body),
        "create" => git::create(&body),
        "delete" => Err("a deletion".to_owned()),
        _ => Err(format!("event {} means nothing new", quoted(&name))),
    };
    Ok(Reading::of(
        header(verified, id_header),
        event.map(|event| vec![git::in_repository(event, &body, "/repository/full_name")]),
    ))
}

fn push(body: &Value) -> Result<Event, String> {
    let after = text(body, "/after");
    if after.is_some_and(git::is_zero) {
        return Err("a deletion".to_owned());
    }
    let listed = git::listed(body);
    let none_missing = match body.get("total_commits").and_then(Value::as_u64) {
        Some(total) => u64::try_from(listed) == Ok(total),
        None => listed < COMMITS_LISTED,
    };
    let from_nothing = text(body, "/before").is_none_or(git::is_zero);
    Ok(Event {
        cause: Cause::Push(after.map(str::to_owned)),
        paths: git::paths(body, none_missing && !from_nothing),
        ..git::on_ref("push", text(body, "/ref"))?
    })
}

fn release(body: &Value) -> Result<Event, String> {
    wants(body, "/action", &["published"])?;
    if is(body, "/release/draft") {
        return Err("a draft".to_owned());
    }
    git::on_short_ref("release", text(body, "/release/tag_name"), "tag")
}

/// A container image in the built-in registry. Under which host it is pulled, the payload does not say.
fn package(body: &Value) -> Result<Event, String> {
    wants(body, "/action", &["created"])?;
    wants(body, "/package/type", &["container"])?;
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
        tag: Some(tag.to_owned()),
        repository: Some(format!("{owner}/{name}")),
        images: vec![image],
        ..Event::default()
    })
}
