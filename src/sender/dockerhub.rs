//! Docker Hub, which cannot sign. Its body names the repository and the tag.

use super::layout::{EventName, Host, Layout};
use super::{DefaultScheme, Definition, EventKind, Parser, SetupText};
use crate::signature::SchemeName;

pub(super) const SENDER: Definition = Definition {
    name: "dockerhub",
    default_scheme: DefaultScheme::Always(SchemeName::UrlToken),
    events: &[EventKind::image("push")],
    parse: Parser::Layouts(|| {
        vec![Layout {
            event: EventName::Always("push"),
            repository: Some("/repository/repo_name"),
            image: Some("/repository/repo_name"),
            tag: Some("/push_data/tag"),
            host: Host::Always("docker.io"),
            ..Layout::default()
        }]
    }),
    setup: SetupText {
        location: "repository > Webhooks > New webhook",
        subscribe: "every push",
        rules: "images = [\"docker.io/you/app:*\"]",
        notes: &[
            "Docker Hub cannot sign: the secret is in the URL, and in the log of every proxy on the way",
            "an image for several architectures is reported several times; the deliveries are combined into one update",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "push",
        serde_json::json!({"push_data": {"tag": "latest"}, "repository": {"repo_name": "you/app"}}),
    )]
}
