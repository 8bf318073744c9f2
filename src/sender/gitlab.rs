//! GitLab: the event is named in the body, which signing tokens sign together with id and time.

use serde_json::Value;

use super::git::{self, is_true, require, text};
use super::{
    DefaultScheme, Definition, EventKind, Fact, ParseSettings, Parser, SetupText, header, outcome,
};
use crate::event::{Event, ParseError, ParseOutcome, quoted};
use crate::signature::{TokenKind, Verified};
use crate::stack::order::Cause;

pub(super) const SENDER: Definition = Definition {
    name: "gitlab",
    default_scheme: DefaultScheme::BySecret,
    token: ("x-gitlab-token", TokenKind::Raw),
    events: &[
        EventKind::git("push", &[Fact::Branch, Fact::Repository, Fact::Paths]),
        EventKind::git("tag_push", &[Fact::Tag, Fact::Repository, Fact::Paths]),
        EventKind::git("pipeline", Fact::RUN),
        EventKind::git("deployment", Fact::DEPLOYMENT),
        EventKind::publication("release", Fact::IMAGE),
    ],
    parse: Parser::Code(parse),
    setup: SetupText {
        location: "project or group > Settings > Webhooks > Add new webhook",
        subscribe: "Pipeline events",
        rules: "branches = [\"main\"]",
        notes: &[
            "GitLab 19 and later: take the signing token (whsec_…); earlier: the secret token",
            "a push comes before its image is built, a successful pipeline afterwards; choose both and there are two updates; for a git stack choose Push events instead",
            "a child pipeline acts only if rule \"workflows\" names it, by its name or as \"parent_pipeline\"",
            "a self-managed GitLab calls private addresses only when the administrator allows requests to the local network",
            "GitLab stops calling a hook after four failures in a row; a test that succeeds resumes it",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

/// Parses a delivery of a project, group or system hook.
fn parse(verified: &Verified<'_>, _: &ParseSettings<'_>) -> Result<ParseOutcome, ParseError> {
    let body = verified.json()?;
    let name = text(&body, "/object_kind").or_else(|| text(&body, "/event_name"));
    let event = match name {
        Some(name @ ("push" | "tag_push")) => push(name, &body),
        Some("pipeline") => pipeline(&body),
        Some("deployment") => deployment(&body),
        Some("release") => release(&body),
        Some(name) => Err(format!("event {} means nothing new", quoted(name))),
        None => Err("nothing at \"/object_kind\"".to_owned()),
    };
    // The key is kept when a delivery is repeated.
    let id =
        header(verified, "idempotency-key").or_else(|| header(verified, "x-gitlab-event-uuid"));
    Ok(outcome(
        id,
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
    let all_listed = !from_nothing && total == u64::try_from(git::commit_count(body)).ok();
    Ok(Event {
        cause: Cause::Push(after.map(str::to_owned)),
        paths: git::paths(body, all_listed),
        ..git::on_ref(name, text(body, "/ref"))?
    })
}

/// The ref of a merge request's pipeline can be the name of its target branch.
fn pipeline(body: &Value) -> Result<Event, String> {
    require(body, "/object_attributes/status", &["success"])?;
    let source = text(body, "/object_attributes/source").unwrap_or_default();
    let for_request = body.get("merge_request").is_some_and(Value::is_object);
    if for_request || source.ends_with("_request_event") {
        return Err("a pipeline of a merge request".to_owned());
    }
    let kind = match is_true(body, "/object_attributes/tag") {
        true => "tag",
        false => "branch",
    };
    // The parent still runs when its child has succeeded.
    let is_chained = source == "parent_pipeline";
    let child = is_chained.then_some(source);
    let names = [text(body, "/object_attributes/name"), child];
    Ok(Event {
        workflows: names.into_iter().flatten().map(str::to_owned).collect(),
        is_chained,
        ..git::on_short_ref("pipeline", text(body, "/object_attributes/ref"), kind)?
    })
}

/// The event does not say whether the ref is a branch or a tag.
fn deployment(body: &Value) -> Result<Event, String> {
    require(body, "/status", &["success"])?;
    Ok(Event {
        name: "deployment".to_owned(),
        refs: git::unknown_ref(text(body, "/ref")),
        environment: git::owned(body, "/environment"),
        ..Event::default()
    })
}

fn release(body: &Value) -> Result<Event, String> {
    require(body, "/action", &["create"])?;
    git::on_short_ref("release", text(body, "/tag"), "tag")
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let project = serde_json::json!({"path_with_namespace": "acme/web"});
    let sample = super::Sample::new;
    vec![
        sample(
            "Pipeline events",
            serde_json::json!({"object_kind": "pipeline", "project": project,
                "object_attributes": {"ref": "main", "tag": false, "status": "success", "source": "push"}}),
        ),
        sample(
            "Push events",
            serde_json::json!({"object_kind": "push", "ref": "refs/heads/main", "after": "aa", "project": project}),
        ),
    ]
}
