//! What's Up Docker, which watches registries.

use super::layout::{EventName, Host, Layout, When};
use super::{Definition, EventKind, Parser, SetupText};

pub(super) const SENDER: Definition = Definition {
    name: "wud",
    events: &[EventKind::image("update")],
    parse: Parser::Layouts(|| {
        // A newer tag than the one that runs is in /result/tag; the stack does not run it.
        let container = Layout {
            event: EventName::Always("update"),
            repository: Some("/image/name"),
            image: Some("/image/name"),
            tag: Some("/image/tag/value"),
            host: Host::At("/image/registry/url"),
            ..Layout::default()
        };
        let batch = Layout {
            when: When::List,
            each: Some("/*"),
            ..container.clone()
        };
        vec![batch, container]
    }),
    setup: SetupText {
        location: "the environment of WUD: WUD_TRIGGER_HTTP_…",
        subscribe: "every delivery",
        rules: "images = [\"registry.example.com/you/app:*\"]",
        notes: &[
            "only updates under the tag that runs are deployed; a newer tag needs a change of the stack",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "update",
        serde_json::json!({"image": {"name": "you/app", "tag": {"value": "latest"},
            "registry": {"url": "https://registry.example.com/v2"}}}),
    )]
}
