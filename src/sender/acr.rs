//! Azure Container Registry.

use super::layout::{EventName, Host, Layout};
use super::{Definition, EventKind, Parser, SetupText};

pub(super) const SENDER: Definition = Definition {
    name: "acr",
    events: &[EventKind::image("push")],
    parse: Parser::Layouts(|| {
        vec![Layout {
            event: EventName::At("/action"),
            repository: Some("/target/repository"),
            image: Some("/target/repository"),
            tag: Some("/target/tag"),
            host: Host::At("/request/host"),
            id: Some("/id"),
            require: vec![(vec!["/action"], vec!["push"])],
            ..Layout::default()
        }]
    }),
    setup: SetupText {
        location: "container registry > Services > Webhooks > Add",
        subscribe: "push",
        rules: "images = [\"you.azurecr.io/you/app:*\"]",
        notes: &["add the header under custom headers"],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "push",
        serde_json::json!({"id": "1", "action": "push", "request": {"host": "you.azurecr.io"},
            "target": {"repository": "you/app", "tag": "latest"}}),
    )]
}
