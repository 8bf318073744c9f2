//! Azure DevOps service hooks.

use super::rows::{self, EventName, Row, When};
use super::{Definition, EventKind, Fact, SetupText};
use crate::event::{ParseError, ParseOutcome};
use crate::signature::{TokenKind, Verified};

const RUN: &str = "ms.vss-pipelines.run-state-changed-event";

pub(super) const SENDER: Definition = Definition {
    name: "azure-devops",
    token: ("authorization", TokenKind::Basic),
    events: &[
        EventKind::git("git.push", &[Fact::Branch, Fact::Tag, Fact::Repository]),
        EventKind::git(
            "build.complete",
            &[Fact::Branch, Fact::Tag, Fact::Repository, Fact::Workflow],
        ),
        // Its documented body states no branch.
        EventKind::git(RUN, &[Fact::Workflow]),
    ],
    parse,
    setup: SetupText {
        location: "project > Project settings > Service hooks > Create subscription > Web Hooks",
        subscribe: "Build completed",
        rules: "branches = [\"main\"]",
        notes: &[
            "for a git stack choose Code pushed",
            "Run state changed states the pipeline and no branch: it acts only in a hook without rule \"branches\"; workflows = [\"image\"] limits it to one pipeline",
            "basic authentication needs https; localhost and special addresses are refused",
        ],
        ..Definition::DEFAULT.setup
    },
    ..Definition::DEFAULT
};

fn parse(
    verified: &Verified<'_>,
    settings: &super::Settings<'_>,
) -> Result<ParseOutcome, ParseError> {
    let push = Row {
        when: When::Is("/eventType", "git.push"),
        each: Some("/resource/refUpdates/*"),
        event: EventName::Always("git.push"),
        full_ref: vec!["/name"],
        repository: Some("#/resource/repository/name"),
        commit: Some("/newObjectId"),
        id: Some("#/id"),
        ..Row::default()
    };
    let build = Row {
        when: When::Is("/eventType", "build.complete"),
        event: EventName::Always("build.complete"),
        // Version 1.0 of the resource has "LG:refs/heads/main:COMMIT" instead.
        full_ref: vec!["/resource/sourceBranch", "/resource/sourceGetVersion"],
        repository: Some("/resource/repository/name"),
        workflow: Some("/resource/definition/name"),
        id: Some("/id"),
        // Partially: with warnings, or steps that may fail; Azure's own triggers accept such builds.
        require: vec![(
            vec!["/resource/result", "/resource/status"],
            vec!["succeeded", "partiallySucceeded"],
        )],
        ..Row::default()
    };
    let run = Row {
        when: When::Is("/eventType", RUN),
        event: EventName::Always(RUN),
        full_ref: vec!["/resource/run/resources/repositories/self/refName"],
        workflow: Some("/resource/pipeline/name"),
        id: Some("/id"),
        require: vec![
            (vec!["/resource/run/state"], vec!["completed"]),
            (vec!["/resource/run/result"], vec!["succeeded"]),
        ],
        ..Row::default()
    };
    rows::parse(&[push, build, run], verified, settings)
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let sample = |event, body| super::Sample {
        event,
        headers: Vec::new(),
        body,
    };
    vec![
        sample(
            "Build completed",
            serde_json::json!({"eventType": "build.complete", "id": "1", "resource": {
                "status": "completed", "result": "succeeded", "sourceBranch": "refs/heads/main"}}),
        ),
        sample(
            "Code pushed",
            serde_json::json!({"eventType": "git.push", "id": "2", "resource": {"repository": {"name": "web"},
                "refUpdates": [{"name": "refs/heads/main", "newObjectId": "aa"}]}}),
        ),
    ]
}
