//! Amazon ECR through an API destination of EventBridge.

use super::layout::{EventName, Host, Layout};
use super::{Definition, EventKind, Parser, SetupText};

pub(super) const SENDER: Definition = Definition {
    name: "ecr",
    events: &[EventKind::image("PUSH")],
    parse: Parser::Layouts(|| {
        vec![Layout {
            event: EventName::At("/detail/action-type"),
            repository: Some("/detail/repository-name"),
            image: Some("/detail/repository-name"),
            tag: Some("/detail/image-tag"),
            host: Host::Ecr,
            id: Some("/id"),
            require: vec![
                (vec!["/detail/action-type"], vec!["PUSH"]),
                (vec!["/detail/result"], vec!["SUCCESS"]),
            ],
            ..Layout::default()
        }]
    }),
    setup: SetupText {
        location: "EventBridge > a rule on ECR Image Action, with an API destination as its target",
        subscribe: "PUSH with result SUCCESS",
        rules: "images = [\"123456789012.dkr.ecr.eu-west-1.amazonaws.com/you/app:*\"]",
        notes: &[
            "EventBridge wants a public name with a public certificate; the connection's API key is the header",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "PUSH",
        serde_json::json!({"id": "1", "account": "123456789012", "region": "eu-west-1", "detail": {
            "action-type": "PUSH", "result": "SUCCESS", "repository-name": "you/app", "image-tag": "latest"}}),
    )]
}
