//! The checker: reads single values of a section and collects all problems, warnings and the rows of `show-config`.

use std::fmt::Display;
use std::path::PathBuf;

use super::env::{self, ProcessEnv};
use super::problem::{FileLines, Problem, ValueSource};
use super::schema::{Field, List, Sourced, join};
use super::{ConfigScope, Setting, parse, secrets};
use crate::secret::Secret;

/// The section of a key: its name in problems and in `show-config`.
pub(super) struct Section {
    /// The name in the file: `stack`.
    pub(super) kind: &'static str,
    /// The name that tells it from others of its kind: `app`. Empty for the only one.
    pub(super) name: String,
}

impl Section {
    /// The only section of its kind; "" is the top of the file.
    pub(super) fn only(kind: &'static str) -> Section {
        Section::named(kind, "")
    }

    pub(super) fn named(kind: &'static str, name: &str) -> Section {
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
    pub(super) fn problem(
        &mut self,
        at: &Section,
        key: &str,
        source: &ValueSource,
        text: impl AsRef<str>,
    ) {
        // A value of a wrong type was emptied: what follows from that is not worth a second problem.
        let is_reported =
            |known: &Problem| matches!(source, ValueSource::File(_)) && known.source == *source;
        if !self.problems.iter().any(is_reported) {
            let path = at.path(key);
            self.problems
                .push(Problem::new(source.clone(), &self.lines, &path, text));
        }
    }

    pub(super) fn warn(
        &mut self,
        at: &Section,
        key: &str,
        source: &ValueSource,
        text: impl AsRef<str>,
    ) {
        let warning = Problem::new(source.clone(), &self.lines, &at.path(key), text);
        self.warnings.push(warning.to_string());
    }

    pub(super) fn show(
        &mut self,
        at: &Section,
        key: &str,
        value: impl Display,
        source: &ValueSource,
    ) {
        let source = self.lines.describe(source);
        self.show_with_source(at, key, value, source);
    }

    pub(super) fn show_with_source(
        &mut self,
        at: &Section,
        key: &str,
        value: impl Display,
        source: String,
    ) {
        let (key, value) = (at.label(key), value.to_string());
        self.shown.push(Setting { key, value, source });
    }

    pub(super) fn parse<T>(
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
    pub(super) fn setting<T>(
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
    pub(super) fn optional<T: Display>(
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
    pub(super) fn given<T: Display>(
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
    pub(super) fn list<T: Display>(
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
    pub(super) fn flag(&mut self, at: &Section, key: &str, field: &Field<bool>) -> bool {
        let (value, source) = match field {
            Some(field) => (field.value, &field.source),
            None => (false, &ValueSource::Default),
        };
        self.show(at, key, value, source);
        value
    }

    /// One secret, from the key itself or from the file that the key with `_file` names.
    pub(super) fn secret(
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
    pub(super) fn secrets(
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
    pub(super) fn read_secret_file(
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
    pub(super) fn resolve(&self, path: &Sourced<String>) -> PathBuf {
        match path.source {
            ValueSource::File(_) => self.folder.join(&path.value),
            _ => self.env.working_dir.join(&path.value),
        }
    }

    /// Returns true if the secrets of Portainer and of notices are needed; others are not even read.
    pub(super) fn needs_portainer(&self) -> bool {
        self.scope != ConfigScope::Sender
    }
}

/// The source of the first key that is given.
pub(super) fn first_source<'f>(fields: &[&'f Field]) -> Option<&'f ValueSource> {
    let mut given = fields.iter().filter_map(|field| field.as_ref());
    given.next().map(|field| &field.source)
}

/// The source of a key; `Default` if it is not given.
pub(super) fn source_of(field: &Field) -> &ValueSource {
    field
        .as_ref()
        .map_or(&ValueSource::Default, |field| &field.source)
}
