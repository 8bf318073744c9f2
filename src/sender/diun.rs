//! Diun, which watches registries.

use super::layout::{EventName, Layout};
use super::{Definition, EventKind, Parser, SetupText};

pub(super) const SENDER: Definition = Definition {
    name: "diun",
    events: &[EventKind::image("new"), EventKind::image("update")],
    parse: Parser::Layouts(|| {
        vec![Layout {
            event: EventName::At("/status"),
            image: Some("/image"),
            require: vec![(vec!["/status"], vec!["new", "update"])],
            ..Layout::default()
        }]
    }),
    setup: SetupText {
        location: "diun.yml, under notif > webhook",
        subscribe: "new, update",
        rules: "images = [\"registry.example.com/you/app:*\"]",
        notes: &["set method: POST, because Diun sends GET by default"],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "update",
        serde_json::json!({"status": "update", "image": "registry.example.com/you/app:latest"}),
    )]
}
