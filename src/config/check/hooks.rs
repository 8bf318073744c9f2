//! `[[hook]]` and the variables of hook `update`.

use std::fmt::Display;
use std::time::Duration;

use super::{listed, network, pattern, standard_webhooks};
use crate::config::parse;
use crate::config::problem::{Place, hint};
use crate::config::reading::{Reading, Taken};
use crate::config::values::{Kind, Section, Value};
use crate::config::{Config, Need};
use crate::hook::{
    Hook, HookName, Payload, Rules, Scheme, SchemeName, Sender, TokenKind, default_wait,
};
use crate::limits;
use crate::secret::Secret;
use crate::stack::{PullMode, StackKey};

/// Checks all. Where secrets are not read there are no hooks: one without secrets would be open.
pub(super) fn hooks(
    need: Need,
    read: bool,
    sections: Vec<Section>,
    config: &Config,
    reading: &mut Reading<'_>,
) -> Vec<Hook> {
    if sections.is_empty() && matches!(need, Need::Serve | Need::Sender) {
        reading.problem(
            &Place::Nowhere,
            "hook",
            "there is none; set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE to a text that \
             \"stackhook generate-secret\" prints",
        );
    }
    let mut names: Vec<(HookName, Place)> = Vec::new();
    let mut hooks: Vec<Hook> = Vec::new();
    for section in sections {
        let (name, hook) = hook(read, section, config, reading);
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
    config: &Config,
    reading: &mut Reading<'_>,
) -> (Option<(HookName, Place)>, Option<Hook>) {
    let start = section.place.clone();
    let name = match reading.text(&mut section, "name", name) {
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
        (Sender::Generic, Sender::Generic.name()),
        |text| {
            let name = parse::choice(text, Sender::NAMES)?;
            Sender::parse(name).ok_or_else(String::new)
        },
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
            "hook \"{name}\" has none, and an open hook is never served; {variable}secret or secret_file, to \
             a text that \"stackhook generate-secret\" prints"
        );
        reading.problem(&start, "hook.secret", text);
    }
    let scheme = scheme(sender, &mut section, &secrets, reading);
    if let Some((scheme, place)) = &scheme {
        show_scheme(scheme, place, &label, reading);
    }
    if let (Some((scheme, _)), Taken::Good(secrets, place)) = (&scheme, &secrets) {
        for text in secrets_fit(scheme, secrets) {
            reading.problem(place, "hook.secret", text);
        }
    }
    let stacks = stacks(&mut section, config, &label, reading);
    let mut rules = Rules::default();
    for (key, list) in [
        ("events", &mut rules.events),
        ("branches", &mut rules.branches),
        ("tags", &mut rules.tags),
        ("repositories", &mut rules.repositories),
    ] {
        *list = rule(&mut section, key, &label, reading, glob);
    }
    let images_place = section
        .entries
        .get("images")
        .map(|value| value.place.clone());
    rules.images = rule(&mut section, "images", &label, reading, pattern);
    rules.paths = rule(&mut section, "paths", &label, reading, glob);
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
    let default = default_wait(sender);
    let default_text = format!("{}m", default.as_secs() / 60);
    let default_text = if default.is_zero() {
        "0s"
    } else {
        &default_text
    };
    let wait = reading.setting(
        &mut section,
        ("wait", &label("wait")),
        (default, default_text),
        wait,
    );
    let allow_from = rule(&mut section, "allow_from", &label, reading, network);
    let payload = payload(sender, &mut section, &label, reading);
    reading.finish(section);
    let hook = || {
        let (name, _) = name.clone()?;
        let stacks = stacks?;
        let default_stack = default_stack(sender, &stacks, config);
        Some(Hook {
            name,
            sender,
            scheme: scheme?.0,
            secrets: secrets.good()?,
            stacks,
            default_stack,
            rules,
            wait,
            allow_from,
            payload,
        })
    };
    let hook = hook();
    (name, hook)
}

fn name(text: &str) -> Result<HookName, String> {
    HookName::parse(text).ok_or_else(|| {
        format!(
            "expected at most {} letters, digits, \"_\", \"-\" and \".\", not beginning with a dot",
            limits::NAME_MAX
        )
    })
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
            reading.show(label(key), "any", Place::Nowhere);
            Vec::new()
        }
        taken => listed(reading, label(key), taken),
    }
}

/// The stacks of a hook: all, where it names none.
fn stacks(
    section: &mut Section,
    config: &Config,
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
) -> Option<Vec<StackKey>> {
    let known = || config.stacks.iter().map(|stack| &stack.key);
    let by_key = |text: &str| {
        known()
            .find(|key| key.as_str() == text)
            .cloned()
            .ok_or_else(|| {
                let near = hint(text, known().map(StackKey::as_str));
                format!("names a stack that is not configured{near}")
            })
    };
    match reading.list(section, "stacks", by_key) {
        Taken::Absent => {
            reading.show(label("stacks"), "all", Place::Nowhere);
            Some(known().cloned().collect())
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
            let mut keys = listed(reading, label("stacks"), taken);
            let mut seen = Vec::new();
            keys.retain(|key| match seen.contains(key) {
                true => false,
                false => {
                    seen.push(key.clone());
                    true
                }
            });
            Some(keys)
        }
    }
}

fn default_stack(sender: Sender, stacks: &[StackKey], config: &Config) -> Option<StackKey> {
    match (sender, stacks, &config.default_stack) {
        (Sender::Generic, stacks, Some(key)) if stacks.contains(key) => Some(key.clone()),
        (Sender::Generic, [only], _) => Some(only.clone()),
        _ => None,
    }
}

/// The scheme with its header and kind; where a secret decides about it, that has to be known.
fn scheme(
    sender: Sender,
    section: &mut Section,
    secrets: &Taken<Vec<Secret>>,
    reading: &mut Reading<'_>,
) -> Option<(Scheme, Place)> {
    let named = |text: &str| {
        let name = parse::choice(text, SchemeName::NAMES)?;
        SchemeName::parse(name).ok_or_else(String::new)
    };
    let kind = |text: &str| {
        let name = parse::choice(text, TokenKind::NAMES)?;
        TokenKind::parse(name).ok_or_else(String::new)
    };
    let name = reading.text(section, "scheme", named);
    let header = reading.text(section, "header", parse::header);
    let kind = reading.text(section, "kind", kind);
    let (name, place) = match name {
        Taken::Good(name, place) => (name, place),
        Taken::Bad => return None,
        Taken::Absent => match default_scheme(sender, secrets) {
            Ok(name) => (name?, Place::Nowhere),
            Err(text) => {
                let place = secrets.place().cloned().unwrap_or(Place::Nowhere);
                reading.problem(&place, "hook.secret", text);
                return None;
            }
        },
    };
    let (takes_header, takes_kind) = match name {
        SchemeName::Token => (true, true),
        SchemeName::Generic => (true, false),
        _ => (false, false),
    };
    for (given, takes, key, of) in [
        (
            header.place(),
            takes_header,
            "hook.header",
            "schemes token and generic",
        ),
        (kind.place(), takes_kind, "hook.kind", "scheme token"),
    ] {
        if let (Some(place), false) = (given, takes) {
            let text = format!("belongs to {of}, and this hook's scheme is {}", name.name());
            reading.problem(place, key, text);
        }
    }
    let (default_header, default_kind) = match (name, sender) {
        (SchemeName::Generic, _) => ("x-portainer-signature", TokenKind::Raw),
        (SchemeName::Token, Sender::Gitlab) => ("x-gitlab-token", TokenKind::Raw),
        (SchemeName::Token, Sender::AzureDevops) => ("authorization", TokenKind::Basic),
        (SchemeName::Token, Sender::Harbor) => ("authorization", TokenKind::Raw),
        (SchemeName::Token, _) => ("authorization", TokenKind::Bearer),
        _ => ("", TokenKind::Raw),
    };
    let header = header.good().unwrap_or_else(|| default_header.to_owned());
    let kind = kind.good().unwrap_or(match header == default_header {
        true => default_kind,
        // Only `Authorization` has words in front of the token.
        false if header != "authorization" => TokenKind::Raw,
        false => TokenKind::Bearer,
    });
    Some((Scheme { name, header, kind }, place))
}

fn default_scheme(
    sender: Sender,
    secrets: &Taken<Vec<Secret>>,
) -> Result<Option<SchemeName>, String> {
    Ok(Some(match sender {
        Sender::Generic | Sender::Custom => SchemeName::Generic,
        Sender::Github => SchemeName::Github,
        Sender::Gitea => SchemeName::Gitea,
        Sender::Forgejo => SchemeName::Forgejo,
        Sender::Gogs => SchemeName::Gogs,
        Sender::Bitbucket => SchemeName::Bitbucket,
        Sender::Dockerhub | Sender::Quay => SchemeName::UrlToken,
        Sender::AzureDevops
        | Sender::Harbor
        | Sender::Distribution
        | Sender::Acr
        | Sender::Ecr
        | Sender::Diun
        | Sender::Wud => SchemeName::Token,
        Sender::Gitlab => {
            let Taken::Good(secrets, _) = secrets else {
                return Ok(None);
            };
            let signing = |secret: &&Secret| secret.expose().starts_with("whsec_");
            match secrets.iter().filter(signing).count() {
                0 => SchemeName::Token,
                count if count == secrets.len() => SchemeName::StandardWebhooks,
                _ => {
                    return Err(
                        "mixes signing tokens of GitLab (whsec_…) with secret tokens; one hook can \
                         check only one kind"
                            .to_owned(),
                    );
                }
            }
        }
    }))
}

fn show_scheme(
    scheme: &Scheme,
    place: &Place,
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
) {
    reading.show(label("scheme"), scheme.name.name(), place);
    if !scheme.header.is_empty() {
        reading.show(label("header"), &scheme.header, place);
    }
    if scheme.name == SchemeName::Token {
        reading.show(label("kind"), scheme.kind.name(), place);
    }
}

/// What keeps secrets from being used with a scheme; says which, not what.
fn secrets_fit(scheme: &Scheme, secrets: &[Secret]) -> Vec<String> {
    let wrong = |secret: &Secret| {
        let text = secret.expose();
        let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match (scheme.name, scheme.kind) {
            (SchemeName::StandardWebhooks, _) => standard_webhooks(secret),
            (SchemeName::Token, TokenKind::Basic) if !text.contains(':') => {
                Err("kind basic needs user:password as the secret".to_owned())
            }
            _ if secret.len() < limits::WEBHOOK_SECRET_MIN => Err(format!(
                "is shorter than {} bytes; \"stackhook generate-secret\" prints one that cannot be guessed",
                limits::WEBHOOK_SECRET_MIN
            )),
            (SchemeName::Token, TokenKind::Raw | TokenKind::Bearer) if !visible => {
                Err("contains a sign that no header can carry".to_owned())
            }
            _ => Ok(()),
        }
    };
    let number = |index: usize, text: String| match secrets.len() {
        1 => text,
        _ => format!("secret {}: {text}", index + 1),
    };
    let texts = secrets.iter().enumerate();
    texts
        .filter_map(|(index, secret)| Some(number(index, wrong(secret).err()?)))
        .collect()
}

fn payload(
    sender: Sender,
    section: &mut Section,
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
) -> Option<Payload> {
    let value = section.take("payload")?;
    let Kind::Table(mut section) = value.kind else {
        let text = format!(
            "expected a section [hook.payload], found {}",
            value.kind.name()
        );
        reading.problem(&value.place, "hook.payload", text);
        return None;
    };
    if sender != Sender::Custom {
        let text = format!(
            "belongs to sender custom, and this hook's sender is {}, whose payload is known",
            sender.name()
        );
        reading.problem(&value.place, "hook.payload", text);
    }
    let mut payload = Payload::default();
    for (key, pointer) in [
        ("each", &mut payload.each),
        ("event", &mut payload.event),
        ("branch", &mut payload.branch),
        ("tag", &mut payload.tag),
        ("repository", &mut payload.repository),
        ("image", &mut payload.image),
        ("commit", &mut payload.commit),
        ("id", &mut payload.id),
    ] {
        if let Taken::Good(text, place) = reading.text(&mut section, key, parse::pointer) {
            reading.show(label(&format!("payload.{key}")), &text, place);
            *pointer = Some(text);
        }
    }
    payload.require = require(section.take("require"), label, reading);
    reading.finish(section);
    Some(payload)
}

/// Pointers and the values of which one must stand there, in the order of the file as far as lines tell it.
fn require(
    value: Option<Value>,
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
) -> Vec<(String, Vec<String>)> {
    const PATH: &str = "hook.payload.require";
    let Some(value) = value else {
        return Vec::new();
    };
    let Kind::Table(section) = value.kind else {
        let text = format!(
            "expected pointers and values, such as {{ \"/status\" = \"success\" }}, found {}",
            value.kind.name()
        );
        reading.problem(&value.place, PATH, text);
        return Vec::new();
    };
    let mut entries: Vec<(String, Value)> = section.entries.into_iter().collect();
    entries.sort_by(|(_, one), (_, other)| one.place.cmp(&other.place));
    let mut required = Vec::new();
    for (pointer, value) in entries {
        let pointer = match parse::pointer(&pointer) {
            Ok(pointer) => pointer,
            Err(text) => {
                reading.problem(&value.place, PATH, text);
                continue;
            }
        };
        let values = match value.kind {
            Kind::List(values) => values,
            kind => vec![Value {
                kind,
                place: value.place.clone(),
            }],
        };
        let mut texts = Vec::new();
        for one in &values {
            match &one.kind {
                Kind::Text(text) | Kind::Integer(text) => texts.push(text.clone()),
                Kind::Boolean(flag) => texts.push(flag.to_string()),
                other => {
                    let text =
                        format!("expected a text or a list of texts, found {}", other.name());
                    reading.problem(&one.place, PATH, text);
                }
            }
        }
        if values.is_empty() {
            reading.problem(&value.place, PATH, "an empty list can never be met");
        }
        reading.show(
            label(&format!("payload.require {pointer}")),
            texts.join(", "),
            value.place,
        );
        required.push((pointer, texts));
    }
    required
}
