//! `[[hook]]` and the variables of hook `update`.

mod scheme;
mod payload;

use std::fmt::Display;
use std::time::Duration;

use super::{key, listed, network, pattern};
use crate::config::parse;
use crate::config::problem::Place;
use crate::config::reading::{Reading, Taken};
use crate::config::values::Section;
use crate::config::{Config, Need};
use crate::hook::{Hook, HookName, Rules, Sender};
use crate::limits;
use crate::near::hint;
use crate::secret::Secret;
use crate::stack::{PullMode, StackKey};

/// Checks all. Where secrets are not read there are no hooks: one without secrets would be open.
pub(super) fn hooks(
    need: Need,
    read: bool,
    sections: Vec<Section>,
    (config, keys): (&Config, &[StackKey]),
    reading: &mut Reading<'_>,
) -> Vec<Hook> {
    if sections.is_empty() && matches!(need, Need::Serve | Need::Sender) {
        reading.lost(
            &Place::Nowhere,
            "hook",
            "there is none; set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE to a text that \
             \"stackhook generate-secret\" prints",
        );
    }
    let mut names: Vec<(HookName, Place)> = Vec::new();
    let mut hooks: Vec<Hook> = Vec::new();
    for section in sections {
        let (name, hook) = hook(read, section, (config, keys), reading);
        if let Some((name, place)) = name {
            match names.iter().find(|(other, _)| *other == name) {
                Some((_, other)) => {
                    let text = format!("\"{name}\" is the name of another hook ({other}) already");
                    reading.problem(&place, "hook.name", text);
                    continue;
                }
                None => names.push((name, place)),
            }
        }
        hooks.extend(hook);
    }
    let default = hooks
        .iter()
        .find(|hook| hook.name.as_str() == HookName::DEFAULT);
    for (name, place) in &names {
        let both = |hook: &&Hook| hook.stacks.iter().any(|key| key.as_str() == name.as_str());
        if default.as_ref().is_some_and(both) {
            let text = format!(
                "\"{name}\" is the key of a stack of hook \"update\" too, and /webhook/update/{name}/ would \
                 mean both; rename one of them"
            );
            reading.problem(place, "hook.name", text);
        }
    }
    shared_secrets(&hooks, reading);
    hooks
}

/// A body that one hook's sender signed would be accepted by the other hook.
fn shared_secrets(hooks: &[Hook], reading: &mut Reading<'_>) {
    for (index, hook) in hooks.iter().enumerate() {
        let has = |other: &&Hook| {
            let of_hook = |secret: &Secret| {
                hook.secrets
                    .iter()
                    .any(|own| own.is(secret.expose().as_bytes()))
            };
            other.secrets.iter().any(of_hook)
        };
        for other in hooks.iter().skip(index + 1).filter(has) {
            reading.warnings.push(format!(
                "hooks \"{}\" and \"{}\" share a secret: what is signed for one is accepted by the other",
                hook.name, other.name
            ));
        }
    }
}

fn hook(
    read: bool,
    mut section: Section,
    (config, keys): (&Config, &[StackKey]),
    reading: &mut Reading<'_>,
) -> (Option<(HookName, Place)>, Option<Hook>) {
    let start = section.place.clone();
    let name = match reading.text(&mut section, "name", |text| key(text, HookName::parse)) {
        Taken::Absent => HookName::parse(HookName::DEFAULT).map(|name| (name, start.clone())),
        Taken::Good(name, place) => Some((name, place)),
        Taken::Bad => None,
    };
    let label = name
        .as_ref()
        .map_or("?", |(name, _)| name.as_str())
        .to_owned();
    let label = |key: &str| format!("hook.{label}.{key}");
    let sender = reading.setting(
        &mut section,
        ("sender", &label("sender")),
        (Sender::default(), Sender::default().name()),
        |text| parse::choice(text, Sender::NAMES, Sender::parse),
    );
    let secrets = match read {
        true => reading.secrets(&mut section, ("secret", &label("secret")), true),
        false => {
            super::leave(&mut section, "secret");
            Taken::Bad
        }
    };
    if secrets.is_absent() {
        let name = name.as_ref().map_or("?", |(name, _)| name.as_str());
        let variable = match name {
            HookName::DEFAULT => {
                "set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE, or "
            }
            _ => "set ",
        };
        let text = format!(
            "hook \"{name}\" has no secret, and an open hook is never served; {variable}secret or secret_file, to \
             a text that \"stackhook generate-secret\" prints"
        );
        reading.lost(&start, "hook.secret", text);
    }
    let scheme = scheme::scheme(sender, &mut section, &secrets, &label, reading);
    if let (Some(scheme), Taken::Good(secrets, place)) = (&scheme, &secrets) {
        for text in scheme::unfit(scheme, secrets) {
            reading.problem(place, "hook.secret", text);
        }
    }
    let stacks = stacks(&mut section, keys, &label, reading);
    let default_stack = stacks
        .as_ref()
        .and_then(|stacks| default_stack(sender, stacks, config));
    if let Some(key) = &default_stack {
        let source = match config.default_stack == default_stack {
            true => "PORTAINER_STACK_NAME",
            false => "the only stack",
        };
        reading.show(label("default_stack"), key, source);
    }
    let mut rules = Rules::default();
    let places: Vec<(&str, Place)> = ["events", "branches", "tags", "repositories", "paths"]
        .into_iter()
        .filter_map(|key| Some((key, section.get(key)?.place.clone())))
        .collect();
    for (key, list) in [
        ("events", &mut rules.events),
        ("branches", &mut rules.branches),
        ("tags", &mut rules.tags),
        ("repositories", &mut rules.repositories),
    ] {
        *list = rule(&mut section, key, &label, reading, glob);
    }
    let images_place = section.get("images").map(|value| value.place.clone());
    rules.images = rule(&mut section, "images", &label, reading, pattern);
    rules.paths = rule(&mut section, "paths", &label, reading, glob);
    for (rule, text) in rules.impossible(sender) {
        let place = places.iter().find(|(key, _)| *key == rule);
        let place = place.map_or(&start, |(_, place)| place);
        reading.problem(place, format!("hook.{rule}"), text);
    }
    if let (Some(place), false, Some(stacks)) = (images_place, rules.images.is_empty(), &stacks) {
        let by_portainer = config
            .stacks
            .iter()
            .find(|stack| stack.pull == PullMode::Portainer && stacks.contains(&stack.key));
        if let Some(stack) = by_portainer {
            let text = format!(
                "its stack \"{}\" has pull = \"portainer\", where Portainer pulls every image; leave \
                 \"images\" out or use pull = \"first\"",
                stack.key
            );
            reading.problem(&place, "hook.images", text);
        }
    }
    let default = sender.default_wait();
    let default_text = match default.is_zero() {
        true => "0s".to_owned(),
        false => format!("{}m", default.as_secs() / 60),
    };
    let wait = reading.setting(
        &mut section,
        ("wait", &label("wait")),
        (default, &default_text),
        wait,
    );
    let allow_from = rule(&mut section, "allow_from", &label, reading, network);
    let payload = payload::payload(sender, &mut section, &label, reading);
    reading.finish(section);
    let hook = || {
        let (name, _) = name.clone()?;
        Some(Hook {
            name,
            sender,
            scheme: scheme?,
            secrets: secrets.good()?,
            stacks: stacks?,
            default_stack,
            rules,
            wait,
            allow_from,
            payload,
            registry: Vec::new(),
        })
    };
    let hook = hook();
    (name, hook)
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = parse::duration(text)?;
    match wait > limits::WAIT_MAX {
        true => Err("expected at most 30m".to_owned()),
        false => Ok(wait),
    }
}

/// Branches, tags and the like; the full name of a ref is never what a sender's event calls it.
fn glob(text: &str) -> Result<String, String> {
    for prefix in ["refs/heads/", "refs/tags/"] {
        if text.starts_with(prefix) {
            return Err(format!("write the bare name, without {prefix}"));
        }
    }
    parse::word(text)
}

/// A list that, if it is there, must not be empty: nobody can tell whether that means nothing or everything.
fn rule<T: Display>(
    section: &mut Section,
    key: &str,
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let path = section.path(key);
    match reading.list(section, key, parse) {
        Taken::Good(values, place) if values.is_empty() => {
            reading.problem(
                &place,
                path,
                "is empty; leave it out where it should not limit",
            );
            Vec::new()
        }
        Taken::Absent => {
            let absent = match key {
                "events" => "what says that something new is there",
                _ => "any",
            };
            reading.show(label(key), absent, Place::Nowhere);
            Vec::new()
        }
        taken => listed(reading, label(key), taken),
    }
}

/// The stacks of a hook: all, where it names none.
fn stacks(
    section: &mut Section,
    keys: &[StackKey],
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
) -> Option<Vec<StackKey>> {
    let by_key = |text: &str| {
        let found = keys.iter().find(|key| key.as_str() == text).cloned();
        found.ok_or_else(|| {
            let near = hint(text, keys.iter().map(StackKey::as_str));
            format!("names a stack that is not configured{near}")
        })
    };
    match reading.list(section, "stacks", by_key) {
        Taken::Absent => {
            reading.show(label("stacks"), "all", Place::Nowhere);
            Some(keys.to_vec())
        }
        Taken::Good(keys, place) if keys.is_empty() => {
            reading.problem(
                &place,
                "hook.stacks",
                "names no stack; leave it out for all of them",
            );
            None
        }
        Taken::Bad => None,
        taken => {
            let mut keys = Vec::new();
            for key in listed(reading, label("stacks"), taken) {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            Some(keys)
        }
    }
}

fn default_stack(sender: Sender, stacks: &[StackKey], config: &Config) -> Option<StackKey> {
    match (sender.is_pipeline(), stacks, &config.default_stack) {
        (true, stacks, Some(key)) if stacks.contains(key) => Some(key.clone()),
        (true, [only], _) => Some(only.clone()),
        _ => None,
    }
}
