//! GitLab: what happened is in the body, which signing tokens sign together with id and time.

use serde_json::Value;

use super::git::{self, is, text, wants};
use super::{Event, Reading, Unreadable, header, quoted};
use crate::signature::Verified;
use crate::stack::order::Cause;

/// Reads a delivery of a project, group or system hook.
pub(super) fn read(verified: &Verified<'_>) -> Result<Reading, Unreadable> {
    let body = verified
        .json()
        .map_err(|error| Unreadable::not_read(&error))?;
    let name = text(&body, "/object_kind").or_else(|| text(&body, "/event_name"));
    let event = match name {
        Some(name @ ("push" | "tag_push")) => push(name, &body),
        Some("pipeline") => pipeline(&body),
        Some("deployment") => deployment(&body),
        Some("release") => release(&body),
        Some(name) => Err(format!("event {} means nothing new", quoted(name))),
        None => Err("nothing at \"/object_kind\"".to_owned()),
    };
    // The key is kept when a delivery is tried or sent again.
    let id =
        header(verified, "idempotency-key").or_else(|| header(verified, "x-gitlab-event-uuid"));
    Ok(Reading::of(
        verified.stamp().map(|stamp| stamp.id.clone()).or(id),
        event.map(|event| {
            vec![git::in_repository(
                event,
                &body,
                "/project/path_with_namespace",
            )]
        }),
    ))
}

fn push(name: &str, body: &Value) -> Result<Event, String> {
    let after = text(body, "/after");
    let gone = body.get("checkout_sha").is_some_and(Value::is_null);
    if gone || after.is_some_and(git::is_zero) {
        return Err("a deletion".to_owned());
    }
    let total = body.get("total_commits_count").and_then(Value::as_u64);
    let from_nothing = text(body, "/before").is_none_or(git::is_zero);
    let all_listed = !from_nothing && total == u64::try_from(git::listed(body)).ok();
    Ok(Event {
        cause: Cause::Push(after.map(str::to_owned)),
        paths: git::paths(body, all_listed),
        ..git::on_ref(name, text(body, "/ref"))?
    })
}

/// The ref of a merge request's pipeline can be the name of the branch it wants to go to.
fn pipeline(body: &Value) -> Result<Event, String> {
    wants(body, "/object_attributes/status", &["success"])?;
    let source = text(body, "/object_attributes/source").unwrap_or_default();
    let for_request = body.get("merge_request").is_some_and(Value::is_object);
    if for_request || source.ends_with("_request_event") {
        return Err("a pipeline of a merge request".to_owned());
    }
    let kind = match is(body, "/object_attributes/tag") {
        true => "tag",
        false => "branch",
    };
    git::on_short_ref("pipeline", text(body, "/object_attributes/ref"), kind)
}

/// The event does not say whether the ref is a branch or a tag; mostly it is a branch.
fn deployment(body: &Value) -> Result<Event, String> {
    wants(body, "/status", &["success"])?;
    git::on_short_ref("deployment", text(body, "/ref"), "branch")
}

fn release(body: &Value) -> Result<Event, String> {
    wants(body, "/action", &["create"])?;
    git::on_short_ref("release", text(body, "/tag"), "tag")
}
