//! `[[hook]]`: its scheme and secrets, the stacks it may update, and its rules.

use std::fmt::Display;
use std::time::Duration;

use super::{CheckedStacks, identifier, network, pattern, standard_webhooks_secret};
use crate::config::ConfigScope;
use crate::config::checker::{Checker, Section, first_source, source_of};
use crate::config::parse;
use crate::config::problem::ValueSource;
use crate::config::schema::{Field, HookSection, List, PayloadSection, Sourced};
use crate::hook::{
    Hook, HookName, Payload, RegistryAliases, Rules, Scheme, SchemeName, Sender, TokenKind,
};
use crate::limits;
use crate::secret::{Hash, Secret};
use crate::signature::{Encoding, HmacForm, SignedText};
use crate::stack::{PullMode, Stack, StackKey};
use crate::suggest;

/// A webhook secret shorter than this can be guessed; the configuration refuses it (bytes).
const WEBHOOK_SECRET_MIN: usize = 16;

impl Checker<'_> {
    /// All hooks; none if the scope does not read their secrets, because a hook without a secret would be open.
    pub(super) fn hooks(
        &mut self,
        sections: &[Sourced<HookSection>],
        stacks: &CheckedStacks,
    ) -> Vec<Hook> {
        let any = Section::only("hook");
        if sections.is_empty() && matches!(self.scope, ConfigScope::Serve | ConfigScope::Sender) {
            let text = "none is configured; set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE to a text that \"stackhook \
                        generate-secret\" prints";
            self.problem(&any, "", &ValueSource::Default, text);
        }
        let mut names: Vec<Sourced<HookName>> = Vec::new();
        let mut hooks: Vec<Hook> = Vec::new();
        for section in sections {
            let (name, hook) = self.hook(section, stacks);
            if let Some(name) = name {
                if let Some(other) = names.iter().find(|other| other.value == name.value) {
                    let other = self.lines.describe(&other.source);
                    let text = format!(
                        "\"{}\" is already the name of another hook ({other})",
                        name.value
                    );
                    self.problem(&any, "name", &name.source, text);
                    continue;
                }
                names.push(name);
            }
            hooks.extend(hook);
        }
        // `/webhook/update/NAME/` is hook `update` with a stack, but a hook may have that name, too.
        let default = hooks
            .iter()
            .find(|hook| hook.name.as_str() == HookName::DEFAULT);
        for name in &names {
            let is_named = |key: &StackKey| key.as_str() == name.value.as_str();
            if default.is_some_and(|hook| hook.stacks.iter().any(is_named)) {
                let text = format!(
                    "\"{0}\" is also the key of a stack of hook \"update\", so /webhook/update/{0}/ would be ambiguous; rename one of \
                     them",
                    name.value
                );
                self.problem(&any, "name", &name.source, text);
            }
        }
        self.warn_of_shared_secrets(&hooks);
        hooks
    }

    /// A body that one hook's sender signed would be accepted by the other hook.
    fn warn_of_shared_secrets(&mut self, hooks: &[Hook]) {
        for (index, hook) in hooks.iter().enumerate() {
            for other in hooks.iter().skip(index + 1) {
                let is_shared = |own: &Secret| {
                    let mut others = other.secrets.iter();
                    others.any(|secret| own.is(secret.expose().as_bytes()))
                };
                if hook.secrets.iter().any(is_shared) {
                    self.warnings.push(format!(
                        "hooks \"{}\" and \"{}\" share a secret: a delivery signed for one is accepted by the other",
                        hook.name, other.name
                    ));
                }
            }
        }
    }

    fn hook(
        &mut self,
        section: &Sourced<HookSection>,
        stacks: &CheckedStacks,
    ) -> (Option<Sourced<HookName>>, Option<Hook>) {
        let given = &section.value;
        let unnamed = Section::named("hook", "?");
        let default = Sourced::new(HookName::DEFAULT.to_owned(), section.source.clone());
        let field = given.name.as_ref().unwrap_or(&default);
        let parse_name = |text: &str| identifier(text, HookName::parse);
        let name = self.parse(&unnamed, "name", field, parse_name);
        let at = match &name {
            Some(name) => &Section::named("hook", name.as_str()),
            None => &unnamed,
        };
        let sender = self.setting(
            at,
            "sender",
            &given.sender,
            Sender::default().name(),
            |text| parse::choice(text, Sender::NAMES, Sender::parse),
        );
        // A wrong sender's other problems would be consequences; the default stands in for it.
        let sender = sender.unwrap_or_default();
        let secrets = self.hook_secrets(at, section);
        let scheme = self.scheme(at, given, sender, secrets.as_ref());
        if let (Some(scheme), Some(secrets)) = (&scheme, &secrets) {
            for text in unsuitable_secrets(scheme, &secrets.value) {
                self.problem(at, "secret", &secrets.source, text);
            }
        }
        let keys = self.hook_stacks(at, given, &stacks.keys);
        let default_stack = default_stack(sender, keys.as_deref().unwrap_or_default(), stacks);
        if let Some(key) = &default_stack {
            let source = match stacks.default == default_stack {
                true => "PORTAINER_STACK_NAME",
                false => "the only stack",
            };
            self.show_with_source(at, "default_stack", key, source.to_owned());
        }
        let rules = self.rules(at, section, sender, &stacks.stacks, keys.as_deref());
        let default_wait = match sender.default_wait().as_secs() {
            0 => "0s".to_owned(),
            seconds => format!("{}m", seconds / 60),
        };
        let wait = self.setting(at, "wait", &given.wait, &default_wait, wait);
        let allow_from = self.rule(at, "allow_from", &given.allow_from, "any", network);
        let registry = self.registry(at, given, sender);
        let payload = given.payload.as_ref();
        let payload = payload.map(|payload| self.payload(at, payload, sender));
        let hook = || {
            Some(Hook {
                name: name.clone()?,
                sender,
                scheme: scheme?,
                secrets: secrets?.value,
                stacks: keys?,
                default_stack,
                rules,
                wait: wait?,
                allow_from,
                payload,
                registry,
            })
        };
        let hook = hook();
        let name = name.map(|name| Sourced::new(name, field.source.clone()));
        (name, hook)
    }

    fn hook_secrets(
        &mut self,
        at: &Section,
        section: &Sourced<HookSection>,
    ) -> Option<Sourced<Vec<Secret>>> {
        let given = &section.value;
        if self.scope == ConfigScope::Portainer {
            return None;
        }
        if first_source(&[&given.secret, &given.secret_file]).is_none() {
            let variables = match at.name.as_str() {
                HookName::DEFAULT => {
                    "PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE, or "
                }
                _ => "",
            };
            let text = format!(
                "hook \"{}\" has no secret, and an open hook is never served; set {variables}secret or secret_file, to a text that \
                 \"stackhook generate-secret\" prints",
                at.name
            );
            self.problem(at, "secret", &section.source, text);
        }
        self.secrets(at, "secret", (&given.secret, &given.secret_file), true)
    }

    /// The scheme with its header and kind; `None` if it is wrong, or depends on secrets that are not known.
    fn scheme(
        &mut self,
        at: &Section,
        given: &HookSection,
        sender: Sender,
        secrets: Option<&Sourced<Vec<Secret>>>,
    ) -> Option<Scheme> {
        let header = given.header.as_ref();
        let header = header.and_then(|field| self.parse(at, "header", field, parse::header));
        let kind = given.kind.as_ref();
        let kind = kind.and_then(|field| self.parse(at, "kind", field, TokenKind::expect));
        let name = match &given.scheme {
            Some(field) => self.parse(at, "scheme", field, SchemeName::expect)?,
            None => match sender.default_scheme(secrets.map(|secrets| secrets.value.as_slice())) {
                Ok(name) => name?,
                Err(text) => {
                    let source = secrets.map_or(&ValueSource::Default, |secrets| &secrets.source);
                    self.problem(at, "secret", source, text);
                    return None;
                }
            },
        };
        let is_hmac = name == SchemeName::Hmac;
        let is_token = name == SchemeName::Token;
        let has_header = is_hmac || is_token || name == SchemeName::Generic;
        let of_hmac = [
            ("hash", &given.hash),
            ("encoding", &given.encoding),
            ("label", &given.label),
            ("signed", &given.signed),
            ("timestamp_header", &given.timestamp_header),
        ];
        let of_hmac = of_hmac.map(|(key, field)| (key, field, is_hmac, "scheme hmac"));
        let header_schemes = "schemes token, generic and hmac";
        let belongs = [
            ("header", &given.header, has_header, header_schemes),
            ("kind", &given.kind, is_token, "scheme token"),
        ];
        for (key, field, fits, schemes) in belongs.into_iter().chain(of_hmac) {
            if let (Some(field), false) = (field, fits) {
                let text = format!("belongs to {schemes}, but this hook's scheme is {name}");
                self.problem(at, key, &field.source, text);
            }
        }
        let default = sender.scheme(name);
        let header = header.unwrap_or_else(|| default.header.clone());
        let kind = kind.unwrap_or(match header.as_str() {
            same if same == default.header => default.kind,
            // Only `Authorization` has a word before the token.
            "authorization" => TokenKind::Bearer,
            _ => TokenKind::Raw,
        });
        self.show(at, "scheme", name, source_of(&given.scheme));
        if has_header {
            self.show(at, "header", &header, source_of(&given.header));
        }
        if is_token {
            self.show(at, "kind", kind, source_of(&given.kind));
        }
        let hmac = match is_hmac {
            true => self.hmac_form(at, given, &default.hmac)?,
            false => default.hmac.clone(),
        };
        Some(Scheme {
            header,
            kind,
            hmac,
            ..default
        })
    }

    /// The details of scheme `hmac`; `None` if one of them is wrong.
    fn hmac_form(
        &mut self,
        at: &Section,
        given: &HookSection,
        default: &HmacForm,
    ) -> Option<HmacForm> {
        let hash = self.setting(at, "hash", &given.hash, default.hash.name(), |text| {
            parse::choice(text, Hash::NAMES, Hash::parse)
        });
        if let (Some(field), Some(Hash::Sha1)) = (&given.hash, hash) {
            let text = "SHA-1 is weak; choose sha256 or sha512 if the sender can";
            self.warn(at, "hash", &field.source, text);
        }
        let encoding = default.encoding.name();
        let encoding = self.setting(at, "encoding", &given.encoding, encoding, Encoding::expect);
        let label = self.optional(at, "label", &given.label, "none", parse::word);
        let signed = default.signed.as_str();
        let signed = self.setting(at, "signed", &given.signed, signed, SignedText::parse)?;
        let header = &given.timestamp_header;
        let timestamp_header = self.optional(at, "timestamp_header", header, "none", parse::header);
        match (signed.has_timestamp(), header, &given.signed) {
            (true, None, Some(field)) => {
                let text = "{timestamp} needs timestamp_header, the header with the signed time";
                self.problem(at, "signed", &field.source, text);
                return None;
            }
            (false, Some(field), _) => {
                let text =
                    "the time is only checked if it is signed: write {timestamp} into \"signed\"";
                self.problem(at, "timestamp_header", &field.source, text);
                return None;
            }
            _ => {}
        }
        Some(HmacForm {
            hash: hash?,
            encoding: encoding?,
            label: label.unwrap_or_default().into(),
            signed,
            timestamp_header: timestamp_header.unwrap_or_default().into(),
        })
    }

    /// Names of registries in deliveries, and the names that stacks use.
    fn registry(&mut self, at: &Section, given: &HookSection, sender: Sender) -> RegistryAliases {
        let mut aliases = RegistryAliases::new();
        for (from, field) in &given.registry {
            if !sender.has_registry_alias() {
                let text = format!("sender {} does not need it", sender.name());
                self.problem(at, "registry", &field.source, text);
                return aliases;
            }
            let host = |text: &str| match text.contains("://") || text.ends_with('/') {
                true => Err("expected a host such as \"registry.example.com\"".to_owned()),
                false => parse::word(text),
            };
            if let Some(to) = self.parse(at, "registry", field, host) {
                self.show(at, &format!("registry {from}"), &to, &field.source);
                aliases.push((from.clone(), to));
            }
        }
        aliases
    }

    /// The stacks of a hook, each once; all if it names none.
    fn hook_stacks(
        &mut self,
        at: &Section,
        given: &HookSection,
        keys: &[StackKey],
    ) -> Option<Vec<StackKey>> {
        let known = |text: &str| {
            let found = keys.iter().find(|key| key.as_str() == text).cloned();
            found.ok_or_else(|| {
                let near = suggest::did_you_mean(text, keys.iter().map(StackKey::as_str));
                format!("names a stack that is not configured{near}")
            })
        };
        let listed = self.list(at, "stacks", &given.stacks, "all", known)?;
        match &given.stacks {
            None => return Some(keys.to_vec()),
            Some(field) if listed.is_empty() => {
                let text = "names no stack; leave it out for all of them";
                self.problem(at, "stacks", &field.source, text);
                return None;
            }
            Some(_) => {}
        }
        let mut stacks = Vec::new();
        for key in listed {
            if !stacks.contains(&key) {
                stacks.push(key);
            }
        }
        Some(stacks)
    }

    fn rules(
        &mut self,
        at: &Section,
        section: &Sourced<HookSection>,
        sender: Sender,
        stacks: &[Stack],
        keys: Option<&[StackKey]>,
    ) -> Rules {
        let given = &section.value;
        let lists = [
            ("events", &given.events),
            ("branches", &given.branches),
            ("tags", &given.tags),
            ("repositories", &given.repositories),
            ("paths", &given.paths),
            ("workflows", &given.workflows),
            ("deployment_environments", &given.deployment_environments),
        ];
        let [
            events,
            branches,
            tags,
            repositories,
            paths,
            workflows,
            deployment_environments,
        ] = lists.map(|(key, field)| match (key, field) {
            ("workflows" | "deployment_environments", None) => Vec::new(),
            ("events", _) => self.rule(
                at,
                key,
                field,
                "the sender's events for something new",
                glob,
            ),
            _ => self.rule(at, key, field, "any", glob),
        });
        let prereleases = &given.prereleases;
        let rules = Rules {
            events,
            branches,
            tags,
            repositories,
            images: self.rule(at, "images", &given.images, "any", pattern),
            paths,
            workflows,
            deployment_environments,
            ignore_prereleases: prereleases.is_some() && !self.flag(at, "prereleases", prereleases),
        };
        for (rule, text) in rules.impossible(sender) {
            let list = lists.iter().find(|(key, _)| *key == rule);
            let list = list.and_then(|(_, field)| field.as_ref());
            let flag = prereleases.as_ref().filter(|_| rule == "prereleases");
            let source = list
                .map(|field| &field.source)
                .or(flag.map(|field| &field.source));
            self.problem(at, rule, source.unwrap_or(&section.source), text);
        }
        let is_pulled_by_portainer = |stack: &&Stack| {
            stack.pull == PullMode::Portainer && keys.is_some_and(|keys| keys.contains(&stack.key))
        };
        if let Some(field) = given.images.as_ref().filter(|_| !rules.images.is_empty())
            && let Some(stack) = stacks.iter().find(is_pulled_by_portainer)
        {
            let text = format!(
                "its stack \"{}\" has pull = \"portainer\", where Portainer pulls every image; leave \"images\" out or use pull = \
                 \"first\"",
                stack.key
            );
            self.problem(at, "images", &field.source, text);
        }
        rules
    }

    /// A list that must not be empty if it is given: it could mean nothing or everything.
    fn rule<T: Display>(
        &mut self,
        at: &Section,
        key: &str,
        field: &Field<List>,
        absent: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if let Some(field) = field.as_ref().filter(|field| field.value.is_empty()) {
            let text = "is empty; leave it out if it should not limit anything";
            self.problem(at, key, &field.source, text);
            return Vec::new();
        }
        self.list(at, key, field, absent, parse).unwrap_or_default()
    }

    /// `[hook.payload]`: the JSON pointers of sender `custom`.
    fn payload(
        &mut self,
        hook: &Section,
        section: &Sourced<PayloadSection>,
        sender: Sender,
    ) -> Payload {
        let given = &section.value;
        if !sender.has_payload() {
            let text = format!(
                "belongs to sender custom, but this hook's sender is {}, whose payload is known",
                sender.name()
            );
            self.problem(hook, "payload", &section.source, text);
        }
        let mut value = |key: &str, field: &Field, parse: fn(&str) -> Result<String, String>| {
            let field = field.as_ref()?;
            let key = format!("payload.{key}");
            let value = self.parse(hook, &key, field, parse)?;
            self.show(hook, &key, &value, &field.source);
            Some(value)
        };
        let pointer = parse::pointer_or_header;
        Payload {
            each: value("each", &given.each, parse::pointer),
            event: value("event", &given.event, pointer),
            branch: value("branch", &given.branch, pointer),
            tag: value("tag", &given.tag, pointer),
            repository: value("repository", &given.repository, pointer),
            image: value("image", &given.image, pointer),
            image_prefix: value("image_prefix", &given.image_prefix, image_prefix),
            commit: value("commit", &given.commit, pointer),
            id: value("id", &given.id, pointer),
            require: self.require(hook, given),
        }
    }

    /// Pointers and the values of which one must be there, in the order of the file.
    fn require(&mut self, hook: &Section, given: &PayloadSection) -> Vec<(String, Vec<String>)> {
        const KEY: &str = "payload.require";
        let mut entries: Vec<_> = given.require.iter().collect();
        entries.sort_by(|(_, a), (_, b)| a.source.cmp(&b.source));
        let mut required = Vec::new();
        for (pointer, Sourced { value, source }) in entries {
            if value.is_empty() {
                self.problem(hook, KEY, source, "an empty list can never match");
            }
            match parse::pointer_or_header(pointer) {
                Ok(pointer) => {
                    let values = value.join(", ");
                    self.show(hook, &format!("{KEY} {pointer}"), values, source);
                    required.push((pointer, value.clone()));
                }
                Err(why) => self.problem(hook, KEY, source, why),
            }
        }
        required
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = parse::duration(text)?;
    match wait > limits::WAIT_MAX {
        true => Err("expected at most 30m".to_owned()),
        false => Ok(wait),
    }
}

/// A registry and perhaps the beginning of a path, before every image.
fn image_prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    match text.chars().all(plain) && !text.contains("://") && !text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err(
            "expected the beginning of an image, such as \"registry.example.com/docker\""
                .to_owned(),
        ),
    }
}

/// Branches, tags and the like; events never carry the full name of a ref.
fn glob(text: &str) -> Result<String, String> {
    for prefix in ["refs/heads/", "refs/tags/"] {
        if text.starts_with(prefix) {
            return Err(format!("write the bare name, without {prefix}"));
        }
    }
    parse::word(text)
}

/// The stack of a delivery that names none; only sender `generic` may name one.
fn default_stack(sender: Sender, own: &[StackKey], stacks: &CheckedStacks) -> Option<StackKey> {
    match (sender.is_pipeline(), own, &stacks.default) {
        (true, own, Some(key)) if own.contains(key) => Some(key.clone()),
        (true, [only], _) => Some(only.clone()),
        _ => None,
    }
}

/// The reasons why secrets cannot be used with a scheme, by their number but not their text.
fn unsuitable_secrets(scheme: &Scheme, secrets: &[Secret]) -> Vec<String> {
    let check = |secret: &Secret| {
        let text = secret.expose();
        let is_visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match (scheme.name, scheme.kind) {
            (SchemeName::StandardWebhooks, _) => standard_webhooks_secret(secret),
            (SchemeName::Token, TokenKind::Basic) if !text.contains(':') => {
                Err("kind basic needs user:password as the secret".to_owned())
            }
            _ if secret.len() < WEBHOOK_SECRET_MIN => Err(format!(
                "must have at least {} characters; \"stackhook generate-secret\" prints one that cannot be guessed",
                WEBHOOK_SECRET_MIN
            )),
            (SchemeName::Token, TokenKind::Raw | TokenKind::Bearer) if !is_visible => {
                Err("contains a character that no header can carry".to_owned())
            }
            _ => Ok(()),
        }
    };
    let with_number = |index: usize, text: String| match secrets.len() {
        1 => text,
        _ => format!("secret {}: {text}", index + 1),
    };
    let secrets = secrets.iter().enumerate();
    secrets
        .filter_map(|(index, secret)| Some(with_number(index, check(secret).err()?)))
        .collect()
}
