//! The configuration file: which one, its sections, and the line of everything in it; the home of toml. Of syntax errors
//! only message and line are told, never the line's text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::disk;
use super::problem::{Nature, Place, Problem};
use super::surroundings::Surroundings;
use super::values::{Kind, Section, Value, Written};
use crate::limits;

/// A file that is there, or ought to be.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// How it is called in problems.
    pub(super) name: Arc<str>,
    /// Somebody named it, so it must exist.
    named: bool,
}

/// What was in it.
pub(super) struct Parsed {
    pub(super) written: Written,
    pub(super) problems: Vec<Problem>,
    /// Lines whose syntax is wrong; empty: everything could be read.
    pub(super) torn: BTreeSet<usize>,
    /// Anybody on this host may read it.
    pub(super) open_to_others: bool,
}

/// The file to read: the named one, else the first of the usual ones that exists.
pub(super) fn find(option: Option<&Path>, surroundings: &Surroundings) -> Option<Found> {
    let found = |path: &Path, shown: &Path, named| Found {
        path: path.to_owned(),
        name: shown.display().to_string().into(),
        named,
    };
    let variable = surroundings.path("STACKHOOK_CONFIG");
    if let Some(path) = option.or(variable.as_deref()) {
        return Some(found(&surroundings.working_dir.join(path), path, true));
    }
    let here = Path::new("stackhook.toml");
    [
        (surroundings.working_dir.join(here), here),
        (surroundings.system_file.clone(), &surroundings.system_file),
    ]
    .iter()
    // One that cannot be looked at is there, too: going on without it would be a surprise.
    .find(|(path, _)| path.try_exists().unwrap_or(true))
    .map(|(path, shown)| found(path, shown, false))
}

/// Everything in it that can be read.
pub(super) fn read(found: &Found) -> Parsed {
    match disk::read(&found.path, limits::CONFIG_FILE_MAX) {
        Ok(text) => Parsed {
            open_to_others: text.open_to_others,
            ..parse(&found.name, &text.content)
        },
        Err(text) => {
            let hint = match found.named && !found.path.exists() {
                true => "; --config or STACKHOOK_CONFIG names it",
                false => "",
            };
            Parsed {
                written: Written::new(),
                problems: vec![Problem {
                    nature: Nature::Wrong,
                    place: Place::File(found.name.clone()),
                    key: String::new(),
                    text: format!("{text}{hint}"),
                }],
                torn: BTreeSet::from([0]),
                open_to_others: false,
            }
        }
    }
}

fn parse(name: &Arc<str>, text: &str) -> Parsed {
    let lines = Lines {
        name,
        starts: std::iter::once(0)
            .chain(text.match_indices('\n').map(|(index, _)| index + 1))
            .collect(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems = Vec::new();
    let mut torn = BTreeSet::new();
    for error in &errors {
        let line = lines.number(error.span().map_or(text.len(), |span| span.start));
        // What follows a mistake in the same line is mostly its echo.
        if torn.insert(line) {
            problems.push(Problem {
                nature: Nature::Wrong,
                place: Place::Line(name.clone(), line),
                key: String::new(),
                text: plain(error.message()),
            });
        }
    }
    let mut written = Written::new();
    let misplaced = sort(lines.section("", table.get_ref(), 0), &mut written);
    if torn.is_empty() {
        problems.extend(misplaced);
    }
    Parsed {
        written,
        problems,
        torn,
        open_to_others: false,
    }
}

/// The library's message, in the words of somebody who writes a configuration where its own would not help.
fn plain(message: &str) -> String {
    match message {
        _ if message.starts_with("string values must be quoted")
            || message.starts_with("invalid float") =>
        {
            "a text needs quotes around it".to_owned()
        }
        _ if message.starts_with("missing escaped value") => {
            "after a backslash only certain signs may follow; write \\\\, or put the text in single quotes"
                .to_owned()
        }
        _ => message.replace('\n', " "),
    }
}

/// Puts the tables of the file where they belong; yields those of the wrong kind.
fn sort(mut top: Section, written: &mut Written) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut complain = |place: Place, key: &str, text: String| {
        problems.push(Problem {
            nature: Nature::Wrong,
            place,
            key: key.to_owned(),
            text,
        });
    };
    for (name, section) in [
        ("portainer", &mut written.portainer),
        ("notify", &mut written.notify),
        ("staff", &mut written.staff),
    ] {
        match top.take(name) {
            None => {}
            Some(Value {
                kind: Kind::Table(found),
                ..
            }) => *section = found,
            Some(value) => complain(
                value.place,
                name,
                format!("expected one section [{name}], found {}", value.kind.name()),
            ),
        }
    }
    for (name, sections) in [("stack", &mut written.stacks), ("hook", &mut written.hooks)] {
        let expected = format!("expected sections [[{name}]], with two brackets on each side");
        match top.take(name) {
            None => {}
            Some(Value {
                kind: Kind::List(values),
                ..
            }) => {
                for value in values {
                    match value.kind {
                        Kind::Table(section) => sections.push(section),
                        _ => complain(value.place, name, expected.clone()),
                    }
                }
            }
            Some(value) => complain(value.place, name, expected),
        }
    }
    written.top = top;
    problems
}

/// Turns positions into lines.
struct Lines<'t> {
    name: &'t Arc<str>,
    starts: Vec<usize>,
}

impl Lines<'_> {
    fn number(&self, position: usize) -> usize {
        self.starts.partition_point(|start| *start <= position)
    }

    fn place(&self, position: usize) -> Place {
        Place::Line(self.name.clone(), self.number(position))
    }

    fn section(&self, kind: &'static str, table: &DeTable<'_>, position: usize) -> Section {
        let mut section = Section::new(kind, self.place(position));
        for (key, value) in table.iter() {
            let inner = match (kind, key.get_ref().as_ref()) {
                ("", "portainer") => "portainer",
                ("", "notify") => "notify",
                ("", "staff") => "staff",
                ("", "stack") => "stack",
                ("", "hook") => "hook",
                ("hook", "payload") => "hook.payload",
                ("hook.payload", "require") => "hook.payload.require",
                _ => "",
            };
            // A key's line is the better one: a value may begin, and a section's header end, elsewhere.
            let value = Value {
                kind: self.kind(inner, value),
                place: self.place(key.span().start),
                position: key.span().start,
            };
            section.entries.push((key.get_ref().to_string(), value));
        }
        section
    }

    fn kind(&self, section: &'static str, value: &Spanned<DeValue<'_>>) -> Kind {
        match value.get_ref() {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => Kind::Integer(number.to_string()),
            DeValue::Boolean(value) => Kind::Boolean(*value),
            DeValue::Float(_) => Kind::Other("a fraction"),
            DeValue::Datetime(_) => Kind::Other("a date or a time"),
            DeValue::Array(values) => Kind::List(
                values
                    .iter()
                    .map(|value| Value {
                        kind: self.kind(section, value),
                        place: self.place(value.span().start),
                        position: value.span().start,
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Kind::Table(self.section(section, table, value.span().start)),
        }
    }
}
