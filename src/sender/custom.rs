//! Sender `custom`: any JSON, parsed with the pointers of `[hook.payload]`.

use super::rows::{self, Row};
use super::{DefaultScheme, Definition, SetupText};
use crate::signature::SchemeName;

pub(super) const SENDER: Definition = Definition {
    name: "custom",
    default_scheme: DefaultScheme::Always(SchemeName::Generic),
    parse: |verified, settings| {
        let row = settings.payload.map(Row::from_payload).unwrap_or_default();
        rows::parse(&[row], verified, settings)
    },
    has_payload: true,
    has_registry_alias: true,
    setup: SetupText {
        location: "the webhook settings of the system that posts",
        subscribe: "every delivery",
        notes: &[
            "the body is read with the pointers of [hook.payload]; a value that a rule needs and that is missing is named in the reply",
        ],
        ..Definition::DEFAULT.setup
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample {
        event: "every delivery",
        headers: Vec::new(),
        body: serde_json::json!({"message": "built"}),
    }]
}
