//! From the values as written to the values as used: one pass over everything, which collects all problems, warnings and the rows
//! of `show-config`.

mod hook;

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::env::{ProcessEnv, key_from_name};
use super::problem::{FileLines, Problem, Source};
use super::schema::{
    ConfigFile, List, NotifySection, PortainerSection, Sourced, StackSection, StaffSection, join,
};
use super::show::Shown;
use super::{
    Config, ConfigScope, Credentials, LogFormat, Notify, NotifyEvent, NotifyFormat, Portainer,
    Staff, Trust, parse, secrets,
};
use crate::hook::Network;
use crate::image::Pattern;
use crate::limits;
use crate::secret::{self, Secret};
use crate::stack::{PullMode, RollBack, Stack, StackKey};

/// Where `serve` listens by default.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8484);

/// The section of a key: what it is called in problems and in `show-config`.
struct Section {
    /// Its name in the file: `stack`.
    kind: &'static str,
    /// Which one, if there may be several: `app`.
    name: String,
}

impl Section {
    /// The only section of its kind; "" is the top of the file.
    fn only(kind: &'static str) -> Section {
        let name = String::new();
        Section { kind, name }
    }

    fn named(kind: &'static str, name: &str) -> Section {
        let name = name.to_owned();
        Section { kind, name }
    }

    /// The key in problems: `stack.pull`.
    fn path(&self, key: &str) -> String {
        join(self.kind, key)
    }

    /// The key in `show-config`: `stack.app.pull`.
    fn label(&self, key: &str) -> String {
        match self.name.as_str() {
            "" => self.path(key),
            name => format!("{}.{name}.{key}", self.kind),
        }
    }
}

/// Reads values and collects what is to be reported about them.
pub(super) struct Checker<'e> {
    pub(super) scope: ConfigScope,
    pub(super) env: &'e ProcessEnv,
    pub(super) lines: FileLines,
    /// The base of relative paths in the file.
    pub(super) folder: PathBuf,
    /// Any user of this host may read the file.
    pub(super) world_readable: bool,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    pub(super) shown: Vec<Shown>,
}

impl Checker<'_> {
    fn problem(&mut self, source: &Source, path: &str, text: impl AsRef<str>) {
        // A value of a wrong type was emptied: what follows from that is not worth a second problem.
        let is_reported =
            |known: &Problem| matches!(source, Source::File(_)) && known.source == *source;
        if !self.problems.iter().any(is_reported) {
            let problem = Problem::new(source.clone(), &self.lines, path, text.as_ref());
            self.problems.push(problem);
        }
    }

    fn warn(&mut self, source: &Source, path: &str, text: impl AsRef<str>) {
        let warning = Problem::new(source.clone(), &self.lines, path, text.as_ref());
        self.warnings.push(warning.to_string());
    }

    fn show(&mut self, key: String, value: impl Display, source: &Source) {
        let source = self.lines.describe(source);
        self.show_with_source(key, value, source);
    }

    fn show_with_source(&mut self, key: String, value: impl Display, source: String) {
        let value = value.to_string();
        self.shown.push(Shown { key, value, source });
    }

    /// The value that `parse` makes of a text; a problem and `None` if it cannot.
    fn parse<T>(
        &mut self,
        section: &Section,
        key: &str,
        field: &Sourced<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = match field.value.as_str() {
            "" => Err("is empty".to_owned()),
            text => parse(text),
        };
        parsed
            .map_err(|why| self.problem(&field.source, &section.path(key), why))
            .ok()
    }

    /// A value with a default, which is given as value and as one would write it.
    fn setting<T>(
        &mut self,
        section: &Section,
        key: &str,
        field: &Option<Sourced<String>>,
        (default, default_text): (T, &str),
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let Some(field) = field else {
            self.show(section.label(key), default_text, &Source::Default);
            return default;
        };
        match self.parse(section, key, field, parse) {
            Some(value) => {
                self.show(section.label(key), &field.value, &field.source);
                value
            }
            None => default,
        }
    }

    /// A value without a default, shown as `absent` if it is not given.
    fn optional<T: Display>(
        &mut self,
        section: &Section,
        key: &str,
        field: &Option<Sourced<String>>,
        absent: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(field) = field else {
            self.show(section.label(key), absent, &Source::Default);
            return None;
        };
        let value = self.parse(section, key, field, parse)?;
        self.show(section.label(key), &value, &field.source);
        Some(value)
    }

    /// A list, shown as `absent` if it is not given; `None` if an element is wrong.
    fn list<T: Display>(
        &mut self,
        section: &Section,
        key: &str,
        field: &Option<Sourced<List>>,
        absent: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Some(field) = field else {
            self.show(section.label(key), absent, &Source::Default);
            return Some(Vec::new());
        };
        let mut values = Vec::new();
        for element in &field.value {
            let parsed = match element.value.as_str() {
                "" => Err("an element is empty".to_owned()),
                text => parse(text),
            };
            match parsed {
                Ok(value) => values.push(value),
                Err(why) => self.problem(&element.source, &section.path(key), why),
            }
        }
        if values.len() < field.value.len() {
            return None;
        }
        let texts: Vec<String> = values.iter().map(T::to_string).collect();
        let text = match texts.as_slice() {
            [] => "none".to_owned(),
            texts => texts.join(", "),
        };
        self.show(section.label(key), text, &field.source);
        Some(values)
    }

    /// A switch, which is off by default.
    fn flag(&mut self, section: &Section, key: &str, field: &Option<Sourced<bool>>) -> bool {
        let (value, source) = match field {
            Some(field) => (field.value, &field.source),
            None => (false, &Source::Default),
        };
        self.show(section.label(key), value, source);
        value
    }

    /// One secret, from the key itself or from the file that the key with `_file` names.
    fn secret(
        &mut self,
        section: &Section,
        key: &str,
        field: &Option<Sourced<String>>,
        file: &Option<Sourced<String>>,
    ) -> Option<Sourced<Secret>> {
        let secrets = self.secrets(section, key, field, file, false)?;
        let secret = secrets.value.into_iter().next()?;
        Some(Sourced::new(secret, secrets.source))
    }

    /// Secrets, one per line, newest first; `None` if there are none or something is wrong with them.
    fn secrets(
        &mut self,
        section: &Section,
        key: &str,
        field: &Option<Sourced<String>>,
        file: &Option<Sourced<String>>,
        allow_several: bool,
    ) -> Option<Sourced<Vec<Secret>>> {
        let file_key = format!("{key}_file");
        let (key_used, given) = match (field, file) {
            (Some(_), Some(file)) => {
                let text = format!("\"{key}\" is given too; set only one of them");
                self.problem(&file.source, &section.path(&file_key), text);
                return None;
            }
            (Some(field), None) => (key, field),
            (None, Some(file)) => (file_key.as_str(), file),
            (None, None) => return None,
        };
        let path = section.path(key_used);
        let read = match file.is_some() {
            true => self.read_secret_file(given, allow_several),
            false => self.read_inline_secret(&path, given, allow_several),
        };
        let (secrets, source) = read
            .map_err(|why| self.problem(&given.source, &path, why))
            .ok()?;
        let is_padded = |secret: &Secret| secret.expose().trim() != secret.expose();
        if secrets.iter().any(is_padded) {
            let text = "begins or ends with a space, which counts as part of the secret";
            self.warn(&given.source, &path, text);
        }
        let shown = match secrets.len() {
            1 => "set".to_owned(),
            count => format!("{count} secrets"),
        };
        self.show_with_source(section.label(key), shown, source);
        Some(Sourced::new(secrets, given.source.clone()))
    }

    /// The secrets, and their source for `show-config`.
    fn read_secret_file(
        &mut self,
        given: &Sourced<String>,
        allow_several: bool,
    ) -> Result<(Vec<Secret>, String), String> {
        if given.value.is_empty() {
            return Err("is empty".to_owned());
        }
        let path = secrets::locate(&given.value, self.resolve(given), self.env)?;
        let (secrets, warnings) = secrets::read(&given.value, &path, allow_several, self.env)?;
        self.warnings.extend(warnings);
        let key_source = self.lines.describe(&given.source);
        Ok((secrets, format!("{key_source} -> {}", path.display())))
    }

    fn read_inline_secret(
        &mut self,
        path: &str,
        given: &Sourced<String>,
        allow_several: bool,
    ) -> Result<(Vec<Secret>, String), String> {
        let secrets = secrets::parse(&given.value, allow_several)?;
        let is_quoted = ['"', '\''].iter().any(|quote| {
            given.value.len() > 1
                && given.value.starts_with(*quote)
                && given.value.ends_with(*quote)
        });
        match given.source {
            Source::Variable(_) if is_quoted => {
                let text = "begins and ends with a quote, which counts as part of the secret (Docker's env files keep quotes)";
                self.warn(&given.source, path, text);
            }
            Source::File(_) if self.world_readable => {
                let text = format!(
                    "any user of this host can read this secret; to fix it, run: chmod o-r {}",
                    self.lines.name
                );
                self.warn(&given.source, path, text);
            }
            _ => {}
        }
        Ok((secrets, self.lines.describe(&given.source)))
    }

    /// Paths in the file start from the file's folder, paths in variables from the working directory.
    fn resolve(&self, path: &Sourced<String>) -> PathBuf {
        let base = match path.source {
            Source::File(_) => &self.folder,
            Source::Variable(_) | Source::Credential(_) | Source::Default => &self.env.working_dir,
        };
        base.join(&path.value)
    }

    /// Everything. The result is only to be used if there were no problems.
    pub(super) fn config(&mut self, file: &ConfigFile) -> Config {
        let top = Section::only("");
        let listen = self.setting(
            &top,
            "listen",
            &file.listen,
            (LISTEN, "127.0.0.1:8484"),
            parse::listen,
        );
        let mut config = Config {
            listen,
            public_url: None,
            state_dir: None,
            trusted_proxies: Vec::new(),
            max_body: limits::BODY_DEFAULT,
            log: log::LevelFilter::Info,
            log_format: LogFormat::Auto,
            portainer: None,
            notify: Vec::new(),
            stacks: Vec::new(),
            default_stack: None,
            hooks: Vec::new(),
            staff: None,
        };
        if self.scope == ConfigScope::Listen {
            return config;
        }
        self.top(&top, file, &mut config);
        config.portainer = self.portainer(file.portainer.as_ref());
        config.notify = self.notify(&file.notify.0);
        let keys = self.stacks(file, &mut config);
        config.hooks = self.hooks(&file.hook, &config, &keys);
        config.staff = self.staff(file.staff.as_ref());
        config
    }

    fn top(&mut self, top: &Section, file: &ConfigFile, config: &mut Config) {
        config.public_url = self.optional(
            top,
            "public_url",
            &file.public_url,
            "none",
            parse::plain_url,
        );
        config.state_dir = self.state_dir(top, file);
        config.trusted_proxies = self
            .list(
                top,
                "trusted_proxies",
                &file.trusted_proxies,
                "none",
                network,
            )
            .unwrap_or_default();
        config.max_body = self.setting(
            top,
            "max_body",
            &file.max_body,
            (limits::BODY_DEFAULT, "1MiB"),
            |text| match parse::size(text)? {
                0 => Err("must be greater than 0".to_owned()),
                size if size > limits::BODY_MAX => Err("must be at most 32MiB".to_owned()),
                size => Ok(size),
            },
        );
        if let Some(field) = &file.max_body
            && config.max_body < limits::BODY_LITTLE
        {
            let text = format!(
                "most deliveries are larger than {} B and would be rejected with 413; set 64KiB or more, or leave it out (1MiB)",
                config.max_body
            );
            self.warn(&field.source, "max_body", text);
        }
        config.log = self.setting(top, "log", &file.log, (config.log, "info"), |text| {
            let names = ["error", "warn", "info", "debug"];
            parse::choice(text, &names, |name| name.parse().ok())
        });
        config.log_format = self.setting(
            top,
            "log_format",
            &file.log_format,
            (LogFormat::Auto, "auto"),
            |text| parse::choice(text, LogFormat::NAMES, LogFormat::parse),
        );
    }

    fn state_dir(&mut self, top: &Section, file: &ConfigFile) -> Option<PathBuf> {
        let key = "state_dir".to_owned();
        if let Some(field) = &file.state_dir {
            self.parse(top, "state_dir", field, |_| Ok(()))?;
            let path = self.resolve(field);
            self.show(key, path.display(), &field.source);
            return Some(path);
        }
        if let Some(path) = self.env.state_dir() {
            self.show_with_source(key, path, "STATE_DIRECTORY".to_owned());
            return Some(PathBuf::from(path));
        }
        self.show(key, "none", &Source::Default);
        if self.scope == ConfigScope::Serve {
            self.warnings.push(
                "state_dir is not set: accepted deliveries, pauses and the data for rollbacks are lost when stackhook stops, and for \
                 five minutes after a restart a signed delivery can be replayed; set STACKHOOK_STATE_DIR"
                    .to_owned(),
            );
        }
        None
    }

    /// Whether the secrets of Portainer and of notices are needed; unneeded ones are not even read.
    fn needs_portainer(&self) -> bool {
        self.scope != ConfigScope::Sender
    }

    fn portainer(&mut self, section: Option<&Sourced<PortainerSection>>) -> Option<Portainer> {
        let absent = Sourced::default();
        let Sourced {
            value: given,
            source,
        } = section.unwrap_or(&absent);
        let at = Section::only("portainer");
        let required = matches!(self.scope, ConfigScope::Portainer | ConfigScope::Serve);
        let url = self.optional(&at, "url", &given.url, "none", parse::portainer_url);
        if given.url.is_none() && required {
            let text = "is missing; set PORTAINER_URL, or url in [portainer], such as \"http://portainer:9000\"";
            self.problem(&Source::Default, "portainer.url", text);
        }
        // A section that only variables made has no place of its own.
        let source = match source {
            Source::File(_) => source,
            _ => &Source::Default,
        };
        let credentials = self.credentials(&at, given, source, required);
        let is_http = url.as_ref().is_some_and(|url| url.starts_with("http://"));
        let trust = self.trust(&at, given, is_http);
        let timeout = self.setting(
            &at,
            "timeout",
            &given.timeout,
            (Duration::from_secs(30 * 60), "30m"),
            |text| within_a_day(text, Duration::from_secs(1)),
        );
        if let Some(field) = &given.timeout
            && timeout < limits::REDEPLOY_LITTLE
        {
            let text = format!(
                "hardly any redeploy, from its pull to the end of its health check, finishes within {} s; set 5m or more, or leave it \
                 out (30m)",
                timeout.as_secs()
            );
            self.warn(&field.source, "portainer.timeout", text);
        }
        let headers = self.headers(&at, given);
        Some(Portainer {
            url: url?,
            credentials: credentials?,
            trust,
            timeout,
            headers,
        })
    }

    /// Further headers for Portainer, from the table or, one `Name: value` per line, from the file.
    fn headers(&mut self, at: &Section, given: &PortainerSection) -> Vec<(String, Secret)> {
        let mut headers = Vec::new();
        if let Some(first) = given.headers.values().next()
            && given.headers_file.is_some()
        {
            let text = "\"headers_file\" is given too; set only one of them";
            self.problem(&first.source, &at.path("headers"), text);
            return headers;
        }
        for (name, value) in &given.headers {
            match parse_header(name, &value.value) {
                Ok(header) => headers.push(header),
                Err(why) => self.problem(&value.source, &at.path("headers"), why),
            }
        }
        let mut shown = given
            .headers
            .values()
            .next()
            .map(|value| self.lines.describe(&value.source));
        if let Some(file) = &given.headers_file {
            match self.read_secret_file(file, true) {
                Ok((lines, source)) => {
                    for line in lines {
                        let header = line.expose().split_once(':');
                        let header = header.ok_or_else(|| "has a line without a colon".to_owned());
                        match header.and_then(|(name, value)| parse_header(name, value.trim())) {
                            Ok(header) => headers.push(header),
                            Err(why) => self.problem(&file.source, &at.path("headers_file"), why),
                        }
                    }
                    shown = Some(source);
                }
                Err(why) => self.problem(&file.source, &at.path("headers_file"), why),
            }
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        match shown {
            Some(source) => self.show_with_source(at.label("headers"), names.join(", "), source),
            None => self.show(at.label("headers"), "none", &Source::Default),
        }
        headers
    }

    fn credentials(
        &mut self,
        at: &Section,
        given: &PortainerSection,
        section_source: &Source,
        required: bool,
    ) -> Option<Credentials> {
        let user = given.user.as_ref().and_then(|user| {
            let name = self.parse(at, "user", user, parse::word)?;
            self.show(at.label("user"), &name, &user.source);
            Some(name)
        });
        if !self.needs_portainer() {
            return None;
        }
        let api_key = self.secret(at, "api_key", &given.api_key, &given.api_key_file);
        let password = self.secret(at, "password", &given.password, &given.password_file);
        if let Some(key) = &api_key
            && !key
                .value
                .expose()
                .bytes()
                .all(|byte| byte.is_ascii_graphic())
        {
            // It is sent as the value of a header.
            let text = "contains a character that no API key has";
            self.problem(&key.source, "portainer.api_key", text);
        }
        let key_source = first_source([&given.api_key, &given.api_key_file]);
        let user_source = first_source([&given.user]);
        let password_source = first_source([&given.password, &given.password_file]);
        match (key_source, user_source, password_source) {
            (Some(key), user, password) => {
                if let Some(second) = user.or(password) {
                    let text = format!(
                        "an API key is given ({}) and a user or password too; set only one of them: PORTAINER_API_KEY, or \
                         PORTAINER_USER and PORTAINER_PASSWORD",
                        self.lines.describe(key)
                    );
                    self.problem(second, "portainer", text);
                }
                Some(Credentials::ApiKey(api_key?.value))
            }
            (None, Some(_), Some(_)) => Some(Credentials::Login {
                user: user?,
                password: password?.value,
            }),
            (None, Some(user), None) => {
                let text = "has no password; set PORTAINER_PASSWORD or PORTAINER_PASSWORD_FILE (password or password_file), or an API \
                            key instead of the user";
                self.problem(user, "portainer.user", text);
                None
            }
            (None, None, Some(password)) => {
                let text = "has no user; set PORTAINER_USER (user)";
                self.problem(password, "portainer.password", text);
                None
            }
            (None, None, None) => {
                self.show(at.label("api_key"), "none", &Source::Default);
                if required {
                    let text = "has no credentials; set PORTAINER_API_KEY or PORTAINER_API_KEY_FILE (api_key or api_key_file), or \
                                PORTAINER_USER and PORTAINER_PASSWORD";
                    self.problem(section_source, "portainer", text);
                }
                None
            }
        }
    }

    fn trust(&mut self, at: &Section, given: &PortainerSection, is_http: bool) -> Trust {
        let roots = match &given.ca_file {
            Some(file) if self.needs_portainer() => self.roots(at, file),
            Some(_) => None,
            None => {
                self.show(at.label("ca_file"), "none", &Source::Default);
                None
            }
        };
        let key = "certificate_sha256";
        let fingerprint = match &given.certificate_sha256 {
            Some(field) => self
                .parse(at, key, field, parse::fingerprint)
                .inspect(|digest| {
                    self.show(at.label(key), secret::to_hex(digest), &field.source);
                }),
            None => {
                self.show(at.label(key), "none", &Source::Default);
                None
            }
        };
        let insecure = self.flag(at, "insecure", &given.insecure);
        let sources = [
            first_source([&given.ca_file]),
            first_source([&given.certificate_sha256]),
            given
                .insecure
                .as_ref()
                .filter(|_| insecure)
                .map(|field| &field.source),
        ];
        let mut sources = sources.into_iter().flatten();
        if let Some(first) = sources.next() {
            let first_place = self.lines.describe(first);
            if let Some(second) = sources.next() {
                let text = format!(
                    "set only one of ca_file, certificate_sha256 and insecure; another is at {first_place}"
                );
                self.problem(second, "portainer", text);
            } else if is_http {
                let text =
                    "ca_file, certificate_sha256 and insecure have no effect with an http:// URL";
                self.warnings.push(format!("{first_place}: {text}"));
            }
        }
        match (fingerprint, roots, insecure) {
            (Some(digest), _, _) => Trust::Certificate(digest),
            (None, Some(roots), _) => roots,
            (None, None, true) => {
                if !is_http {
                    let text = "portainer.insecure: anyone between stackhook and Portainer can read the credentials and change every \
                                answer; certificate_sha256 is as easy and safe";
                    self.warnings.push(text.to_owned());
                }
                Trust::Insecure
            }
            (None, None, false) => Trust::PublicRoots,
        }
    }

    fn roots(&mut self, at: &Section, field: &Sourced<String>) -> Option<Trust> {
        self.parse(at, "ca_file", field, |_| Ok(()))?;
        let file = secrets::locate(&field.value, self.resolve(field), self.env);
        let read = file.and_then(|file| {
            // Bundles of all public roots are larger than a secret's limit and smaller than this.
            let pem = secrets::read_file(&file, limits::CONFIG_FILE_MAX)?.content;
            match pem.contains("-----BEGIN CERTIFICATE-----") {
                true => Ok((file, pem)),
                false => Err(format!("{file:?} contains no certificate in PEM format")),
            }
        });
        let (file, pem) = read
            .map_err(|why| self.problem(&field.source, &at.path("ca_file"), why))
            .ok()?;
        self.show(at.label("ca_file"), file.display(), &field.source);
        Some(Trust::Roots { file, pem })
    }

    fn notify(&mut self, sections: &[Sourced<NotifySection>]) -> Vec<Notify> {
        if sections.is_empty() {
            self.show("notify".to_owned(), "none", &Source::Default);
        }
        let mut receivers = Vec::new();
        for (index, section) in sections.iter().enumerate() {
            let at = match sections.len() {
                1 => Section::only("notify"),
                _ => Section::named("notify", &(index + 1).to_string()),
            };
            receivers.extend(self.one_notify(&at, section));
        }
        receivers
    }

    fn one_notify(&mut self, at: &Section, section: &Sourced<NotifySection>) -> Option<Notify> {
        let given = &section.value;
        let (url, secret) = match self.needs_portainer() {
            true => (
                self.secret(at, "url", &given.url, &given.url_file),
                self.secret(at, "secret", &given.secret, &given.secret_file),
            ),
            false => (None, None),
        };
        let format = self.setting(
            at,
            "format",
            &given.format,
            (NotifyFormat::Json, "json"),
            |text| parse::choice(text, NotifyFormat::NAMES, NotifyFormat::parse),
        );
        if first_source([&given.url, &given.url_file]).is_none() {
            let text = "has no URL; set STACKHOOK_NOTIFY_URL or STACKHOOK_NOTIFY_URL_FILE (url or url_file)";
            self.problem(&section.source, "notify", text);
        }
        if let Some(url) = &url
            && let Err(why) = parse::url(url.value.expose())
        {
            self.problem(&url.source, "notify.url", why);
        }
        if let Some(secret) = &secret {
            if format != NotifyFormat::Json {
                let text = format!(
                    "format {} cannot be signed; leave the secret out",
                    format.name()
                );
                self.problem(&secret.source, "notify.secret", text);
            } else if let Err(why) = standard_webhooks_secret(&secret.value) {
                self.problem(&secret.source, "notify.secret", why);
            }
        }
        let on = self.list(at, "on", &given.on, "failed, recovered", |text| {
            parse::choice(text, NotifyEvent::NAMES, NotifyEvent::parse).map(NotifyEvent::name)
        });
        let on: Vec<NotifyEvent> = on
            .into_iter()
            .flatten()
            .filter_map(NotifyEvent::parse)
            .collect();
        Some(Notify {
            url: url?.value,
            format,
            on: match on.is_empty() {
                true => vec![NotifyEvent::Failed, NotifyEvent::Recovered],
                false => on,
            },
            secret: secret.map(|secret| secret.value),
        })
    }

    /// Fills in the stacks and returns the keys of all, those with problems included.
    fn stacks(&mut self, file: &ConfigFile, config: &mut Config) -> Vec<StackKey> {
        let mut keys: Vec<Sourced<StackKey>> = Vec::new();
        for (index, section) in file.stack.iter().enumerate() {
            let (key, stack) = self.stack(section);
            let Some(key) = key else { continue };
            if let Some(other) = keys.iter().find(|other| other.value == key.value) {
                let text = format!(
                    "\"{}\" is already the key of another stack ({}); give one of them another key",
                    key.value,
                    self.lines.describe(&other.source)
                );
                self.problem(&key.source, "stack.key", text);
                continue;
            }
            if file.default_stack == Some(index) {
                config.default_stack = Some(key.value.clone());
            }
            config.stacks.extend(stack);
            keys.push(key);
        }
        if file.stack.is_empty() && self.scope == ConfigScope::Serve {
            let text = "none is configured; set PORTAINER_STACK_NAME to the stack's name in Portainer, or add a [[stack]] with its name";
            self.problem(&Source::Default, "stack", text);
        }
        keys.into_iter().map(|key| key.value).collect()
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
                self.problem(&section.source, "stack.name", text);
                None
            }
        };
        let key = self.stack_key(&unnamed, given, name.as_deref());
        let at = match &key {
            Some(key) => Section::named("stack", key.value.as_str()),
            None => unnamed,
        };
        if let (Some(name), Some(field)) = (&name, &given.name) {
            self.show(at.label("name"), name, &field.source);
        }
        let environment = self.optional(&at, "environment", &given.environment, "any", stack_name);
        let pull = self.setting(
            &at,
            "pull",
            &given.pull,
            (PullMode::First, "first"),
            |text| parse::choice(text, PullMode::NAMES, PullMode::parse),
        );
        let except = self.list(&at, "except", &given.except, "none", pattern);
        if let (PullMode::Portainer, Some(field)) = (pull, &given.except)
            && !field.value.is_empty()
        {
            let text = "with pull = \"portainer\" Portainer pulls every image; leave \"except\" out or use pull = \"first\"";
            self.problem(&field.source, "stack.except", text);
        }
        let env = self.list(&at, "env", &given.env, "none", parse::variable);
        let healthy_within = self.setting(
            &at,
            "healthy_within",
            &given.healthy_within,
            (Duration::from_secs(2 * 60), "2m"),
            |text| within_a_day(text, Duration::ZERO),
        );
        let rollback = self.setting(
            &at,
            "rollback",
            &given.rollback,
            (RollBack::WhenDown, "when-down"),
            |text| parse::choice(text, RollBack::NAMES, RollBack::parse),
        );
        let cleanup = self.flag(&at, "cleanup", &given.cleanup);
        let stack = key.as_ref().zip(name).map(|(key, name)| Stack {
            key: key.value.clone(),
            name,
            environment,
            pull,
            except: except.unwrap_or_default(),
            env: env.unwrap_or_default(),
            healthy_within,
            rollback,
            cleanup,
        });
        (key, stack)
    }

    /// The key that is given, or else the one made of the stack's name.
    fn stack_key(
        &mut self,
        at: &Section,
        given: &StackSection,
        name: Option<&str>,
    ) -> Option<Sourced<StackKey>> {
        if let Some(field) = &given.key {
            let key = self.parse(at, "key", field, |text| identifier(text, StackKey::parse))?;
            return Some(Sourced::new(key, field.source.clone()));
        }
        let field = given.name.as_ref()?;
        match StackKey::parse(&key_from_name(name?)) {
            Some(key) => Some(Sourced::new(key, field.source.clone())),
            None => {
                let text = "this name cannot be turned into a key; give the stack a key";
                self.problem(&field.source, &at.path("name"), text);
                None
            }
        }
    }

    fn staff(&mut self, section: Option<&Sourced<StaffSection>>) -> Option<Staff> {
        let Some(section) = section else {
            self.show("staff".to_owned(), "none", &Source::Default);
            return None;
        };
        let (at, given) = (Section::only("staff"), &section.value);
        let user = self.setting(
            &at,
            "user",
            &given.user,
            ("staff".to_owned(), "staff"),
            |text| match text.contains(':') {
                true => {
                    Err("a user name for Basic authentication must not contain a colon".to_owned())
                }
                false => parse::word(text),
            },
        );
        if first_source([&given.password, &given.password_file]).is_none() {
            let text = "has no password; set STACKHOOK_STAFF_PASSWORD or STACKHOOK_STAFF_PASSWORD_FILE (password or password_file)";
            self.problem(&section.source, "staff", text);
        }
        if !matches!(self.scope, ConfigScope::Serve | ConfigScope::Show) {
            return None;
        }
        let password = self.secret(&at, "password", &given.password, &given.password_file)?;
        let length = password.value.expose().chars().count();
        if length < limits::STAFF_PASSWORD_MIN {
            let min = limits::STAFF_PASSWORD_MIN;
            let text = format!(
                "must have at least {min} characters; \"stackhook generate-secret\" prints a long one"
            );
            self.problem(&password.source, "staff.password", text);
        }
        Some(Staff {
            user,
            password: password.value,
        })
    }
}

/// The source of the first key that is given.
fn first_source<const N: usize>(fields: [&Option<Sourced<String>>; N]) -> Option<&Source> {
    let mut given = fields.into_iter().flatten();
    given.next().map(|field| &field.source)
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
    let duration = parse::duration(text)?;
    if duration < min {
        return Err("expected more than 0s".to_owned());
    }
    if duration > Duration::from_secs(24 * 60 * 60) {
        return Err("expected at most 24h".to_owned());
    }
    Ok(duration)
}

/// Checks that a secret has the form that Standard Webhooks requires.
fn standard_webhooks_secret(secret: &Secret) -> Result<(), String> {
    let key = secret
        .expose()
        .strip_prefix("whsec_")
        .and_then(secret::from_base64);
    match key {
        Some(key) if (24..=64).contains(&key.len()) => Ok(()),
        _ => Err(
            "is not a Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \"stackhook generate-secret \
             --format standard-webhooks\" prints it"
                .to_owned(),
        ),
    }
}

/// The folder of the configuration file, from which relative paths in it start.
pub(super) fn folder_of(file: Option<&Path>, env: &ProcessEnv) -> PathBuf {
    file.and_then(Path::parent)
        .map_or_else(|| env.working_dir.clone(), Path::to_owned)
}

/// A header that may be added to requests for Portainer. Errors name the header and never its value.
fn parse_header(name: &str, value: &str) -> Result<(String, Secret), String> {
    const OURS: [&str; 12] = [
        "accept",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "origin",
        "te",
        "transfer-encoding",
        "x-api-key",
        "x-registry-auth",
    ];
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(is_token) {
        return Err("has a name that is not a valid header name".to_owned());
    }
    if OURS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(format!(
            "must not set \"{name}\", which stackhook itself needs"
        ));
    }
    if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(format!(
            "has a value for \"{name}\" with characters other than printable ASCII"
        ));
    }
    let value =
        Secret::new(value).map_err(|why| format!("has a value for \"{name}\" that {why}"))?;
    Ok((name.to_owned(), value))
}
