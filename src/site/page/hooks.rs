//! The webhooks on the page: the address to copy, the secret in use, the rules, and how to set up the sender.

use crate::hook::{Hook, Rules, SchemeName, setup};
use crate::site::page::PageData;
use crate::site::page::text::Moment;

/// A hook, ready for its template.
pub(super) struct HookCard {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) sender: &'static str,
    pub(super) scheme: &'static str,
    pub(super) secret: String,
    /// Such as `secret 2 of 2`; empty where there is only one.
    pub(super) used: String,
    pub(super) used_at: Option<Moment>,
    pub(super) updates: String,
    pub(super) rules: Vec<String>,
    /// Set-up is shown until the first delivery.
    pub(super) is_new: bool,
    pub(super) setup: setup::Setup,
}

/// Returns a card for each hook.
pub(super) fn cards(data: &PageData<'_>) -> Vec<HookCard> {
    let hooks = data.site.hooks.iter();
    hooks.map(|hook| card(data, hook)).collect()
}

/// The command that sends a first delivery by hand; only hooks with the generic sender and scheme can be used like that.
pub(super) fn command(data: &PageData<'_>, hook: &Hook) -> Option<String> {
    if !hook.sender.is_pipeline() || hook.scheme.name != SchemeName::Generic {
        return None;
    }
    let several = hook.stacks.len() > 1 && hook.default_stack.is_none();
    let stack = match hook.stacks.first() {
        Some(stack) if several => format!("\"stack\":\"{stack}\","),
        _ => String::new(),
    };
    Some(format!(
        "body='{{{stack}\"time\":'$(date +%s)'}}'\nsignature=$(printf '%s' \"$body\" | openssl dgst -sha256 -hmac \"$SECRET\" -r | cut -d' ' -f1)\ncurl -sS -H \"{}: sha256=$signature\" --data-binary \"$body\" {}",
        setup::header(&hook.scheme, "X-Portainer-Signature"),
        setup::url(data.base, hook)
    ))
}

fn card(data: &PageData<'_>, hook: &Hook) -> HookCard {
    let used = data.site.recent.last_used(hook.name.as_str());
    let stacks: Vec<&str> = hook.stacks.iter().map(|stack| stack.as_str()).collect();
    let url = setup::url(data.base, hook);
    HookCard {
        name: hook.name.to_string(),
        setup: setup::describe(hook, &url),
        url,
        sender: hook.sender.name(),
        scheme: scheme(hook.scheme.name),
        secret: secret(data, hook),
        used: match used {
            Some(used) if used.secret.1 > 1 => {
                format!("secret {} of {}", used.secret.0, used.secret.1)
            }
            _ => String::new(),
        },
        used_at: used.map(|used| data.moment(used.unix)),
        updates: stacks.join(", "),
        rules: rules(&hook.rules),
        is_new: data
            .history
            .iter()
            .all(|one| one.hook != hook.name.as_str()),
    }
}

/// The name of the authentication of deliveries.
fn scheme(name: SchemeName) -> &'static str {
    match name {
        SchemeName::Token => "authenticated by a token in a header",
        SchemeName::UrlToken => "authenticated by a token in the URL",
        SchemeName::StandardWebhooks => "signed (Standard Webhooks)",
        _ => "signed (HMAC-SHA256)",
    }
}

/// The key of a hook's secret in the configuration.
pub(super) fn secret_key(hook: &Hook) -> String {
    format!("hook.{}.secret", hook.name)
}

/// The number of secrets and their source, never a value.
fn secret(data: &PageData<'_>, hook: &Hook) -> String {
    let key = secret_key(hook);
    let row = data.desk.shown.iter().find(|row| row.key == key);
    let count = match hook.secrets.len() {
        1 => "set".to_owned(),
        count => format!("{count} set, all accepted"),
    };
    match row {
        Some(row) => format!("{count}, from {}", row.source),
        None => count,
    }
}

fn rules(rules: &Rules) -> Vec<String> {
    let images = rules.images.iter().map(ToString::to_string).collect();
    let all: [(&str, Vec<String>); 8] = [
        ("events", rules.events.clone()),
        ("branches", rules.branches.clone()),
        ("tags", rules.tags.clone()),
        ("repositories", rules.repositories.clone()),
        ("images", images),
        ("paths", rules.paths.clone()),
        ("workflows", rules.workflows.clone()),
        (
            "deployment environments",
            rules.deployment_environments.clone(),
        ),
    ];
    all.iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("only {name} {}", list.join(", ")))
        .collect()
}
