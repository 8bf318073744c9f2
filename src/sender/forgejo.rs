//! Forgejo and Codeberg: Gitea's payloads, and runs of Forgejo Actions.

use serde_json::Value;

use super::git::{self, is_true, require, text};
use super::{DefaultScheme, Definition, EventKind, Fact, Parser, SetupText, gitea};
use crate::event::Event;
use crate::signature::SchemeName;

const RUN: &str = "action_run_success";

pub(super) const SENDER: Definition = Definition {
    name: "forgejo",
    default_scheme: DefaultScheme::Always(SchemeName::Forgejo),
    events: &[
        gitea::PUSH,
        gitea::RELEASE,
        gitea::PACKAGE,
        EventKind::git(RUN, Fact::RUN),
        gitea::CREATE,
    ],
    parse: Parser::Code(|verified, _| gitea::parse(verified, "forgejo", &[(RUN, action_run)])),
    setup: SetupText {
        location: "repository > Settings > Webhooks > Add webhook > Forgejo",
        subscribe: "Custom events: Success, under action runs",
        json_content_type: true,
        rules: "branches = [\"main\"]",
        notes: &[
            "versions without events of action runs: choose Packages; for a git stack choose Push",
            "a push comes before its image is built, an action run afterwards; workflows = [\"image.yml\"] limits the hook to one workflow",
            gitea::ALLOWED_HOSTS,
            gitea::SIGNED_JSON,
        ],
    },
    ..Definition::DEFAULT
};

/// A run of a workflow that has succeeded. The repository is a part of the run.
fn action_run(body: &Value) -> Result<Event, String> {
    require(body, "/run/status", &["success"])?;
    let trigger = text(body, "/run/trigger_event").or_else(|| text(body, "/run/event"));
    git::refuse_unmerged(trigger)?;
    // An event that starts a workflow by another name is checked too.
    if let Some(event) = text(body, "/run/event") {
        git::refuse_unmerged(Some(event))?;
    }
    if is_true(body, "/run/is_fork_pull_request") {
        return Err("a run of a fork".to_owned());
    }
    let event = Event {
        name: RUN.to_owned(),
        refs: git::unknown_ref(text(body, "/run/prettyref")),
        workflows: git::owned(body, "/run/workflow_id").into_iter().collect(),
        is_chained: trigger == Some("workflow_run"),
        ..Event::default()
    };
    Ok(git::in_repository(event, body, "/run/repository/full_name"))
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let mut samples = gitea::family_samples("X-Forgejo-Event");
    samples.push(super::Sample {
        event: "Success",
        headers: vec![("X-Forgejo-Event", RUN)],
        body: serde_json::json!({"action": "success", "prior_status": "running", "run": {
            "status": "success", "prettyref": "main", "workflow_id": "image.yml", "event": "push", "trigger_event": "push",
            "is_fork_pull_request": false, "repository": {"full_name": "acme/web"}}}),
    });
    samples
}
