//! Gogs, whose payloads Gitea has kept.

use super::{DefaultScheme, Definition, Parser, SetupText, gitea};
use crate::signature::SchemeName;

pub(super) const SENDER: Definition = Definition {
    name: "gogs",
    default_scheme: DefaultScheme::Always(SchemeName::Gogs),
    events: &[gitea::PUSH, gitea::RELEASE, gitea::CREATE],
    parse: Parser::Code(|verified, _| gitea::parse(verified, "gogs", &[])),
    setup: SetupText {
        location: "repository > Settings > Webhooks > Add a new webhook > Gogs",
        subscribe: "Push",
        json_content_type: true,
        rules: "branches = [\"main\"]",
        notes: &[
            "private addresses must be allowed in app.ini: [security] LOCAL_NETWORK_ALLOWLIST",
            gitea::SIGNED_JSON,
        ],
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let samples = gitea::family_samples("X-Gogs-Event");
    samples
        .into_iter()
        .filter(|sample| sample.event != "Packages")
        .collect()
}
