//! Sender `custom`: any JSON, parsed with the pointers of `[hook.payload]`.

use super::{DefaultScheme, Definition, Parser, SetupText};
use crate::signature::SchemeName;

pub(super) const SENDER: Definition = Definition {
    name: "custom",
    default_scheme: DefaultScheme::Always(SchemeName::Generic),
    parse: Parser::Payload,
    has_registry_alias: true,
    setup: SetupText {
        location: "the webhook settings of the system that posts",
        subscribe: "every delivery",
        notes: &[
            "the body is read with the pointers of [hook.payload]; a value that a rule needs and that is missing is named in the reply",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample::new(
        "every delivery",
        serde_json::json!({"message": "built"}),
    )]
}
