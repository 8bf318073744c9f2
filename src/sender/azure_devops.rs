//! Azure DevOps service hooks.

use super::layout::{EventName, Layout, When};
use super::{Definition, EventKind, Fact, Parser, SetupText};
use crate::signature::TokenKind;

const RUN: &str = "ms.vss-pipelines.run-state-changed-event";

pub(super) const SENDER: Definition = Definition {
    name: "azure-devops",
    token: ("authorization", TokenKind::Basic),
    events: &[
        EventKind::git("git.push", Fact::GIT),
        EventKind::git("build.complete", Fact::RUN),
        // Its documented body states no branch.
        EventKind::git(RUN, &[Fact::Workflow]),
    ],
    parse: Parser::Layouts(|| {
        let push = Layout {
            when: When::Is("/eventType", "git.push"),
            each: Some("/resource/refUpdates/*"),
            event: EventName::Always("git.push"),
            full_ref: vec!["/name"],
            repository: Some("#/resource/repository/name"),
            commit: Some("/newObjectId"),
            id: Some("#/id"),
            ..Layout::default()
        };
        let build = Layout {
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
            ..Layout::default()
        };
        let run = Layout {
            when: When::Is("/eventType", RUN),
            event: EventName::Always(RUN),
            full_ref: vec!["/resource/run/resources/repositories/self/refName"],
            workflow: Some("/resource/pipeline/name"),
            id: Some("/id"),
            require: vec![
                (vec!["/resource/run/state"], vec!["completed"]),
                (vec!["/resource/run/result"], vec!["succeeded"]),
            ],
            ..Layout::default()
        };
        vec![push, build, run]
    }),
    setup: SetupText {
        location: "project > Project settings > Service hooks > Create subscription > Web Hooks",
        subscribe: "Build completed",
        rules: "branches = [\"main\"]",
        notes: &[
            "for a git stack choose Code pushed",
            "Run state changed states the pipeline and no branch: it acts only in a hook without rule \"branches\"; workflows = [\"image\"] limits it to one pipeline",
            "basic authentication needs https; localhost and special addresses are refused",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let sample = super::Sample::new;
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
