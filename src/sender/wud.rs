//! What's Up Docker, which watches registries.

use super::rows::{self, EventName, Host, Row, When};
use super::{Definition, EventKind, Settings, SetupText};
use crate::event::{ParseError, ParseOutcome};
use crate::signature::Verified;

pub(super) const SENDER: Definition = Definition {
    name: "wud",
    events: &[EventKind::image("update")],
    parse,
    setup: SetupText {
        location: "the environment of WUD: WUD_TRIGGER_HTTP_…",
        subscribe: "every delivery",
        rules: "images = [\"registry.example.com/you/app:*\"]",
        notes: &[
            "only updates under the tag that runs are deployed; a newer tag needs a change of the stack",
        ],
        ..Definition::DEFAULT.setup
    },
    ..Definition::DEFAULT
};

fn parse(verified: &Verified<'_>, settings: &Settings<'_>) -> Result<ParseOutcome, ParseError> {
    // A newer tag than the one that runs is in /result/tag; the stack does not run it.
    let container = Row {
        event: EventName::Always("update"),
        repository: Some("/image/name"),
        image: Some("/image/name"),
        tag: Some("/image/tag/value"),
        host: Host::At("/image/registry/url"),
        ..Row::default()
    };
    let batch = Row {
        when: When::List,
        each: Some("/*"),
        ..container.clone()
    };
    rows::parse(&[batch, container], verified, settings)
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample {
        event: "update",
        headers: Vec::new(),
        body: serde_json::json!({"image": {"name": "you/app", "tag": {"value": "latest"},
            "registry": {"url": "https://registry.example.com/v2"}}}),
    }]
}
