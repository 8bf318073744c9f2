//! Quay, which cannot sign. Its body lists the tags that were updated.

use super::layout::{EventName, Layout};
use super::{DefaultScheme, Definition, EventKind, Parser, SetupText};
use crate::signature::SchemeName;

pub(super) const SENDER: Definition = Definition {
    name: "quay",
    default_scheme: DefaultScheme::Always(SchemeName::UrlToken),
    events: &[EventKind::image("push")],
    parse: Parser::Layouts(|| {
        vec![Layout {
            event: EventName::Always("push"),
            repository: Some("/repository"),
            image: Some("/docker_url"),
            tag: Some("/updated_tags/*"),
            ..Layout::default()
        }]
    }),
    setup: SetupText {
        location: "repository > Settings > Events and notifications > Create notification > Webhook POST",
        subscribe: "Push to Repository",
        rules: "images = [\"quay.io/you/app:*\"]",
        notes: &[
            "Quay cannot sign: the secret is in the URL, and in the log of every proxy on the way",
            "Quay disables the notification after three failures",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "push",
        serde_json::json!({"docker_url": "quay.io/you/app", "repository": "you/app", "updated_tags": ["latest"]}),
    )]
}
