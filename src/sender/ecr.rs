//! Amazon ECR through an API destination of EventBridge.

use super::rows::{self, EventName, Host, Row};
use super::{Definition, EventKind, Settings, SetupText};
use crate::event::{ParseError, ParseOutcome};
use crate::signature::Verified;

pub(super) const SENDER: Definition = Definition {
    name: "ecr",
    events: &[EventKind::image("PUSH")],
    parse,
    setup: SetupText {
        location: "EventBridge > a rule on ECR Image Action, with an API destination as its target",
        subscribe: "PUSH with result SUCCESS",
        rules: "images = [\"123456789012.dkr.ecr.eu-west-1.amazonaws.com/you/app:*\"]",
        notes: &[
            "EventBridge wants a public name with a public certificate; the connection's API key is the header",
        ],
        ..Definition::DEFAULT.setup
    },
    ..Definition::DEFAULT
};

fn parse(verified: &Verified<'_>, settings: &Settings<'_>) -> Result<ParseOutcome, ParseError> {
    let row = Row {
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
        ..Row::default()
    };
    rows::parse(&[row], verified, settings)
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample {
        event: "PUSH",
        headers: Vec::new(),
        body: serde_json::json!({"id": "1", "account": "123456789012", "region": "eu-west-1", "detail": {
            "action-type": "PUSH", "result": "SUCCESS", "repository-name": "you/app", "image-tag": "latest"}}),
    }]
}
