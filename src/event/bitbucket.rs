//! Bitbucket Cloud and Data Center: one push may change several refs, each is an event.

use serde_json::Value;

use super::git::{self, text};
use super::{Event, Reading, Unreadable, header, ignored, quoted};
use crate::signature::Verified;
use crate::stack::order::Cause;

/// Reads a delivery.
pub(super) fn read(verified: &Verified<'_>) -> Result<Reading, Unreadable> {
    let Some(name) = header(verified, "x-event-key") else {
        return ignored("there is no header X-Event-Key");
    };
    if name == "diagnostics:ping" {
        return ignored("ping");
    }
    let body = verified
        .json()
        .map_err(|error| Unreadable::not_read(&error))?;
    let (changes, read, repository): (_, fn(&Value) -> _, _) = match name.as_str() {
        "repo:push" => (
            "/push/changes",
            cloud,
            git::owned(&body, "/repository/full_name"),
        ),
        "repo:refs_changed" => ("/changes", data_center, slug(&body)),
        _ => return ignored(&format!("event {} means nothing new", quoted(&name))),
    };
    let Some(changes) = body.pointer(changes).and_then(Value::as_array) else {
        return ignored(&format!("nothing at \"{changes}\""));
    };
    let mut events = Vec::new();
    let mut why = "the push changes nothing".to_owned();
    for change in changes {
        match read(change) {
            Ok(event) => events.push(Event {
                repository: repository.clone(),
                ..event
            }),
            Err(reason) => why = reason,
        }
    }
    // Cloud's id is kept when a delivery is tried again.
    let id = header(verified, "x-request-uuid").or_else(|| header(verified, "x-request-id"));
    Ok(Reading::of(
        id,
        match events.is_empty() {
            true => Err(why),
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

fn slug(body: &Value) -> Option<String> {
    let project = text(body, "/repository/project/key")?;
    let slug = text(body, "/repository/slug")?;
    Some(format!("{project}/{slug}"))
}
