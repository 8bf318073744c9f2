//! Set-up text of a hook: the values to enter at its sender, so that deliveries are accepted and the wanted ones act. Printed by
//! `sign --setup` and shown on the settings page. It says where the secret goes, and never contains it.

use std::fmt::Write as _;

use super::snippets::{self, Snippet};
use super::{Hook, HookName, Rules};
use crate::signature::{Scheme, SchemeName, TokenKind};

/// Set-up text of one hook.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Names of hook and sender.
    pub(crate) title: String,
    /// Fields of the sender's form, and the values to enter.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// Caveats of the sender and the scheme.
    pub(crate) notes: Vec<String>,
    /// Text to copy: rules for the configuration, jobs for pipelines.
    pub(crate) snippets: Vec<Snippet>,
}

/// The address of a hook below the address of the server.
pub(crate) fn url(base: &str, hook: &Hook) -> String {
    let base = base.trim_end_matches('/');
    match hook.name.as_str() {
        HookName::DEFAULT => format!("{base}/webhook/update/"),
        name => format!("{base}/webhook/update/{name}/"),
    }
}

/// Describes how to set up the sender of a hook with the address `url`.
pub(crate) fn describe(hook: &Hook, url: &str) -> Setup {
    let text = hook.sender.setup();
    let address = match hook.scheme.name {
        SchemeName::UrlToken => format!("{url}?token=SECRET (the hook's secret, percent-encoded)"),
        _ => url.to_owned(),
    };
    let mut fields = vec![("Where", text.location.to_owned()), ("URL", address)];
    fields.extend(proof(hook));
    if text.json_content_type {
        fields.push(("Content type", "application/json".to_owned()));
    }
    let events = match hook.rules.events.is_empty() {
        true => text.subscribe.to_owned(),
        false => format!(
            "{} (the hook's rule \"events\")",
            hook.rules.events.join(", ")
        ),
    };
    fields.push(("Events", events));
    let rules = rules(&hook.rules);
    let proposal = Some(text.rules).filter(|text| rules.is_empty() && !text.is_empty());
    let rules = match (rules.is_empty(), proposal) {
        (false, _) => rules.join(", "),
        (true, Some(_)) => {
            "none: every branch, tag and image acts; consider those below".to_owned()
        }
        (true, None) => "none".to_owned(),
    };
    fields.push(("Rules", rules));
    let stacks: Vec<&str> = hook.stacks.iter().map(|stack| stack.as_str()).collect();
    if !stacks.is_empty() {
        fields.push(("Stacks", stacks.join(", ")));
    }
    let mut snippets = match hook.sender.is_pipeline() && hook.scheme.name == SchemeName::Generic {
        true => snippets::all(url, &hook.scheme.header),
        false => Vec::new(),
    };
    snippets.extend(proposal.map(|rules| Snippet {
        title: "rules to begin with, for this [[hook]] section",
        text: format!("{rules}\n"),
    }));
    let mut notes: Vec<String> = text.notes.iter().map(|note| (*note).to_owned()).collect();
    if hook.scheme.name == SchemeName::Token && hook.scheme.kind != TokenKind::Basic {
        notes.push("a token proves nothing about the body: use https".to_owned());
    }
    Setup {
        title: format!(
            "hook {:?}, sender {}",
            hook.name.as_str(),
            hook.sender.name()
        ),
        fields,
        notes,
        snippets,
    }
}

/// Formats a set-up text for a terminal.
pub(crate) fn format_text(setup: &Setup) -> String {
    let mut text = format!("{}\n\n", setup.title);
    for (field, value) in &setup.fields {
        let _ = writeln!(text, "{field:<14}{value}");
    }
    for note in &setup.notes {
        let _ = writeln!(text, "\n* {note}");
    }
    for snippet in &setup.snippets {
        let _ = writeln!(text, "\n--- {} ---\n{}", snippet.title, snippet.text);
    }
    text
}

/// The fields that make the sender prove that it knows the secret.
fn proof(hook: &Hook) -> Vec<(&'static str, String)> {
    let secret = "the hook's secret, and nothing else".to_owned();
    let scheme = &hook.scheme;
    let is_gitlab = hook.sender.scheme(SchemeName::Token).header == "x-gitlab-token";
    match scheme.name {
        SchemeName::Generic => {
            let header = header(scheme, "X-Portainer-Signature");
            vec![(
                "Header",
                format!(
                    "{header}: the hex HMAC-SHA256 of the raw body, keyed with the hook's secret"
                ),
            )]
        }
        SchemeName::StandardWebhooks if is_gitlab => vec![("Signing token", secret)],
        SchemeName::Hmac => vec![("Secret", secret), ("Signature", scheme.expected())],
        SchemeName::Github
        | SchemeName::Gitea
        | SchemeName::Forgejo
        | SchemeName::Gogs
        | SchemeName::Bitbucket
        | SchemeName::StandardWebhooks => vec![("Secret", secret)],
        SchemeName::Token if is_gitlab && scheme.header == "x-gitlab-token" => {
            vec![("Secret token", secret)]
        }
        SchemeName::Token => {
            let value = match scheme.kind {
                TokenKind::Raw => "the hook's secret",
                TokenKind::Bearer => "the word Bearer, a space, the hook's secret",
                TokenKind::Basic => {
                    "user and password of Basic authentication: the two parts of the hook's secret"
                }
            };
            let header = header(scheme, "Authorization");
            vec![("Header", format!("{header}: {value}"))]
        }
        SchemeName::UrlToken => Vec::new(),
    }
}

/// The header that a scheme reads, in its usual spelling.
pub(crate) fn header(scheme: &Scheme, usual: &str) -> String {
    let header = match scheme.header.as_str() {
        "" => usual,
        header => header,
    };
    let capitalized = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            format!("{}{}", first.to_ascii_uppercase(), letters.as_str())
        })
    };
    header
        .split('-')
        .map(capitalized)
        .collect::<Vec<_>>()
        .join("-")
}

/// The rules of a hook besides `events`, as the configuration writes them.
fn rules(rules: &Rules) -> Vec<String> {
    let images: Vec<String> = rules.images.iter().map(ToString::to_string).collect();
    let lists = [
        ("branches", &rules.branches),
        ("tags", &rules.tags),
        ("repositories", &rules.repositories),
        ("images", &images),
        ("paths", &rules.paths),
        ("workflows", &rules.workflows),
        ("deployment_environments", &rules.deployment_environments),
    ];
    let set = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let mut set: Vec<String> = set
        .map(|(name, list)| format!("{name} = {list:?}"))
        .collect();
    if rules.ignore_prereleases {
        set.push("prereleases = false".to_owned());
    }
    set
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::event::ParseOutcome;
    use crate::image::Pattern;
    use crate::secret::Secret;
    use crate::sender::{SAMPLES, Sender};
    use crate::signature::tests::proven;

    fn hook(sender: Sender, rules: Rules) -> Hook {
        let secrets = vec![Secret::new("user:0123456789abcdef").unwrap()];
        let name = sender.default_scheme(Some(&secrets)).unwrap().unwrap();
        Hook {
            name: HookName::parse("update").unwrap(),
            sender,
            scheme: sender.scheme(name),
            secrets,
            stacks: Vec::new(),
            default_stack: None,
            rules,
            wait: Duration::ZERO,
            allow_from: Vec::new(),
            payload: None,
            registry: Vec::new(),
        }
    }

    /// The rules that a set-up text proposes, parsed as a part of the configuration.
    fn proposed(setup: &Setup) -> Rules {
        let text = setup
            .snippets
            .iter()
            .find(|own| own.title.contains("[[hook]]"));
        let text = text.map_or("", |own| own.text.as_str());
        let mut rules = Rules::default();
        for (key, values) in toml::from_str::<BTreeMap<String, Vec<String>>>(text).unwrap() {
            match key.as_str() {
                "branches" => rules.branches = values,
                "tags" => rules.tags = values,
                "images" => {
                    let pattern = |text: &String| Pattern::parse(text).unwrap();
                    rules.images = values.iter().map(pattern).collect();
                }
                other => panic!("{other}"),
            }
        }
        rules
    }

    #[test]
    fn every_event_that_a_set_up_text_names_acts_with_the_proposed_rules() {
        for (sender, samples) in SAMPLES {
            let setup = describe(&hook(*sender, Rules::default()), "https://x/");
            let rules = proposed(&setup);
            assert_eq!(rules.impossible(*sender), [], "{sender:?}");
            let hook = hook(*sender, rules);
            for sample in samples() {
                let body = sample.body.to_string();
                let parsed = proven(&sample.headers, body.as_bytes(), |verified| {
                    hook.parse_delivery(verified, 0)
                });
                let Ok(ParseOutcome::Delivery(delivery)) = parsed else {
                    panic!("{sender:?} {}: {parsed:?}", sample.event);
                };
                for event in &delivery.events {
                    let selected = super::super::rules::select_images(&hook, event);
                    assert!(
                        selected.is_ok(),
                        "{sender:?} {}: {selected:?}",
                        sample.event
                    );
                }
            }
        }
    }

    #[test]
    fn set_up_texts_name_each_sample_and_no_secret() {
        for (sender, samples) in SAMPLES {
            let text = format_text(&describe(&hook(*sender, Rules::default()), "https://x/"));
            assert!(!text.contains("0123456789abcdef"), "{text}");
            for sample in samples() {
                let named = text.to_lowercase().contains(&sample.event.to_lowercase());
                let optional = ["Releases", "push", "update"].contains(&sample.event);
                assert!(named || optional, "{sender:?} {}: {text}", sample.event);
            }
        }
    }
}
