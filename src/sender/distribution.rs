//! The CNCF registry, once `docker/distribution`.

use super::layout::{EventName, Host, Layout};
use super::{Definition, EventKind, Parser, SetupText};

/// Media types of images; layers and configurations are pushed too.
const MANIFESTS: [&str; 5] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

pub(super) const SENDER: Definition = Definition {
    name: "distribution",
    events: &[EventKind::image("push")],
    has_registry_alias: true,
    parse: Parser::Layouts(|| {
        vec![Layout {
            each: Some("/events/*"),
            event: EventName::At("/action"),
            repository: Some("/target/repository"),
            image: Some("/target/repository"),
            tag: Some("/target/tag"),
            host: Host::At("/request/host"),
            id: Some("/id"),
            // A redeploy pulls: acting on pulls would never end.
            require: vec![
                (vec!["/action"], vec!["push"]),
                (vec!["/target/mediaType"], MANIFESTS.to_vec()),
            ],
            ..Layout::default()
        }]
    }),
    setup: SetupText {
        location: "the registry's configuration file, under notifications > endpoints",
        subscribe: "push",
        rules: "images = [\"registry.example.com/you/app:*\"]",
        notes: &[
            "pull events are ignored here; ignoring them in the registry (ignore: actions: [pull]) spares the calls",
            "if the registry calls itself by another name than your stacks do: registry = { \"registry:5000\" = \"registry.example.com\" }",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "push",
        serde_json::json!({"events": [{"id": "1", "action": "push", "request": {"host": "registry.example.com"},
            "target": {"repository": "you/app", "tag": "latest", "mediaType": MANIFESTS[0]}}]}),
    )]
}
