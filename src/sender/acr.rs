//! Azure Container Registry.

use super::rows::{self, EventName, Host, Row};
use super::{Definition, EventKind, Settings, SetupText};
use crate::event::{ParseError, ParseOutcome};
use crate::signature::Verified;

pub(super) const SENDER: Definition = Definition {
    name: "acr",
    events: &[EventKind::image("push")],
    parse,
    setup: SetupText {
        location: "container registry > Services > Webhooks > Add",
        subscribe: "push",
        rules: "images = [\"you.azurecr.io/you/app:*\"]",
        notes: &["add the header under custom headers"],
        ..Definition::DEFAULT.setup
    },
    ..Definition::DEFAULT
};

fn parse(verified: &Verified<'_>, settings: &Settings<'_>) -> Result<ParseOutcome, ParseError> {
    let row = Row {
        event: EventName::At("/action"),
        repository: Some("/target/repository"),
        image: Some("/target/repository"),
        tag: Some("/target/tag"),
        host: Host::At("/request/host"),
        id: Some("/id"),
        require: vec![(vec!["/action"], vec!["push"])],
        ..Row::default()
    };
    rows::parse(&[row], verified, settings)
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample {
        event: "push",
        headers: Vec::new(),
        body: serde_json::json!({"id": "1", "action": "push", "request": {"host": "you.azurecr.io"},
            "target": {"repository": "you/app", "tag": "latest"}}),
    }]
}
