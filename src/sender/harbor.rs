//! Harbor, in its own format or as CloudEvents.

use super::layout::{EventName, Layout, When};
use super::{Definition, EventKind, Parser, SetupText};
use crate::signature::TokenKind;

pub(super) const SENDER: Definition = Definition {
    name: "harbor",
    token: ("authorization", TokenKind::Raw),
    events: &[EventKind::image("PUSH_ARTIFACT")],
    has_registry_alias: true,
    parse: Parser::Layouts(|| {
        let own = Layout {
            when: When::Is("/type", "PUSH_ARTIFACT"),
            each: Some("/event_data/resources/*"),
            event: EventName::Always("PUSH_ARTIFACT"),
            repository: Some("#/event_data/repository/repo_full_name"),
            image: Some("/resource_url"),
            tag: Some("/tag"),
            ..Layout::default()
        };
        let cloud_event = Layout {
            when: When::Is("/type", "harbor.artifact.pushed"),
            each: Some("/data/resources/*"),
            repository: Some("#/data/repository/repo_full_name"),
            id: Some("#/id"),
            ..own.clone()
        };
        vec![own, cloud_event]
    }),
    setup: SetupText {
        location: "project > Webhooks > New webhook, notify type http",
        subscribe: "Artifact pushed (PUSH_ARTIFACT)",
        rules: "images = [\"registry.example.com/you/app:*\"]",
        notes: &[
            "Harbor sends the field \"auth header\" unchanged: enter the value as shown, without a word before it",
            "if Harbor calls itself by another name than your stacks do: registry = { \"harbor:8080\" = \"registry.example.com\" }",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "PUSH_ARTIFACT",
        serde_json::json!({"type": "PUSH_ARTIFACT", "event_data": {
            "repository": {"repo_full_name": "you/app"},
            "resources": [{"tag": "latest", "resource_url": "registry.example.com/you/app:latest"}]}}),
    )]
}
