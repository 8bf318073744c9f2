//! Diun, which watches registries.

use super::rows::{self, EventName, Row};
use super::{Definition, EventKind, Settings, SetupText};
use crate::event::{ParseError, ParseOutcome};
use crate::signature::Verified;

pub(super) const SENDER: Definition = Definition {
    name: "diun",
    events: &[EventKind::image("new"), EventKind::image("update")],
    parse,
    setup: SetupText {
        location: "diun.yml, under notif > webhook",
        subscribe: "new, update",
        rules: "images = [\"registry.example.com/you/app:*\"]",
        notes: &["set method: POST, because Diun sends GET by default"],
        ..Definition::DEFAULT.setup
    },
    ..Definition::DEFAULT
};

fn parse(verified: &Verified<'_>, settings: &Settings<'_>) -> Result<ParseOutcome, ParseError> {
    let row = Row {
        event: EventName::At("/status"),
        image: Some("/image"),
        require: vec![(vec!["/status"], vec!["new", "update"])],
        ..Row::default()
    };
    rows::parse(&[row], verified, settings)
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample {
        event: "update",
        headers: Vec::new(),
        body: serde_json::json!({"status": "update", "image": "registry.example.com/you/app:latest"}),
    }]
}
