//! Turns values as written into values as used, in one pass that collects all problems, warnings and the rows of `show-config`.

mod hook;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::env::{self, ProcessEnv, key_from_name};
use super::problem::{FileLines, Problem, ValueSource};
use super::schema::{
    ConfigFile, Field, List, NotifySection, PortainerSection, Sourced, StackSection, StaffSection,
    join,
};
use super::{
    Config, ConfigScope, Credentials, LogFormat, Notify, NotifyEvent, NotifyFormat,
    PortainerSettings, Setting, Staff, Trust, parse, secrets,
};
use crate::hook::Network;
use crate::image::Pattern;
use crate::limits;
use crate::secret::{self, Secret};
use crate::stack::{PullMode, RollBack, Stack, StackKey};

/// The section of a key: its name in problems and in `show-config`.
struct Section {
    /// The name in the file: `stack`.
    kind: &'static str,
    /// The name that tells it from others of its kind: `app`. Empty for the only one.
    name: String,
}

impl Section {
    /// The only section of its kind; "" is the top of the file.
    fn only(kind: &'static str) -> Section {
        Section::named(kind, "")
    }

    fn named(kind: &'static str, name: &str) -> Section {
        let name = name.to_owned();
        Section { kind, name }
    }

    /// The key in problems: `stack.pull`; the section itself for an empty key.
    fn path(&self, key: &str) -> String {
        match key {
            "" => self.kind.to_owned(),
            _ => join(self.kind, key),
        }
    }

    /// The key in `show-config`: `stack.app.pull`.
    fn label(&self, key: &str) -> String {
        match self.name.as_str() {
            "" => self.path(key),
            name => format!("{}.{name}.{key}", self.kind),
        }
    }
}

/// Reads values and collects what is reported about them.
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
    pub(super) shown: Vec<Setting>,
}

impl<'e> Checker<'e> {
    /// A checker without a file.
    pub(super) fn new(scope: ConfigScope, env: &'e ProcessEnv) -> Checker<'e> {
        Checker {
            scope,
            env,
            lines: FileLines::default(),
            folder: env.working_dir.clone(),
            world_readable: false,
            problems: Vec::new(),
            warnings: env::unknown_variables(env),
            shown: Vec::new(),
        }
    }
}

/// Everything that is wrong ends as a problem, and reading goes on: `None` then stands for the value, and the result is not used.
impl Checker<'_> {
    fn problem(&mut self, at: &Section, key: &str, source: &ValueSource, text: impl AsRef<str>) {
        // A value of a wrong type was emptied: what follows from that is not worth a second problem.
        let is_reported =
            |known: &Problem| matches!(source, ValueSource::File(_)) && known.source == *source;
        if !self.problems.iter().any(is_reported) {
            let path = at.path(key);
            self.problems
                .push(Problem::new(source.clone(), &self.lines, &path, text));
        }
    }

    fn warn(&mut self, at: &Section, key: &str, source: &ValueSource, text: impl AsRef<str>) {
        let warning = Problem::new(source.clone(), &self.lines, &at.path(key), text);
        self.warnings.push(warning.to_string());
    }

    fn show(&mut self, at: &Section, key: &str, value: impl Display, source: &ValueSource) {
        let source = self.lines.describe(source);
        self.show_with_source(at, key, value, source);
    }

    fn show_with_source(&mut self, at: &Section, key: &str, value: impl Display, source: String) {
        let (key, value) = (at.label(key), value.to_string());
        self.shown.push(Setting { key, value, source });
    }

    fn parse<T>(
        &mut self,
        at: &Section,
        key: &str,
        field: &Sourced<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = match field.value.as_str() {
            "" => Err("is empty".to_owned()),
            text => parse(text),
        };
        parsed
            .map_err(|why| self.problem(at, key, &field.source, why))
            .ok()
    }

    /// A value with a default, shown as it is written.
    fn setting<T>(
        &mut self,
        at: &Section,
        key: &str,
        field: &Field,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let default = Sourced::new(default.to_owned(), ValueSource::Default);
        let field = field.as_ref().unwrap_or(&default);
        let value = self.parse(at, key, field, parse)?;
        self.show(at, key, &field.value, &field.source);
        Some(value)
    }

    /// A value without a default, shown as it is understood, and as `absent` if it is not given.
    fn optional<T: Display>(
        &mut self,
        at: &Section,
        key: &str,
        field: &Field,
        absent: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if field.is_none() {
            self.show(at, key, absent, &ValueSource::Default);
        }
        self.given(at, key, field, parse)
    }

    /// A value that is shown only if it is given.
    fn given<T: Display>(
        &mut self,
        at: &Section,
        key: &str,
        field: &Field,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let field = field.as_ref()?;
        let value = self.parse(at, key, field, parse)?;
        self.show(at, key, &value, &field.source);
        Some(value)
    }

    /// A list, shown as `absent` if it is not given; `None` if an element is wrong.
    fn list<T: Display>(
        &mut self,
        at: &Section,
        key: &str,
        field: &Field<List>,
        absent: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Some(field) = field else {
            self.show(at, key, absent, &ValueSource::Default);
            return Some(Vec::new());
        };
        let mut values = Vec::new();
        for element in &field.value {
            match element.value.as_str() {
                "" => self.problem(at, key, &element.source, "an element is empty"),
                _ => values.extend(self.parse(at, key, element, &parse)),
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
        self.show(at, key, text, &field.source);
        Some(values)
    }

    /// A switch, which is off by default.
    fn flag(&mut self, at: &Section, key: &str, field: &Field<bool>) -> bool {
        let (value, source) = match field {
            Some(field) => (field.value, &field.source),
            None => (false, &ValueSource::Default),
        };
        self.show(at, key, value, source);
        value
    }

    /// One secret, from the key itself or from the file that the key with `_file` names.
    fn secret(
        &mut self,
        at: &Section,
        key: &str,
        fields: (&Field, &Field),
    ) -> Option<Sourced<Secret>> {
        let Sourced { value, source } = self.secrets(at, key, fields, false)?;
        let secret = value.into_iter().next()?;
        Some(Sourced::new(secret, source))
    }

    /// Secrets, one per line, newest first; `None` if there are none or something is wrong with them.
    fn secrets(
        &mut self,
        at: &Section,
        key: &str,
        (field, file): (&Field, &Field),
        allow_several: bool,
    ) -> Option<Sourced<Vec<Secret>>> {
        let file_key = format!("{key}_file");
        let (key_used, given) = match (field, file) {
            (Some(_), Some(file)) => {
                let text = format!("\"{key}\" is given too; set only one of them");
                self.problem(at, &file_key, &file.source, text);
                return None;
            }
            (Some(field), None) => (key, field),
            (None, Some(file)) => (file_key.as_str(), file),
            (None, None) => return None,
        };
        let read = match file {
            Some(_) => self.read_secret_file(given, allow_several),
            None => self.read_inline_secret(at, key, given, allow_several),
        };
        let (secrets, source) = read
            .map_err(|why| self.problem(at, key_used, &given.source, why))
            .ok()?;
        let is_padded = |secret: &Secret| secret.expose().trim() != secret.expose();
        if secrets.iter().any(is_padded) {
            let text = "begins or ends with a space, which counts as part of the secret";
            self.warn(at, key_used, &given.source, text);
        }
        let shown = match secrets.len() {
            1 => "set".to_owned(),
            count => format!("{count} secrets"),
        };
        self.show_with_source(at, key, shown, source);
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
        at: &Section,
        key: &str,
        given: &Sourced<String>,
        allow_several: bool,
    ) -> Result<(Vec<Secret>, String), String> {
        let text = given.value.as_str();
        let secrets = secrets::parse(text, allow_several)?;
        match given.source {
            ValueSource::Variable(_) if parse::unquoted(text).is_some() => {
                let text = "begins and ends with a quote, which counts as part of the secret (Docker's env files keep quotes)";
                self.warn(at, key, &given.source, text);
            }
            ValueSource::File(_) if self.world_readable => {
                let file = &self.lines.name;
                let text = format!(
                    "any user of this host can read this secret; to fix it, run: chmod o-r {file}"
                );
                self.warn(at, key, &given.source, text);
            }
            _ => {}
        }
        Ok((secrets, self.lines.describe(&given.source)))
    }

    /// Resolves a path: in the file from the file's folder, in a variable from the working directory.
    fn resolve(&self, path: &Sourced<String>) -> PathBuf {
        match path.source {
            ValueSource::File(_) => self.folder.join(&path.value),
            _ => self.env.working_dir.join(&path.value),
        }
    }

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

    /// Returns true if the secrets of Portainer and of notices are needed; others are not even read.
    fn needs_portainer(&self) -> bool {
        self.scope != ConfigScope::Sender
    }

    fn portainer(
        &mut self,
        section: Option<&Sourced<PortainerSection>>,
    ) -> Option<PortainerSettings> {
        let absent = Sourced::default();
        let Sourced {
            value: given,
            source,
        } = section.unwrap_or(&absent);
        let at = &Section::only("portainer");
        let is_required = matches!(self.scope, ConfigScope::Portainer | ConfigScope::Serve);
        let url = self.optional(at, "url", &given.url, "none", parse::portainer_url);
        if given.url.is_none() && is_required {
            let text = "is missing; set PORTAINER_URL, or url in [portainer], such as \"http://portainer:9000\"";
            self.problem(at, "url", &ValueSource::Default, text);
        }
        // A section that only variables created has no place of its own.
        let source = match source {
            ValueSource::File(_) => source,
            _ => &ValueSource::Default,
        };
        let credentials = self.credentials(at, given, is_required.then_some(source));
        let is_http = url.as_ref().is_some_and(|url| url.starts_with("http://"));
        let trust = self.trust(at, given, is_http);
        let within_a_day = |text: &str| within_a_day(text, Duration::from_secs(1));
        let timeout = self.setting(at, "timeout", &given.timeout, "30m", within_a_day);
        if let (Some(field), Some(timeout)) = (&given.timeout, timeout)
            && timeout < limits::REDEPLOY_LITTLE
        {
            let text = format!(
                "hardly any redeploy, from its pull to the end of its health check, finishes within {} s; set 5m or more, or leave it \
                 out (30m)",
                timeout.as_secs()
            );
            self.warn(at, "timeout", &field.source, text);
        }
        let headers = self.headers(at, given);
        Some(PortainerSettings {
            url: url?,
            credentials: credentials?,
            trust,
            timeout: timeout?,
            headers,
        })
    }

    /// Further headers for Portainer, from the table or, one `Name: value` per line, from the file.
    fn headers(&mut self, at: &Section, given: &PortainerSection) -> Vec<(String, Secret)> {
        let first = given.headers.values().next().map(|value| &value.source);
        if let (Some(first), Some(_)) = (first, &given.headers_file) {
            let text = "\"headers_file\" is given too; set only one of them";
            self.problem(at, "headers", first, text);
            return Vec::new();
        }
        let mut headers = Vec::new();
        for (name, value) in &given.headers {
            match parse_header(name, &value.value) {
                Ok(header) => headers.push(header),
                Err(why) => self.problem(at, "headers", &value.source, why),
            }
        }
        let mut source = self.lines.describe(first.unwrap_or(&ValueSource::Default));
        if let Some(file) = &given.headers_file {
            let parse_line = |line: &Secret| {
                let (name, value) = line
                    .expose()
                    .split_once(':')
                    .ok_or("has a line without a colon")?;
                parse_header(name, value.trim())
            };
            let read = self.read_secret_file(file, true).and_then(|(lines, path)| {
                source = path;
                lines.iter().map(parse_line).collect::<Result<Vec<_>, _>>()
            });
            match read {
                Ok(read) => headers = read,
                Err(why) => self.problem(at, "headers_file", &file.source, why),
            }
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        self.show_with_source(at, "headers", names, source);
        headers
    }

    /// The API key or the login. `required_at` is the place to report if neither is given and one is needed.
    fn credentials(
        &mut self,
        at: &Section,
        given: &PortainerSection,
        required_at: Option<&ValueSource>,
    ) -> Option<Credentials> {
        let user = self.given(at, "user", &given.user, parse::word);
        if !self.needs_portainer() {
            return None;
        }
        let api_key = self.secret(at, "api_key", (&given.api_key, &given.api_key_file));
        let password = self.secret(at, "password", (&given.password, &given.password_file));
        let is_sendable = |key: &Secret| key.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if let Some(key) = api_key.as_ref().filter(|key| !is_sendable(&key.value)) {
            let text = "contains a character that no API key has";
            self.problem(at, "api_key", &key.source, text);
        }
        let key_source = first_source(&[&given.api_key, &given.api_key_file]);
        let password_source = first_source(&[&given.password, &given.password_file]);
        match (key_source, first_source(&[&given.user]), password_source) {
            (Some(key), user, password) => {
                if let Some(second) = user.or(password) {
                    let text = format!(
                        "an API key is given ({}) and a user or password too; set only one of them: PORTAINER_API_KEY, or \
                         PORTAINER_USER and PORTAINER_PASSWORD",
                        self.lines.describe(key)
                    );
                    self.problem(at, "", second, text);
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
                self.problem(at, "user", user, text);
                None
            }
            (None, None, Some(password)) => {
                self.problem(
                    at,
                    "password",
                    password,
                    "has no user; set PORTAINER_USER (user)",
                );
                None
            }
            (None, None, None) => {
                self.show(at, "api_key", "none", &ValueSource::Default);
                if let Some(source) = required_at {
                    let text = "has no credentials; set PORTAINER_API_KEY or PORTAINER_API_KEY_FILE (api_key or api_key_file), or \
                                PORTAINER_USER and PORTAINER_PASSWORD";
                    self.problem(at, "", source, text);
                }
                None
            }
        }
    }

    fn trust(&mut self, at: &Section, given: &PortainerSection, is_http: bool) -> Trust {
        let roots = match &given.ca_file {
            Some(field) if self.needs_portainer() => self.roots(at, field),
            Some(_) => None,
            None => {
                self.show(at, "ca_file", "none", &ValueSource::Default);
                None
            }
        };
        let field = &given.certificate_sha256;
        let fingerprint = self.optional(at, "certificate_sha256", field, "none", |text| {
            parse::fingerprint(text).map(|digest| secret::to_hex(&digest))
        });
        let insecure = self.flag(at, "insecure", &given.insecure);
        let insecure_field = given.insecure.as_ref().filter(|_| insecure);
        let sources = [
            first_source(&[&given.ca_file]),
            first_source(&[field]),
            insecure_field.map(|field| &field.source),
        ];
        let mut sources = sources.into_iter().flatten();
        if let Some(first) = sources.next() {
            let first = self.lines.describe(first);
            let names = "ca_file, certificate_sha256 and insecure";
            if let Some(second) = sources.next() {
                let text = format!("set only one of {names}; another is at {first}");
                self.problem(at, "", second, text);
            } else if is_http {
                let text = format!("{first}: {names} have no effect with an http:// URL");
                self.warnings.push(text);
            }
        }
        match (fingerprint.and_then(|hex| secret::from_hex(&hex)), roots) {
            (Some(digest), _) => Trust::Certificate(digest),
            (None, Some(roots)) => roots,
            (None, None) if insecure => {
                if !is_http {
                    let text = "portainer.insecure: anyone between stackhook and Portainer can read the credentials and change every \
                                answer; certificate_sha256 is as easy and safe";
                    self.warnings.push(text.to_owned());
                }
                Trust::Insecure
            }
            (None, None) => Trust::PublicRoots,
        }
    }

    fn roots(&mut self, at: &Section, field: &Sourced<String>) -> Option<Trust> {
        let (path, env) = (self.resolve(field), self.env);
        let (file, pem) = self.parse(at, "ca_file", field, |text| {
            let file = secrets::locate(text, path.clone(), env)?;
            // Bundles of all public roots are larger than a secret's limit and smaller than this.
            let pem = secrets::read_file(&file, limits::CONFIG_FILE_MAX)?.content;
            match pem.contains("-----BEGIN CERTIFICATE-----") {
                true => Ok((file, pem)),
                false => Err(format!("{file:?} contains no certificate in PEM format")),
            }
        })?;
        self.show(at, "ca_file", file.display(), &field.source);
        Some(Trust::Roots { file, pem })
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

/// The source of the first key that is given.
fn first_source<'f>(fields: &[&'f Field]) -> Option<&'f ValueSource> {
    let mut given = fields.iter().filter_map(|field| field.as_ref());
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

/// A header that may be added to requests for Portainer. Errors name the header and never its value.
fn parse_header(name: &str, value: &str) -> Result<(String, Secret), String> {
    const OURS: &str = "accept authorization connection content-length content-type cookie host origin te transfer-encoding x-api-key \
                        x-registry-auth";
    if name.is_empty() || name.len() > 128 || parse::header(name).is_err() {
        return Err("has a name that is not a valid header name".to_owned());
    }
    if OURS.split(' ').any(|own| name.eq_ignore_ascii_case(own)) {
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
