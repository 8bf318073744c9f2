//! Takes values out of sections: the right type, the right place, problems instead of stops, and a row for `show-config`.

mod secrets;

use std::fmt::Display;
use std::path::PathBuf;

use super::credentials;
use super::problem::{Nature, Place, Problem};
use super::show::Shown;
use super::surroundings::{self, Surroundings};
use super::values::{KEYS, Kind, Section, Value, keys};
use crate::near::{hint, nearest};

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
    /// The value alone.
    pub(super) fn good(self) -> Option<T> {
        match self {
            Taken::Good(value, _) => Some(value),
            Taken::Absent | Taken::Bad => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Taken::Absent)
    }

    /// Where the value stands.
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
        self.complain(Nature::Wrong, place, key, text);
    }

    /// Something is missing, or nobody knows it.
    pub(super) fn lost(&mut self, place: &Place, key: impl Into<String>, text: impl Into<String>) {
        self.complain(Nature::Lost, place, key, text);
    }

    /// Something is odd, and no reason to stop.
    pub(super) fn warn(&mut self, place: &Place, key: impl Into<String>, text: impl Into<String>) {
        let problem = Problem {
            nature: Nature::Wrong,
            place: place.clone(),
            key: key.into(),
            text: text.into(),
        };
        self.warnings.push(problem.to_string());
    }

    fn complain(
        &mut self,
        nature: Nature,
        place: &Place,
        key: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.problems.push(Problem {
            nature,
            place: place.clone(),
            key: key.into(),
            text: text.into(),
        });
    }

    /// A row of what is in force.
    pub(super) fn show(
        &mut self,
        key: impl Into<String>,
        value: impl Display,
        source: impl Display,
    ) {
        self.row(key.into(), &value, &source);
    }

    /// Apart from the above, so that it is there once for all types.
    fn row(&mut self, key: String, value: &dyn Display, source: &dyn Display) {
        self.shown.push(Shown {
            key,
            value: value.to_string(),
            source: source.to_string(),
        });
    }

    /// A setting with a default, shown under `label`; the default is given as value and as it would be written.
    pub(super) fn setting<T>(
        &mut self,
        section: &mut Section,
        key: (&str, &str),
        default: (T, &str),
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.setting_unless_odd(section, key, default, parse, |_| None)
    }

    /// The same, where a value can be right and yet help nobody: `odd` says so, and what to do.
    pub(super) fn setting_unless_odd<T>(
        &mut self,
        section: &mut Section,
        (key, label): (&str, &str),
        (default, text): (T, &str),
        parse: impl Fn(&str) -> Result<T, String>,
        odd: impl Fn(&T) -> Option<String>,
    ) -> T {
        let parse = |given: &str| Ok((parse(given)?, given.to_owned()));
        match self.text(section, key, parse) {
            Taken::Good((value, text), place) => {
                if let Some(why) = odd(&value) {
                    self.warn(&place, label, why);
                }
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

    /// A setting without a default, shown under `label`; as `absent` where it is not given.
    pub(super) fn optional<T: Display>(
        &mut self,
        section: &mut Section,
        (key, label): (&str, &str),
        absent: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Taken<T> {
        let taken = self.text(section, key, parse);
        match &taken {
            Taken::Good(value, place) => self.show(label, value, place),
            Taken::Absent => self.show(label, absent, Place::Nowhere),
            Taken::Bad => {}
        }
        taken
    }

    /// A text that `parse` understands.
    pub(super) fn text<T>(
        &mut self,
        section: &mut Section,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Taken<T> {
        match self.written(section, key) {
            Taken::Good(text, place) => match parse(&text) {
                Ok(parsed) => Taken::Good(parsed, place),
                Err(text) => {
                    self.problem(&place, section.path(key), text);
                    Taken::Bad
                }
            },
            Taken::Absent => Taken::Absent,
            Taken::Bad => Taken::Bad,
        }
    }

    /// The text itself. Apart from the above, so that it is there once for all types.
    fn written(&mut self, section: &mut Section, key: &str) -> Taken<String> {
        let Some(value) = section.take(key) else {
            return Taken::Absent;
        };
        let text = match value.kind {
            Kind::Bad => return Taken::Bad,
            Kind::Text(text) if text.is_empty() => Err("is empty".to_owned()),
            Kind::Text(text) => Ok(text),
            // Ids of environments and numbers of bytes are written without quotes, too.
            Kind::Integer(text) if matches!(key, "environment" | "max_body") => Ok(text),
            other => Err(format!("expected a text in quotes, found {}", other.name())),
        };
        match text {
            Ok(text) => Taken::Good(text, value.place),
            Err(text) => {
                self.problem(&value.place, section.path(key), text);
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
        let mut good = Vec::new();
        let mut each = |text: &str| {
            good.push(parse(text)?);
            Ok(())
        };
        match self.elements(section, key, &mut each) {
            Taken::Good((), place) => Taken::Good(good, place),
            Taken::Absent => Taken::Absent,
            Taken::Bad => Taken::Bad,
        }
    }

    /// Calls `each` with every text of a list. Apart from the above, so that it is there once for all types.
    fn elements(
        &mut self,
        section: &mut Section,
        key: &str,
        each: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Taken<()> {
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
                    position: 0,
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
        let mut all_good = true;
        for value in values {
            let parsed = match &value.kind {
                Kind::Text(text) if text.is_empty() => Err("an element is empty".to_owned()),
                Kind::Text(text) => each(text),
                other => Err(format!(
                    "expected texts in the list, found {}",
                    other.name()
                )),
            };
            if let Err(text) = parsed {
                self.problem(&value.place, path.as_str(), text);
                all_good = false;
            }
        }
        match all_good {
            true => Taken::Good((), value.place),
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

    /// The path that a key names.
    pub(super) fn path(&self, text: &str, place: &Place) -> Result<PathBuf, String> {
        let path = surroundings::resolve(text, place, &self.folder, self.surroundings);
        credentials::locate(text, path, self.surroundings)
    }

    /// Reports what nobody took.
    pub(super) fn finish(&mut self, section: Section) {
        for (key, value) in &section.entries {
            let known = keys(section.kind).iter().copied();
            let homes: Vec<&str> = KEYS
                .iter()
                .filter(|(_, keys)| keys.contains(&key.as_str()))
                .map(|(kind, _)| *kind)
                .collect();
            let hint = match (nearest(key, known.clone()), homes.as_slice()) {
                (None, [""]) => {
                    "; it belongs to the top of the file, before any section".to_owned()
                }
                (None, [kind @ ("stack" | "hook")]) => format!("; it belongs to [[{kind}]]"),
                (None, [kind]) => format!("; it belongs to [{kind}]"),
                _ => hint(key, known),
            };
            // What is no key may be a text that somebody pasted.
            let plain = |sign: char| sign.is_ascii_alphanumeric() || "_-".contains(sign);
            let path = match key.len() <= 40 && key.chars().all(plain) {
                true => section.path(key),
                false => section.path("(not shown)"),
            };
            self.lost(&value.place, path, format!("unknown key{hint}"));
        }
    }
}
