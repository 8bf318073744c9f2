//! Takes values out of sections: the right type, the right place, problems instead of stops, and a row for `show-config`.

use std::fmt::Display;
use std::path::PathBuf;

use super::credentials;
use super::environment::{self, Surroundings};
use super::problem::{Place, Problem, hint, nearest};
use super::show::Shown;
use super::values::{KEYS, Kind, Section, Value, keys};
use crate::secret::Secret;

/// What stands under a key.
pub(super) enum Taken<T> {
    /// Nothing.
    Absent,
    /// Something wrong, which has been reported.
    Bad,
    /// A value and its place.
    Good(T, Place),
}

impl<T> Taken<T> {
    pub(super) fn good(self) -> Option<T> {
        match self {
            Taken::Good(value, _) => Some(value),
            Taken::Absent | Taken::Bad => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Taken::Absent)
    }

    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Taken::Good(_, place) => Some(place),
            Taken::Absent | Taken::Bad => None,
        }
    }
}

/// What has been found out so far.
pub(super) struct Reading<'s> {
    pub(super) surroundings: &'s Surroundings,
    /// Where relative paths of the file start.
    pub(super) folder: PathBuf,
    /// Anybody on this host may read the file.
    pub(super) open_to_others: bool,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    pub(super) shown: Vec<Shown>,
}

impl Reading<'_> {
    pub(super) fn problem(
        &mut self,
        place: &Place,
        key: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.problems.push(Problem {
            place: place.clone(),
            key: key.into(),
            text: text.into(),
        });
    }

    pub(super) fn show(
        &mut self,
        key: impl Into<String>,
        value: impl Display,
        source: impl Display,
    ) {
        self.shown.push(Shown {
            key: key.into(),
            value: value.to_string(),
            source: source.to_string(),
        });
    }

    /// A setting with a default, shown under `label`; the default is given as value and as it would be written.
    pub(super) fn setting<T>(
        &mut self,
        section: &mut Section,
        (key, label): (&str, &str),
        (default, text): (T, &str),
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let parse = |given: &str| Ok((parse(given)?, given.to_owned()));
        match self.text(section, key, parse) {
            Taken::Good((value, text), place) => {
                self.show(label, text, place);
                value
            }
            Taken::Absent => {
                self.show(label, text, Place::Nowhere);
                default
            }
            Taken::Bad => default,
        }
    }

    /// A text that `parse` understands.
    pub(super) fn text<T>(
        &mut self,
        section: &mut Section,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Taken<T> {
        let Some(value) = section.take(key) else {
            return Taken::Absent;
        };
        let path = section.path(key);
        let parsed = match &value.kind {
            Kind::Bad => return Taken::Bad,
            Kind::Text(text) if text.is_empty() => Err("is empty".to_owned()),
            Kind::Text(text) => parse(text),
            // Ids of environments and numbers of bytes are written without quotes, too.
            Kind::Integer(text) if matches!(key, "environment" | "max_body") => parse(text),
            other => Err(format!("expected a text in quotes, found {}", other.name())),
        };
        match parsed {
            Ok(parsed) => Taken::Good(parsed, value.place),
            Err(text) => {
                self.problem(&value.place, path, text);
                Taken::Bad
            }
        }
    }

    /// A list of texts; in a variable they are separated by commas.
    pub(super) fn list<T>(
        &mut self,
        section: &mut Section,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Taken<Vec<T>> {
        let Some(value) = section.take(key) else {
            return Taken::Absent;
        };
        let path = section.path(key);
        let values = match value.kind {
            Kind::Bad => return Taken::Bad,
            Kind::List(values) => values,
            Kind::Text(text) if matches!(value.place, Place::Variable(_)) => text
                .split(',')
                .map(|part| Value {
                    kind: Kind::Text(part.trim().to_owned()),
                    place: value.place.clone(),
                })
                .collect(),
            other => {
                let text = format!(
                    "expected a list of texts, such as [\"…\", \"…\"], found {}",
                    other.name()
                );
                self.problem(&value.place, path, text);
                return Taken::Bad;
            }
        };
        let (all, mut good) = (values.len(), Vec::new());
        for value in values {
            let parsed = match &value.kind {
                Kind::Text(text) if text.is_empty() => Err("an element is empty".to_owned()),
                Kind::Text(text) => parse(text),
                other => Err(format!(
                    "expected texts in the list, found {}",
                    other.name()
                )),
            };
            match parsed {
                Ok(parsed) => good.push(parsed),
                Err(text) => self.problem(&value.place, path.as_str(), text),
            }
        }
        match good.len() == all {
            true => Taken::Good(good, value.place),
            false => Taken::Bad,
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, section: &mut Section, (key, label): (&str, &str)) -> bool {
        let Some(value) = section.take(key) else {
            self.show(label, false, Place::Nowhere);
            return false;
        };
        let parsed = match &value.kind {
            Kind::Boolean(flag) => Ok(*flag),
            Kind::Text(text) if matches!(value.place, Place::Variable(_)) => {
                super::parse::flag(text)
            }
            other => Err(format!("expected true or false, found {}", other.name())),
        };
        match parsed {
            Ok(flag) => {
                self.show(label, flag, value.place);
                flag
            }
            Err(text) => {
                let path = section.path(key);
                self.problem(&value.place, path, text);
                false
            }
        }
    }

    /// One secret, under `key` or in the file under `key` + `_file`.
    pub(super) fn secret(
        &mut self,
        section: &mut Section,
        key: &str,
        label: &str,
    ) -> Taken<Secret> {
        match self.secrets(section, (key, label), false) {
            Taken::Good(secrets, place) => match secrets.into_iter().next() {
                Some(secret) => Taken::Good(secret, place),
                None => Taken::Absent,
            },
            Taken::Absent => Taken::Absent,
            Taken::Bad => Taken::Bad,
        }
    }

    /// Secrets, one a line, newest first.
    pub(super) fn secrets(
        &mut self,
        section: &mut Section,
        (key, label): (&str, &str),
        several: bool,
    ) -> Taken<Vec<Secret>> {
        let of_file = format!("{key}_file");
        let (key, value, in_file) = match (section.take(key), section.take(&of_file)) {
            (None, None) => return Taken::Absent,
            (Some(_), Some(second)) => {
                let text = format!("\"{key}\" is given too; only one of them can count");
                self.problem(&second.place, section.path(&of_file), text);
                return Taken::Bad;
            }
            (Some(value), None) => (key, value, false),
            (None, Some(value)) => (of_file.as_str(), value, true),
        };
        let (path, place) = (section.path(key), value.place);
        let read = match value.kind {
            Kind::Bad => return Taken::Bad,
            Kind::Text(text) if in_file => self.secrets_in_file(&text, &place, several),
            Kind::Text(text) => self.secrets_in_text(&text, &place, &path, several),
            other => Err(format!("expected a text in quotes, found {}", other.name())),
        };
        match read {
            Ok((secrets, source)) => {
                self.show(label, told(&secrets), source);
                Taken::Good(secrets, place)
            }
            Err(text) => {
                self.problem(&place, path, text);
                Taken::Bad
            }
        }
    }

    /// The secrets, and their source as it is shown.
    fn secrets_in_file(
        &mut self,
        text: &str,
        place: &Place,
        several: bool,
    ) -> Result<(Vec<Secret>, String), String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let path = self.path(text, place)?;
        let found = credentials::read(text, &path, several, self.surroundings)?;
        self.warnings.extend(found.warnings);
        Ok((found.secrets, format!("{place} -> {}", path.display())))
    }

    fn secrets_in_text(
        &mut self,
        text: &str,
        place: &Place,
        path: &str,
        several: bool,
    ) -> Result<(Vec<Secret>, String), String> {
        let secrets = credentials::parse(text, several)?;
        let mut signs = text.chars();
        let quotes = (signs.next(), signs.next_back());
        match place {
            Place::Variable(name)
                if matches!(quotes, (Some('"'), Some('"')) | (Some('\''), Some('\''))) =>
            {
                self.warnings.push(format!(
                    "{name}: the secret begins and ends with a quote, which counts as part of it (Docker's \
                     env files keep quotes)"
                ));
            }
            Place::Line(file, _) if self.open_to_others => self.warnings.push(format!(
                "{place}: {path}: any user of this host can read this secret; mend it with: chmod o-r {file}"
            )),
            _ => {}
        }
        Ok((secrets, place.to_string()))
    }

    /// The path that a key names.
    pub(super) fn path(&self, text: &str, place: &Place) -> Result<PathBuf, String> {
        let path = environment::resolve(text, place, &self.folder, self.surroundings);
        credentials::locate(text, path, self.surroundings)
    }

    /// Reports what nobody took.
    pub(super) fn finish(&mut self, section: Section) {
        for (key, value) in &section.entries {
            let path = section.path(key);
            let elsewhere = KEYS
                .iter()
                .find(|(kind, keys)| *kind != section.kind && keys.contains(&key.as_str()))
                .map(|(kind, _)| *kind);
            let text = match (nearest(key, keys(section.kind).iter().copied()), elsewhere) {
                (None, Some("")) => {
                    "unknown key; it belongs to the top of the file, before the first section"
                        .to_owned()
                }
                (None, Some(kind)) if key != "name" && key != "key" => {
                    let brackets = if matches!(kind, "stack" | "hook") {
                        2
                    } else {
                        1
                    };
                    let (open, close) = ("[".repeat(brackets), "]".repeat(brackets));
                    format!("unknown key; it belongs to {open}{kind}{close}")
                }
                _ => format!(
                    "unknown key{}",
                    hint(key, keys(section.kind).iter().copied())
                ),
            };
            // A name that is no key may be a text that somebody pasted.
            let plain = key.len() <= 40
                && key
                    .chars()
                    .all(|sign| sign.is_ascii_alphanumeric() || "_-".contains(sign));
            let path = if plain {
                path
            } else {
                section.path("(a key that is not shown)")
            };
            self.problem(&value.place, path, text);
        }
    }
}

/// What may be told about secrets.
fn told(secrets: &[Secret]) -> String {
    let count = |secret: &Secret| secret.expose().chars().count().to_string();
    let lengths: Vec<String> = secrets.iter().map(count).collect();
    match lengths.as_slice() {
        [length] => format!("set, {length} characters"),
        lengths => format!(
            "{} secrets of {} characters",
            lengths.len(),
            lengths.join(", ")
        ),
    }
}
