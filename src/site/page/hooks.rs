//! The webhooks on the page: the address to copy, which secret is in use, which rules there are, and how to set up the sender.

use crate::hook::{Hook, Rules, SchemeName, setup};
use crate::site::page::Known;
use crate::site::page::words::{time, utc};
use crate::site::template::Fields;

/// All hooks.
pub(super) fn add(known: &Known<'_>, fields: Fields) -> Fields {
    let hooks = known.site.hooks.iter().map(|hook| card(known, hook));
    fields.list("hooks", hooks)
}

/// What to type to send a first delivery by hand; only senders of kind `generic` that sign as it says can be imitated like that.
pub(super) fn command(known: &Known<'_>, hook: &Hook) -> Option<String> {
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
        setup::url(known.base, hook)
    ))
}

fn card(known: &Known<'_>, hook: &Hook) -> Fields {
    let used = known.site.recent.last_used(hook.name.as_str());
    let words = match used {
        None => "not since the start".to_owned(),
        Some(used) if used.secret.1 == 1 => String::new(),
        Some(used) => format!("secret {} of {},", used.secret.0, used.secret.1),
    };
    let stacks: Vec<&str> = hook.stacks.iter().map(|stack| stack.as_str()).collect();
    let never = known
        .history
        .iter()
        .all(|one| one.hook != hook.name.as_str());
    let url = setup::url(known.base, hook);
    let setup = setup::describe(hook, &url);
    let steps = setup.fields.iter().map(|(field, value)| {
        Fields::default()
            .text("field", *field)
            .text("value", value.as_str())
    });
    let snippets = setup.snippets.iter().map(|snippet| {
        Fields::default()
            .text("title", snippet.title)
            .text("text", snippet.text.as_str())
    });
    Fields::default()
        .text("name", hook.name.as_str())
        .text("url", url.as_str())
        .text("sender", hook.sender.name())
        .text("scheme", hook.scheme.name.name())
        .text("secret", secret(known, hook))
        .text("used", words)
        .text(
            "used_at",
            used.map_or(String::new(), |used| time(used.unix)),
        )
        .text(
            "used_words",
            used.map_or(String::new(), |used| utc(used.unix)),
        )
        .text("updates", stacks.join(", "))
        .lines("rules", "rule", rules(&hook.rules))
        .given("open", never)
        .list("setup", steps.collect::<Vec<_>>())
        .lines("notes", "note", setup.notes.iter().map(String::as_str))
        .list("snippets", snippets.collect::<Vec<_>>())
}

/// What the configuration calls the secret of a hook.
pub(super) fn secret_key(hook: &Hook) -> String {
    format!("hook.{}.secret", hook.name)
}

/// How many, and from where; never what.
fn secret(known: &Known<'_>, hook: &Hook) -> String {
    let key = secret_key(hook);
    let row = known.desk.shown.iter().find(|row| row.key == key);
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
