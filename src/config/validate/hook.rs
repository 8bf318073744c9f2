//! `[[hook]]`: its scheme and secrets, the stacks it may update, and its rules.

use std::fmt::Display;
use std::time::Duration;

use super::{
    Checker, Section, first_source, identifier, network, pattern, standard_webhooks_secret,
};
use crate::config::problem::Source;
use crate::config::schema::{HookSection, List, PayloadSection, Sourced};
use crate::config::{Config, ConfigScope, parse};
use crate::hook::{
    Hook, HookName, Payload, RegistryAliases, Rules, Scheme, SchemeName, Sender, TokenKind,
};
use crate::limits;
use crate::secret::{Hash, Secret};
use crate::signature::{Encoding, HmacForm, SignedText};
use crate::stack::{PullMode, StackKey};
use crate::suggest;

impl Checker<'_> {
    /// All hooks; none if the scope does not read their secrets, because a hook without a secret would be open.
    pub(super) fn hooks(
        &mut self,
        sections: &[Sourced<HookSection>],
        config: &Config,
        keys: &[StackKey],
    ) -> Vec<Hook> {
        if sections.is_empty() && matches!(self.scope, ConfigScope::Serve | ConfigScope::Sender) {
            let text = "none is configured; set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE to a text that \"stackhook \
                        generate-secret\" prints";
            self.problem(&Source::Default, "hook", text);
        }
        let mut names: Vec<Sourced<HookName>> = Vec::new();
        let mut hooks: Vec<Hook> = Vec::new();
        for section in sections {
            let (name, hook) = self.hook(section, config, keys);
            if let Some(name) = name {
                if let Some(other) = names.iter().find(|other| other.value == name.value) {
                    let other = self.lines.describe(&other.source);
                    let text = format!(
                        "\"{}\" is already the name of another hook ({other})",
                        name.value
                    );
                    self.problem(&name.source, "hook.name", text);
                    continue;
                }
                names.push(name);
            }
            hooks.extend(hook);
        }
        self.check_ambiguous_urls(&names, &hooks);
        self.warn_of_shared_secrets(&hooks);
        hooks
    }

    /// `/webhook/update/NAME/` is hook `update` with a stack, but a hook may have that name, too.
    fn check_ambiguous_urls(&mut self, names: &[Sourced<HookName>], hooks: &[Hook]) {
        let default = hooks
            .iter()
            .find(|hook| hook.name.as_str() == HookName::DEFAULT);
        for name in names {
            let is_stack = |hook: &Hook| {
                hook.stacks
                    .iter()
                    .any(|key| key.as_str() == name.value.as_str())
            };
            if default.is_some_and(is_stack) {
                let text = format!(
                    "\"{0}\" is also the key of a stack of hook \"update\", so /webhook/update/{0}/ would be ambiguous; rename one of \
                     them",
                    name.value
                );
                self.problem(&name.source, "hook.name", text);
            }
        }
    }

    /// A body that one hook's sender signed would be accepted by the other hook.
    fn warn_of_shared_secrets(&mut self, hooks: &[Hook]) {
        for (index, hook) in hooks.iter().enumerate() {
            for other in hooks.iter().skip(index + 1) {
                let shared = hook.secrets.iter().any(|own| {
                    let mut others = other.secrets.iter();
                    others.any(|secret| own.is(secret.expose().as_bytes()))
                });
                if shared {
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
        config: &Config,
        keys: &[StackKey],
    ) -> (Option<Sourced<HookName>>, Option<Hook>) {
        let given = &section.value;
        let unnamed = Section::named("hook", "?");
        let name = match &given.name {
            Some(field) => self
                .parse(&unnamed, "name", field, |text| {
                    identifier(text, HookName::parse)
                })
                .map(|name| Sourced::new(name, field.source.clone())),
            None => HookName::parse(HookName::DEFAULT)
                .map(|name| Sourced::new(name, section.source.clone())),
        };
        let at = match &name {
            Some(name) => Section::named("hook", name.value.as_str()),
            None => unnamed,
        };
        let sender = self.setting(
            &at,
            "sender",
            &given.sender,
            (Sender::default(), Sender::default().name()),
            |text| parse::choice(text, Sender::NAMES, Sender::parse),
        );
        let secrets = self.hook_secrets(&at, section);
        let scheme = self.scheme(&at, given, sender, secrets.as_ref());
        if let (Some(scheme), Some(secrets)) = (&scheme, &secrets) {
            for text in unsuitable_secrets(scheme, &secrets.value) {
                self.problem(&secrets.source, "hook.secret", text);
            }
        }
        let stacks = self.hook_stacks(&at, given, keys);
        let default_stack = stacks
            .as_ref()
            .and_then(|stacks| default_stack(sender, stacks, config));
        if let Some(key) = &default_stack {
            let source = match config.default_stack == default_stack {
                true => "PORTAINER_STACK_NAME",
                false => "the only stack",
            };
            self.show_with_source(at.label("default_stack"), key, source.to_owned());
        }
        let rules = self.rules(&at, section, sender, config, stacks.as_deref());
        let default = sender.default_wait();
        let default_text = match default.is_zero() {
            true => "0s".to_owned(),
            false => format!("{}m", default.as_secs() / 60),
        };
        let wait = self.setting(&at, "wait", &given.wait, (default, &default_text), wait);
        let allow_from = self.rule(&at, "allow_from", &given.allow_from, "any", network);
        let registry = self.registry(&at, given, sender);
        let payload = given
            .payload
            .as_ref()
            .map(|payload| self.payload(&at, payload, sender));
        let build = || {
            Some(Hook {
                name: name.as_ref()?.value.clone(),
                sender,
                scheme: scheme?,
                secrets: secrets?.value,
                stacks: stacks?,
                default_stack,
                rules,
                wait,
                allow_from,
                payload,
                registry,
            })
        };
        let hook = build();
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
        if first_source([&given.secret, &given.secret_file]).is_none() {
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
            self.problem(&section.source, "hook.secret", text);
        }
        self.secrets(at, "secret", &given.secret, &given.secret_file, true)
    }

    /// The scheme with its header and kind; `None` if it is wrong, or depends on secrets that are not known.
    fn scheme(
        &mut self,
        at: &Section,
        given: &HookSection,
        sender: Sender,
        secrets: Option<&Sourced<Vec<Secret>>>,
    ) -> Option<Scheme> {
        let chosen = given.scheme.as_ref().map(|field| {
            let name = |text: &str| parse::choice(text, SchemeName::NAMES, SchemeName::parse);
            self.parse(at, "scheme", field, name)
        });
        let header = given
            .header
            .as_ref()
            .map(|field| self.parse(at, "header", field, parse::header));
        let kind = given.kind.as_ref().map(|field| {
            let kind = |text: &str| parse::choice(text, TokenKind::NAMES, TokenKind::parse);
            self.parse(at, "kind", field, kind)
        });
        let name = match chosen {
            Some(name) => name?,
            None => match sender.default_scheme(secrets.map(|secrets| secrets.value.as_slice())) {
                Ok(name) => name?,
                Err(text) => {
                    let source = secrets.map_or(Source::Default, |secrets| secrets.source.clone());
                    self.problem(&source, "hook.secret", text);
                    return None;
                }
            },
        };
        let takes_header = matches!(
            name,
            SchemeName::Token | SchemeName::Generic | SchemeName::Hmac
        );
        let takes_kind = name == SchemeName::Token;
        for (field, takes, key, schemes) in [
            (
                &given.header,
                takes_header,
                "header",
                "schemes token, generic and hmac",
            ),
            (&given.kind, takes_kind, "kind", "scheme token"),
        ] {
            if let (Some(field), false) = (field, takes) {
                let text = format!(
                    "belongs to {schemes}, but this hook's scheme is {}",
                    name.name()
                );
                self.problem(&field.source, &at.path(key), text);
            }
        }
        let default = sender.scheme(name);
        let header = header.flatten().unwrap_or_else(|| default.header.clone());
        let kind = kind.flatten().unwrap_or(match header == default.header {
            true => default.kind,
            // Only `Authorization` has a word before the token.
            false if header != "authorization" => TokenKind::Raw,
            false => TokenKind::Bearer,
        });
        let source = |field: &Option<Sourced<String>>| {
            let source = field.as_ref().map(|field| field.source.clone());
            source.unwrap_or_default()
        };
        self.show(at.label("scheme"), name.name(), &source(&given.scheme));
        if takes_header {
            self.show(at.label("header"), &header, &source(&given.header));
        }
        if takes_kind {
            self.show(at.label("kind"), kind.name(), &source(&given.kind));
        }
        let hmac = self.hmac_form(at, given, name, &default.hmac)?;
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
        name: SchemeName,
        default: &HmacForm,
    ) -> Option<HmacForm> {
        if name != SchemeName::Hmac {
            for (field, key) in [
                (&given.hash, "hash"),
                (&given.encoding, "encoding"),
                (&given.label, "label"),
                (&given.signed, "signed"),
                (&given.timestamp_header, "timestamp_header"),
            ] {
                if let Some(field) = field {
                    let name = name.name();
                    let text = format!("belongs to scheme hmac, but this hook's scheme is {name}");
                    self.problem(&field.source, &at.path(key), text);
                }
            }
            return Some(default.clone());
        }
        let hash = (default.hash, default.hash.name());
        let hash = self.setting(at, "hash", &given.hash, hash, |text| {
            parse::choice(text, Hash::NAMES, Hash::parse)
        });
        if let (Some(field), Hash::Sha1) = (&given.hash, hash) {
            let text = "SHA-1 is weak; choose sha256 or sha512 if the sender can";
            self.warn(&field.source, &at.path("hash"), text);
        }
        let encoding = (default.encoding, default.encoding.name());
        let encoding = self.setting(at, "encoding", &given.encoding, encoding, |text| {
            parse::choice(text, Encoding::NAMES, Encoding::parse)
        });
        let label = self.optional(at, "label", &given.label, "none", parse::word);
        let signed = (default.signed.clone(), default.signed.as_str());
        let signed = self.setting(at, "signed", &given.signed, signed, SignedText::parse);
        let header = &given.timestamp_header;
        let timestamp_header = self.optional(at, "timestamp_header", header, "none", parse::header);
        match (signed.has_timestamp(), header, &given.signed) {
            (true, None, Some(field)) => {
                let text = "{timestamp} needs timestamp_header, the header with the signed time";
                self.problem(&field.source, &at.path("signed"), text);
                return None;
            }
            (false, Some(field), _) => {
                let text =
                    "the time is only checked if it is signed: write {timestamp} into \"signed\"";
                self.problem(&field.source, &at.path("timestamp_header"), text);
                return None;
            }
            _ => {}
        }
        Some(HmacForm {
            hash,
            encoding,
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
                self.problem(&field.source, &at.path("registry"), text);
                return aliases;
            }
            let host = |text: &str| match text.contains("://") || text.ends_with('/') {
                true => Err("expected a host such as \"registry.example.com\"".to_owned()),
                false => parse::word(text),
            };
            if let Some(to) = self.parse(at, "registry", field, host) {
                self.show(at.label(&format!("registry {from}")), &to, &field.source);
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
                self.problem(&field.source, "hook.stacks", text);
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
        config: &Config,
        stacks: Option<&[StackKey]>,
    ) -> Rules {
        let given = &section.value;
        let rules = Rules {
            events: self.rule(
                at,
                "events",
                &given.events,
                "the sender's events for something new",
                glob,
            ),
            branches: self.rule(at, "branches", &given.branches, "any", glob),
            tags: self.rule(at, "tags", &given.tags, "any", glob),
            repositories: self.rule(at, "repositories", &given.repositories, "any", glob),
            images: self.rule(at, "images", &given.images, "any", pattern),
            paths: self.rule(at, "paths", &given.paths, "any", glob),
            workflows: match &given.workflows {
                None => Vec::new(),
                field => self.rule(at, "workflows", field, "any", glob),
            },
            deployment_environments: match &given.deployment_environments {
                None => Vec::new(),
                field => self.rule(at, "deployment_environments", field, "any", glob),
            },
            ignore_prereleases: given
                .prereleases
                .as_ref()
                .is_some_and(|_| !self.flag(at, "prereleases", &given.prereleases)),
        };
        for (rule, text) in rules.impossible(sender) {
            let prereleases = given.prereleases.as_ref().map(|field| &field.source);
            let field = match rule {
                "events" => &given.events,
                "workflows" => &given.workflows,
                "deployment_environments" => &given.deployment_environments,
                "branches" => &given.branches,
                "tags" => &given.tags,
                "repositories" => &given.repositories,
                "paths" => &given.paths,
                _ => &None,
            };
            let source = field.as_ref().map(|field| &field.source);
            let source = source.or(prereleases.filter(|_| rule == "prereleases"));
            let source = source.unwrap_or(&section.source);
            self.problem(source, &at.path(rule), text);
        }
        if let (Some(field), Some(stacks), false) = (&given.images, stacks, rules.images.is_empty())
        {
            let pulled_by_portainer = |stack: &&crate::stack::Stack| {
                stack.pull == PullMode::Portainer && stacks.contains(&stack.key)
            };
            if let Some(stack) = config.stacks.iter().find(pulled_by_portainer) {
                let text = format!(
                    "its stack \"{}\" has pull = \"portainer\", where Portainer pulls every image; leave \"images\" out or use pull = \
                     \"first\"",
                    stack.key
                );
                self.problem(&field.source, "hook.images", text);
            }
        }
        rules
    }

    /// A list that must not be empty if it is given: it could mean nothing or everything.
    fn rule<T: Display>(
        &mut self,
        at: &Section,
        key: &str,
        field: &Option<Sourced<List>>,
        absent: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if let Some(field) = field
            && field.value.is_empty()
        {
            let text = "is empty; leave it out if it should not limit anything";
            self.problem(&field.source, &at.path(key), text);
            return Vec::new();
        }
        self.list(at, key, field, absent, parse).unwrap_or_default()
    }

    /// `[hook.payload]`: the JSON pointers of sender `custom`.
    fn payload(
        &mut self,
        at: &Section,
        section: &Sourced<PayloadSection>,
        sender: Sender,
    ) -> Payload {
        let given = &section.value;
        if !sender.has_payload() {
            let text = format!(
                "belongs to sender custom, but this hook's sender is {}, whose payload is known",
                sender.name()
            );
            self.problem(&section.source, "hook.payload", text);
        }
        let inner = Section::named("hook.payload", "");
        let mut pointer = |key: &str, field: &Option<Sourced<String>>| {
            let field = field.as_ref()?;
            let parse = match key {
                "each" => parse::pointer,
                _ => parse::pointer_or_header,
            };
            let pointer = self.parse(&inner, key, field, parse)?;
            self.show(at.label(&format!("payload.{key}")), &pointer, &field.source);
            Some(pointer)
        };
        let payload = Payload {
            each: pointer("each", &given.each),
            event: pointer("event", &given.event),
            branch: pointer("branch", &given.branch),
            tag: pointer("tag", &given.tag),
            repository: pointer("repository", &given.repository),
            image: pointer("image", &given.image),
            commit: pointer("commit", &given.commit),
            id: pointer("id", &given.id),
            image_prefix: None,
            require: Vec::new(),
        };
        let image_prefix = given.image_prefix.as_ref().and_then(|field| {
            let prefix = self.parse(&inner, "image_prefix", field, image_prefix)?;
            self.show(at.label("payload.image_prefix"), &prefix, &field.source);
            Some(prefix)
        });
        let require = self.require(at, given);
        Payload {
            image_prefix,
            require,
            ..payload
        }
    }

    /// Pointers and the values of which one must be there, in the order of the file.
    fn require(&mut self, at: &Section, given: &PayloadSection) -> Vec<(String, Vec<String>)> {
        let mut entries: Vec<_> = given.require.iter().collect();
        entries.sort_by(|(_, a), (_, b)| a.source.cmp(&b.source));
        let mut required = Vec::new();
        for (pointer, Sourced { value, source }) in entries {
            let path = "hook.payload.require";
            let pointer = match parse::pointer_or_header(pointer) {
                Ok(pointer) => pointer,
                Err(why) => {
                    self.problem(source, path, why);
                    continue;
                }
            };
            if value.0.is_empty() {
                self.problem(source, path, "an empty list can never match");
            }
            let label = at.label(&format!("payload.require {pointer}"));
            self.show(label, value.0.join(", "), source);
            required.push((pointer, value.0.clone()));
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
fn default_stack(sender: Sender, stacks: &[StackKey], config: &Config) -> Option<StackKey> {
    match (sender.is_pipeline(), stacks, &config.default_stack) {
        (true, stacks, Some(key)) if stacks.contains(key) => Some(key.clone()),
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
            _ if secret.len() < limits::WEBHOOK_SECRET_MIN => Err(format!(
                "must have at least {} characters; \"stackhook generate-secret\" prints one that cannot be guessed",
                limits::WEBHOOK_SECRET_MIN
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
