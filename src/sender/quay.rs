//! Quay, which cannot sign. Its body lists the tags that were updated.

use super::rows::{self, EventName, Row};
use super::{DefaultScheme, Definition, EventKind, Settings, SetupText};
use crate::event::{ParseError, ParseOutcome};
use crate::signature::{SchemeName, Verified};

pub(super) const SENDER: Definition = Definition {
    name: "quay",
    default_scheme: DefaultScheme::Always(SchemeName::UrlToken),
    events: &[EventKind::image("push")],
    parse,
    setup: SetupText {
        location: "repository > Settings > Events and notifications > Create notification > Webhook POST",
        subscribe: "Push to Repository",
        rules: "images = [\"quay.io/you/app:*\"]",
        notes: &[
            "Quay cannot sign: the secret is in the URL, and in the log of every proxy on the way",
            "Quay disables the notification after three failures",
        ],
        ..Definition::DEFAULT.setup
    },
    ..Definition::DEFAULT
};

fn parse(verified: &Verified<'_>, settings: &Settings<'_>) -> Result<ParseOutcome, ParseError> {
    let row = Row {
        event: EventName::Always("push"),
        repository: Some("/repository"),
        image: Some("/docker_url"),
        tag: Some("/updated_tags/*"),
        ..Row::default()
    };
    rows::parse(&[row], verified, settings)
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample {
        event: "push",
        headers: Vec::new(),
        body: serde_json::json!({"docker_url": "quay.io/you/app", "repository": "you/app", "updated_tags": ["latest"]}),
    }]
}
