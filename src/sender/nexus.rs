//! Sonatype Nexus Repository 3, which signs its JSON with HMAC-SHA1.

use super::layout::{EventName, Layout, When};
use super::{DefaultScheme, Definition, EventKind, Parser, SetupText};
use crate::secret::Hash;
use crate::signature::SchemeName;

const COMPONENT: &str = "rm:repository:component";

pub(super) const SENDER: Definition = Definition {
    name: "nexus",
    default_scheme: DefaultScheme::Always(SchemeName::Hmac),
    hmac: ("x-nexus-webhook-signature", Hash::Sha1),
    events: &[EventKind::image(COMPONENT)],
    parse: Parser::Layouts(|| {
        let component = Layout {
            when: When::Is("header:X-Nexus-Webhook-ID", COMPONENT),
            event: EventName::Always(COMPONENT),
            image: Some("/component/name"),
            tag: Some("/component/version"),
            id: Some("header:X-Nexus-Webhook-Delivery"),
            require: vec![
                (vec!["/component/format"], vec!["docker"]),
                (vec!["/action"], vec!["CREATED", "UPDATED"]),
            ],
            ..Layout::default()
        };
        vec![component]
    }),
    setup: SetupText {
        location: "Settings > System > Capabilities > Create capability > Webhook: Repository",
        subscribe: "event type component (rm:repository:component)",
        rules: "images = [\"registry.example.com/you/app:*\"]",
        notes: &[
            "weak: Nexus signs with SHA-1 and signs no time, so a recorded delivery can be repeated; set allow_from to its address",
            "the body does not name the registry's host: images are compared by their path and tag",
            "its documentation does not say whether a push to an existing tag is CREATED or UPDATED; both act",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    vec![super::Sample {
        event: COMPONENT,
        headers: vec![("X-Nexus-Webhook-ID", COMPONENT)],
        body: serde_json::json!({"action": "UPDATED", "repositoryName": "docker-hosted",
            "component": {"format": "docker", "name": "you/app", "version": "latest"}}),
    }]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::sender::tests::summary_of;

    #[track_caller]
    fn check(id: &str, action: &str, format: &str, version: &str, expected: &str) {
        let body = json!({"action": action, "component": {"format": format, "name": "acme/web", "version": version}});
        let headers = [
            ("X-Nexus-Webhook-Id", id),
            ("X-Nexus-Webhook-Delivery", "d-1"),
        ];
        let summary = summary_of("nexus", None, &headers, &body.to_string());
        assert_eq!(summary, expected);
    }

    #[test]
    fn reads_pushed_images_and_ignores_everything_else() {
        let pushed = "rm:repository:component tag 1 of acme/web image acme/web:1 (image); id d-1";
        check("rm:repository:component", "CREATED", "docker", "1", pushed);
        check("rm:repository:component", "UPDATED", "docker", "1", pushed);
        check(
            "rm:repository:component",
            "DELETED",
            "docker",
            "1",
            "ignored: \"/action\" is \"DELETED\", not CREATED or UPDATED",
        );
        check(
            "rm:repository:component",
            "CREATED",
            "npm",
            "1",
            "ignored: \"/component/format\" is \"npm\", not docker",
        );
        check(
            "rm:repository:component",
            "CREATED",
            "docker",
            "sha256:00",
            "ignored: a manifest without a tag",
        );
        check(
            "rm:repository:asset",
            "CREATED",
            "docker",
            "1",
            "ignored: event \"rm:repository:asset\" means nothing new",
        );
    }
}
