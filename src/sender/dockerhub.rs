//! Docker Hub, which cannot sign. Its body names the repository and the tag.

use super::rows::{self, EventName, Host, Row};
use super::{DefaultScheme, Definition, EventKind, Settings, SetupText};
use crate::event::{ParseError, ParseOutcome};
use crate::signature::{SchemeName, Verified};

pub(super) const SENDER: Definition = Definition {
    name: "dockerhub",
    default_scheme: DefaultScheme::Always(SchemeName::UrlToken),
    events: &[EventKind::image("push")],
    parse,
    setup: SetupText {
        location: "repository > Webhooks > New webhook",
        subscribe: "every push",
        rules: "images = [\"docker.io/you/app:*\"]",
        notes: &[
            "Docker Hub cannot sign: the secret is in the URL, and in the log of every proxy on the way",
            "an image for several architectures is reported several times; the deliveries are joined",
        ],
        ..Definition::DEFAULT.setup
    },
    ..Definition::DEFAULT
};

fn parse(verified: &Verified<'_>, settings: &Settings<'_>) -> Result<ParseOutcome, ParseError> {
    let row = Row {
        event: EventName::Always("push"),
        repository: Some("/repository/repo_name"),
        image: Some("/repository/repo_name"),
        tag: Some("/push_data/tag"),
        host: Host::Always("docker.io"),
        ..Row::default()
    };
    rows::parse(&[row], verified, settings)
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample {
        event: "push",
        headers: Vec::new(),
        body: serde_json::json!({"push_data": {"tag": "latest"}, "repository": {"repo_name": "you/app"}}),
    }]
}
