//! `[portainer]`: its address, credentials, trusted certificates and further headers.

use std::time::Duration;

use super::within_a_day;
use crate::config::checker::{Checker, Section, first_source};
use crate::config::problem::ValueSource;
use crate::config::schema::{PortainerSection, Sourced};
use crate::config::{ConfigScope, Credentials, PortainerSettings, Trust, parse, secrets};
use crate::limits;
use crate::secret::{self, Secret};

impl Checker<'_> {
    pub(super) fn portainer(
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
