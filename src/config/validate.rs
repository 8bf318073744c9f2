//! Turns values as written into values as used, in one pass. `portainer` and `hook` check the two largest sections.

mod portainer;
mod hook;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::checker::{Checker, Section, first_source};
use super::env::key_from_name;
use super::problem::ValueSource;
use super::schema::{ConfigFile, NotifySection, Sourced, StackSection, StaffSection};
use super::{Config, ConfigScope, LogFormat, Notify, NotifyEvent, NotifyFormat, Staff, parse};
use crate::hook::Network;
use crate::image::Pattern;
use crate::limits;
use crate::secret::{self, Secret};
use crate::stack::{PullMode, RollBack, Stack, StackKey};

impl Checker<'_> {
    /// The address where `serve` listens, by default only for this host.
    pub(super) fn listen(&mut self, file: &ConfigFile) -> Option<SocketAddr> {
        let top = Section::only("");
        self.setting(
            &top,
            "listen",
            &file.listen,
            "127.0.0.1:8484",
            parse::listen,
        )
    }

    /// The whole configuration. The result is only valid if there are no problems.
    pub(super) fn config(&mut self, file: &ConfigFile) -> Option<Config> {
        let top = Section::only("");
        let listen = self.listen(file);
        let public_url = self.optional(
            &top,
            "public_url",
            &file.public_url,
            "none",
            parse::plain_url,
        );
        let state_dir = self.state_dir(&top, file);
        let proxies = &file.trusted_proxies;
        let trusted_proxies = self.list(&top, "trusted_proxies", proxies, "none", network);
        let max_body = self.max_body(&top, file);
        let log = self.setting(&top, "log", &file.log, "info", |text| {
            let names = ["error", "warn", "info", "debug"];
            parse::choice(text, &names, |name| name.parse().ok())
        });
        let log_format = self.setting(
            &top,
            "log_format",
            &file.log_format,
            "auto",
            LogFormat::expect,
        );
        let portainer = self.portainer(file.portainer.as_ref());
        let notify = self.notify(&file.notify);
        let stacks = self.stacks(file);
        let hooks = self.hooks(&file.hook, &stacks);
        let staff = self.staff(file.staff.as_ref());
        Some(Config {
            listen: listen?,
            public_url,
            state_dir,
            trusted_proxies: trusted_proxies?,
            max_body: max_body?,
            log: log?,
            log_format: log_format?,
            portainer,
            notify,
            stacks: stacks.stacks,
            default_stack: stacks.default,
            hooks,
            staff,
        })
    }

    fn max_body(&mut self, top: &Section, file: &ConfigFile) -> Option<usize> {
        let size = self.setting(
            top,
            "max_body",
            &file.max_body,
            "1MiB",
            |text| match parse::size(text)? {
                0 => Err("must be greater than 0".to_owned()),
                size if size > limits::BODY_MAX => Err("must be at most 32MiB".to_owned()),
                size => Ok(size),
            },
        )?;
        if let Some(field) = &file.max_body
            && size < limits::BODY_LITTLE
        {
            let text = format!(
                "most deliveries are larger than {size} B and would be rejected with 413; set 64KiB or more, or leave it out (1MiB)"
            );
            self.warn(top, "max_body", &field.source, text);
        }
        Some(size)
    }

    fn state_dir(&mut self, top: &Section, file: &ConfigFile) -> Option<PathBuf> {
        const KEY: &str = "state_dir";
        if let Some(field) = &file.state_dir {
            let path = self.resolve(field);
            self.parse(top, KEY, field, |_| Ok(()))?;
            self.show(top, KEY, path.display(), &field.source);
            return Some(path);
        }
        if let Some(path) = self.env.state_dir() {
            self.show_with_source(top, KEY, path, "STATE_DIRECTORY".to_owned());
            return Some(PathBuf::from(path));
        }
        self.show(top, KEY, "none", &ValueSource::Default);
        if self.scope == ConfigScope::Serve {
            let text = "state_dir is not set: accepted deliveries, pauses and the data for rollbacks are lost when stackhook stops, and \
                        for five minutes after a restart a signed delivery can be replayed; set STACKHOOK_STATE_DIR";
            self.warnings.push(text.to_owned());
        }
        None
    }

    fn notify(&mut self, sections: &[Sourced<NotifySection>]) -> Vec<Notify> {
        if sections.is_empty() {
            self.show(&Section::only(""), "notify", "none", &ValueSource::Default);
        }
        let receivers = sections.iter().enumerate().map(|(index, section)| {
            let name = match sections.len() {
                1 => String::new(),
                _ => (index + 1).to_string(),
            };
            self.receiver(&Section::named("notify", &name), section)
        });
        receivers.flatten().collect()
    }

    fn receiver(&mut self, at: &Section, section: &Sourced<NotifySection>) -> Option<Notify> {
        let given = &section.value;
        let (mut url, mut secret) = (None, None);
        if self.needs_portainer() {
            url = self.secret(at, "url", (&given.url, &given.url_file));
            secret = self.secret(at, "secret", (&given.secret, &given.secret_file));
        }
        let format = self.setting(at, "format", &given.format, "json", NotifyFormat::expect);
        if first_source(&[&given.url, &given.url_file]).is_none() {
            let text = "has no URL; set STACKHOOK_NOTIFY_URL or STACKHOOK_NOTIFY_URL_FILE (url or url_file)";
            self.problem(at, "", &section.source, text);
        }
        if let Some(url) = &url
            && let Err(why) = parse::url(url.value.expose())
        {
            self.problem(at, "url", &url.source, why);
        }
        if let (Some(secret), Some(format)) = (&secret, format) {
            let checked = match format {
                NotifyFormat::Json => standard_webhooks_secret(&secret.value),
                _ => Err(format!(
                    "format {format} cannot be signed; leave the secret out"
                )),
            };
            if let Err(why) = checked {
                self.problem(at, "secret", &secret.source, why);
            }
        }
        let mut on = self.list(
            at,
            "on",
            &given.on,
            "failed, recovered",
            NotifyEvent::expect,
        )?;
        if on.is_empty() {
            on = vec![NotifyEvent::Failed, NotifyEvent::Recovered];
        }
        Some(Notify {
            url: url?.value,
            format: format?,
            on,
            secret: secret.map(|secret| secret.value),
        })
    }

    fn stacks(&mut self, file: &ConfigFile) -> CheckedStacks {
        let mut sources: Vec<ValueSource> = Vec::new();
        let mut checked = CheckedStacks::default();
        for (index, section) in file.stack.iter().enumerate() {
            let (key, stack) = self.stack(section);
            let Some(key) = key else { continue };
            let known = checked.keys.iter().position(|other| *other == key.value);
            if let Some(other) = known.and_then(|known| sources.get(known)) {
                let text = format!(
                    "\"{}\" is already the key of another stack ({}); give one of them another key",
                    key.value,
                    self.lines.describe(other)
                );
                self.problem(&Section::only("stack"), "key", &key.source, text);
                continue;
            }
            if file.default_stack == Some(index) {
                checked.default = Some(key.value.clone());
            }
            checked.stacks.extend(stack);
            checked.keys.push(key.value);
            sources.push(key.source);
        }
        if file.stack.is_empty() && self.scope == ConfigScope::Serve {
            let text = "none is configured; set PORTAINER_STACK_NAME to the stack's name in Portainer, or add a [[stack]] with its name";
            self.problem(&Section::only("stack"), "", &ValueSource::Default, text);
        }
        checked
    }

    fn stack(
        &mut self,
        section: &Sourced<StackSection>,
    ) -> (Option<Sourced<StackKey>>, Option<Stack>) {
        let given = &section.value;
        // Without a key its problems are still reported, under this name.
        let unnamed = Section::named("stack", "?");
        let name = match &given.name {
            Some(name) => self.parse(&unnamed, "name", name, stack_name),
            None => {
                let text = "is missing: the stack's name in Portainer";
                self.problem(&unnamed, "name", &section.source, text);
                None
            }
        };
        let key = self.stack_key(&unnamed, given, name.as_deref());
        let at = match &key {
            Some(key) => &Section::named("stack", key.value.as_str()),
            None => &unnamed,
        };
        if let (Some(name), Some(field)) = (&name, &given.name) {
            self.show(at, "name", name, &field.source);
        }
        let environment = self.optional(at, "environment", &given.environment, "any", stack_name);
        let pull = self.setting(at, "pull", &given.pull, "first", PullMode::expect);
        let except = self.list(at, "except", &given.except, "none", pattern);
        if let (Some(PullMode::Portainer), Some(field)) = (pull, &given.except)
            && !field.value.is_empty()
        {
            let text = "with pull = \"portainer\" Portainer pulls every image; leave \"except\" out or use pull = \"first\"";
            self.problem(at, "except", &field.source, text);
        }
        let env = self.list(at, "env", &given.env, "none", parse::variable);
        let within_a_day = |text: &str| within_a_day(text, Duration::ZERO);
        let healthy_within = self.setting(
            at,
            "healthy_within",
            &given.healthy_within,
            "2m",
            within_a_day,
        );
        let rollback = self.setting(
            at,
            "rollback",
            &given.rollback,
            "when-down",
            RollBack::expect,
        );
        let cleanup = self.flag(at, "cleanup", &given.cleanup);
        let stack = || {
            Some(Stack {
                key: key.as_ref()?.value.clone(),
                name: name?,
                environment,
                pull: pull?,
                except: except?,
                env: env?,
                healthy_within: healthy_within?,
                rollback: rollback?,
                cleanup,
            })
        };
        let stack = stack();
        (key, stack)
    }

    /// The key that is given, or else the one made of the stack's name.
    fn stack_key(
        &mut self,
        at: &Section,
        given: &StackSection,
        name: Option<&str>,
    ) -> Option<Sourced<StackKey>> {
        let (key, field) = match (&given.key, &given.name) {
            (Some(field), _) => {
                let parse = |text: &str| identifier(text, StackKey::parse);
                (self.parse(at, "key", field, parse), field)
            }
            (None, None) => return None,
            (None, Some(field)) => {
                let key = StackKey::parse(&key_from_name(name?));
                if key.is_none() {
                    let text = "this name cannot be turned into a key; give the stack a key";
                    self.problem(at, "name", &field.source, text);
                }
                (key, field)
            }
        };
        Some(Sourced::new(key?, field.source.clone()))
    }

    fn staff(&mut self, section: Option<&Sourced<StaffSection>>) -> Option<Staff> {
        let Some(section) = section else {
            self.show(&Section::only(""), "staff", "none", &ValueSource::Default);
            return None;
        };
        let (at, given) = (&Section::only("staff"), &section.value);
        let user = self.setting(at, "user", &given.user, "staff", |text| {
            match text.contains(':') {
                true => {
                    Err("a user name for Basic authentication must not contain a colon".to_owned())
                }
                false => parse::word(text),
            }
        });
        if first_source(&[&given.password, &given.password_file]).is_none() {
            let text = "has no password; set STACKHOOK_STAFF_PASSWORD or STACKHOOK_STAFF_PASSWORD_FILE (password or password_file)";
            self.problem(at, "", &section.source, text);
        }
        if !matches!(self.scope, ConfigScope::Serve | ConfigScope::Show) {
            return None;
        }
        let password = self.secret(at, "password", (&given.password, &given.password_file))?;
        let min = limits::STAFF_PASSWORD_MIN;
        if password.value.expose().chars().count() < min {
            let text = format!(
                "must have at least {min} characters; \"stackhook generate-secret\" prints a long one"
            );
            self.problem(at, "password", &password.source, text);
        }
        Some(Staff {
            user: user?,
            password: password.value,
        })
    }
}

/// The stacks as far as they are valid.
#[derive(Default)]
struct CheckedStacks {
    stacks: Vec<Stack>,
    /// The keys of all stacks, those with problems included.
    keys: Vec<StackKey>,
    /// The stack of `PORTAINER_STACK_NAME`.
    default: Option<StackKey>,
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text)
        .ok_or_else(|| "expected addresses or networks, such as \"10.0.0.0/8\"".to_owned())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

/// A stack's key or a hook's name.
fn identifier<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    parse(text).ok_or_else(|| {
        format!(
            "expected at most {} letters, digits, \"_\", \"-\" and \".\", not beginning with a dot",
            limits::NAME_MAX
        )
    })
}

fn stack_name(text: &str) -> Result<String, String> {
    match text.len() > limits::NAME_MAX {
        true => Err(format!("is longer than {} bytes", limits::NAME_MAX)),
        false => parse::word(text),
    }
}

/// A duration of at least `min` and at most a day.
fn within_a_day(text: &str, min: Duration) -> Result<Duration, String> {
    match parse::duration(text)? {
        duration if duration < min => Err("expected more than 0s".to_owned()),
        duration if duration.as_secs() > 24 * 60 * 60 => Err("expected at most 24h".to_owned()),
        duration => Ok(duration),
    }
}

/// Checks that a secret has the form that Standard Webhooks requires.
fn standard_webhooks_secret(secret: &Secret) -> Result<(), String> {
    let encoded = secret.expose().strip_prefix("whsec_");
    match encoded.and_then(secret::from_base64) {
        Some(key) if (24..=64).contains(&key.len()) => Ok(()),
        _ => Err(
            "is not a Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \"stackhook generate-secret \
             --format standard-webhooks\" prints it"
                .to_owned(),
        ),
    }
}
