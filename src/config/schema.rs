//! The configuration file as written: one struct per section, each value with the position it comes from.
//!
//! To add a key:
//! 1. Add a field to its section below: `Field` for text (durations, sizes and choices are text too), `Field<bool>`, `Field<List>`,
//!    or for a secret the pair `name` and `name_file`.
//! 2. If a variable may set it, add a row to `VARIABLES` in `env.rs`.
//! 3. Read it in the section's function in `validate.rs` or `validate/hook.rs` with one of the methods of `Checker`
//!    (`setting`, `optional`, `given`, `list`, `flag`, `secret`), which also adds its row to `show-config`, and put it into the
//!    domain type in `config.rs`. A secret also belongs into [`super::Config::secrets`], so that it is redacted.
//! 4. Explain it in `stackhook.toml.example`; a test fails until it is there.
//! 5. Add a row for each mistake one can make with it to the table in `tests/mistakes.rs`.
//!
//! To add a section, also add a row to [`SECTIONS`].

use std::collections::BTreeMap;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{FileLines, Problem, Problems, ValueSource};
use crate::suggest;

/// Everything that the file and the environment say, unchecked. Any text may be a secret, hence no `Debug`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: Field,
    pub(super) public_url: Field,
    pub(super) state_dir: Field,
    pub(super) trusted_proxies: Field<List>,
    pub(super) max_body: Field,
    pub(super) log: Field,
    pub(super) log_format: Field,
    pub(super) portainer: Option<Sourced<PortainerSection>>,
    pub(super) notify: Vec<Sourced<NotifySection>>,
    pub(super) stack: Vec<Sourced<StackSection>>,
    pub(super) hook: Vec<Sourced<HookSection>>,
    pub(super) staff: Option<Sourced<StaffSection>>,
    /// The index of the stack that `PORTAINER_STACK_NAME` names.
    #[serde(skip)]
    pub(super) default_stack: Option<usize>,
}

/// `[portainer]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PortainerSection {
    pub(super) url: Field,
    pub(super) api_key: Field,
    pub(super) api_key_file: Field,
    pub(super) user: Field,
    pub(super) password: Field,
    pub(super) password_file: Field,
    pub(super) ca_file: Field,
    pub(super) certificate_sha256: Field,
    pub(super) insecure: Field<bool>,
    pub(super) timeout: Field,
    /// Header names and their values.
    pub(super) headers: BTreeMap<String, Sourced<String>>,
    pub(super) headers_file: Field,
}

/// `[notify]`, or one of several `[[notify]]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NotifySection {
    pub(super) url: Field,
    pub(super) url_file: Field,
    pub(super) format: Field,
    pub(super) on: Field<List>,
    pub(super) secret: Field,
    pub(super) secret_file: Field,
}

/// `[[stack]]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StackSection {
    pub(super) key: Field,
    pub(super) name: Field,
    pub(super) environment: Field,
    pub(super) pull: Field,
    pub(super) except: Field<List>,
    pub(super) env: Field<List>,
    pub(super) healthy_within: Field,
    pub(super) rollback: Field,
    pub(super) cleanup: Field<bool>,
}

/// `[[hook]]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HookSection {
    pub(super) name: Field,
    pub(super) sender: Field,
    pub(super) scheme: Field,
    pub(super) header: Field,
    pub(super) kind: Field,
    pub(super) hash: Field,
    pub(super) encoding: Field,
    pub(super) label: Field,
    pub(super) signed: Field,
    pub(super) timestamp_header: Field,
    pub(super) secret: Field,
    pub(super) secret_file: Field,
    pub(super) stacks: Field<List>,
    pub(super) events: Field<List>,
    pub(super) branches: Field<List>,
    pub(super) tags: Field<List>,
    pub(super) repositories: Field<List>,
    pub(super) images: Field<List>,
    pub(super) paths: Field<List>,
    pub(super) workflows: Field<List>,
    pub(super) deployment_environments: Field<List>,
    pub(super) prereleases: Field<bool>,
    /// Names of registries in deliveries, and the names that stacks use.
    pub(super) registry: BTreeMap<String, Sourced<String>>,
    pub(super) wait: Field,
    pub(super) allow_from: Field<List>,
    pub(super) payload: Option<Sourced<PayloadSection>>,
}

/// `[hook.payload]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PayloadSection {
    pub(super) each: Field,
    pub(super) event: Field,
    pub(super) branch: Field,
    pub(super) tag: Field,
    pub(super) repository: Field,
    pub(super) image: Field,
    pub(super) image_prefix: Field,
    pub(super) commit: Field,
    pub(super) id: Field,
    /// JSON pointers and the accepted values.
    pub(super) require: BTreeMap<String, Sourced<Vec<String>>>,
}

/// `[staff]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StaffSection {
    pub(super) user: Field,
    pub(super) password: Field,
    pub(super) password_file: Field,
}

/// Returns the keys of a section.
type KeysOf = fn() -> &'static [&'static str];

/// The keys of each section, by the section's name; "" is the top of the file. The order is that of the documentation.
pub(super) const SECTIONS: &[(&str, KeysOf)] = &[
    ("", keys_of::<ConfigFile>),
    ("portainer", keys_of::<PortainerSection>),
    ("notify", keys_of::<NotifySection>),
    ("stack", keys_of::<StackSection>),
    ("hook", keys_of::<HookSection>),
    ("hook.payload", keys_of::<PayloadSection>),
    ("staff", keys_of::<StaffSection>),
];

/// A value that may be missing.
pub(super) type Field<T = String> = Option<Sourced<T>>;

/// A list of texts.
pub(super) type List = Vec<Sourced<String>>;

/// A value and where it was written.
#[derive(Clone, Default)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) source: ValueSource,
}

impl<T> Sourced<T> {
    pub(super) fn new(value: T, source: ValueSource) -> Sourced<T> {
        Sourced { value, source }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sourced<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let source = ValueSource::File(spanned.span().start);
        Ok(Sourced::new(spanned.into_inner(), source))
    }
}

/// Parses the file's text, or of it only the key `only`. Returns what could be read, with the unknown keys and the values of a wrong
/// type, which are left out or empty in the result.
///
/// # Errors
/// All syntax errors. No problem repeats text of the file, which may be a secret in the wrong place.
pub(super) fn parse(
    text: &str,
    only: Option<&str>,
    lines: &FileLines,
) -> Result<(ConfigFile, Vec<Problem>), Vec<Problem>> {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(text, &errors, lines));
    }
    let mut problems = Vec::new();
    match only {
        Some(only) => {
            let all = std::mem::take(table.get_mut()).into_iter();
            *table.get_mut() = all.filter(|(key, _)| key.get_ref() == only).collect();
        }
        None => prepare("", table.get_mut(), lines, &mut problems),
    }
    let file = read_types(table, lines, &mut problems);
    Ok((file, problems))
}

/// Deserializes the table. serde stops at the first value of a wrong type, so that value is emptied and the table is read again.
fn read_types(
    mut table: Spanned<DeTable<'_>>,
    lines: &FileLines,
    problems: &mut Vec<Problem>,
) -> ConfigFile {
    // More problems than this are not shown, and reading again takes time.
    for _ in 0..Problems::MAX_SHOWN {
        let error = match ConfigFile::deserialize(toml::de::Deserializer::from(table.clone())) {
            Ok(file) => return file,
            Err(error) => error,
        };
        let position = error.span().map_or(0, |span| span.start);
        let Some((path, value)) = find(table.get_mut(), "", position) else {
            problems.push(Problem::with_file(lines, "a value has a wrong type"));
            break;
        };
        let (expected, empty) = expected_type(&path, error.message());
        let text = format!("expected {expected}, found {}", type_name(value));
        problems.push(Problem::new(
            ValueSource::File(position),
            lines,
            &path,
            text,
        ));
        *value = empty;
    }
    ConfigFile::default()
}

fn syntax_errors(text: &str, errors: &[toml::de::Error], lines: &FileLines) -> Vec<Problem> {
    let at = |error: &toml::de::Error| error.span().map_or(text.len(), |span| span.start);
    let mut problems: Vec<(usize, Problem)> = Vec::new();
    for error in errors {
        let line = lines.number(at(error));
        // What follows an error in the same line is mostly its consequence.
        if problems.last().is_none_or(|(last, _)| *last != line) {
            let text = syntax_message(error.message());
            problems.push((
                line,
                Problem::new(ValueSource::File(at(error)), lines, "", text),
            ));
        }
    }
    problems.into_iter().map(|(_, problem)| problem).collect()
}

/// The parser's message, which holds no text of the file, with the next step where it lacks one.
fn syntax_message(message: &str) -> String {
    const ADVICE: [(&str, &str); 3] = [
        (
            "string values must be quoted",
            "a text needs quotes around it",
        ),
        ("invalid float", "a text needs quotes around it"),
        (
            "missing escaped value",
            "only certain characters may follow a backslash; write \\\\, or put the text in single quotes",
        ),
    ];
    let advice = ADVICE.iter().find(|(start, _)| message.starts_with(start));
    advice.map_or_else(
        || message.replace('\n', " "),
        |(_, advice)| (*advice).to_owned(),
    )
}

/// Removes unknown keys, which become problems, and rewrites short forms as the long ones that the structs above expect.
fn prepare(section: &str, table: &mut DeTable<'_>, lines: &FileLines, problems: &mut Vec<Problem>) {
    let known = keys(section);
    for (key, mut value) in std::mem::take(table) {
        let name: &str = key.get_ref();
        let path = join(section, name);
        if known.contains(&name) {
            write_out(&path, &mut value);
            let mut is_wrong = false;
            if SECTIONS.iter().any(|(section, _)| *section == path) {
                is_wrong = !prepare_sections(&path, &mut value, lines, problems);
            }
            if !is_wrong {
                table.insert(key, value);
            }
            continue;
        }
        let hint = match suggest::closest(name, known.iter().copied()) {
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => home_hint(name),
        };
        // A key that is not a plain word may be a secret that was pasted in the wrong place.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let path = match name.len() <= 40 && name.chars().all(is_plain) {
            true => path,
            false => join(section, "(not shown)"),
        };
        let source = ValueSource::File(key.span().start);
        problems.push(Problem::new(
            source,
            lines,
            &path,
            format!("unknown key{hint}"),
        ));
    }
}

/// Prepares the section or sections of a name. serde would read a list in place of a section by position, so that is an error here.
/// Returns false if a value is wrong.
fn prepare_sections(
    path: &str,
    value: &mut Spanned<DeValue<'_>>,
    lines: &FileLines,
    problems: &mut Vec<Problem>,
) -> bool {
    let expected = match path {
        "notify" => "sections [[notify]] or one [notify]".to_owned(),
        "stack" | "hook" => format!("sections [[{path}]], with two brackets on each side"),
        _ => format!("one section [{path}]"),
    };
    let mut check = |value: &mut Spanned<DeValue<'_>>| {
        let source = ValueSource::File(value.span().start);
        match value.get_mut() {
            DeValue::Table(table) => {
                prepare(path, table, lines, problems);
                true
            }
            other => {
                let text = format!("expected {expected}, found {}", type_name(other));
                problems.push(Problem::new(source, lines, path, text));
                false
            }
        }
    };
    match (path, value.get_mut()) {
        ("notify" | "stack" | "hook", DeValue::Array(values)) => {
            // All are checked, so that no problem is missed.
            values
                .iter_mut()
                .filter_map(|value| (!check(value)).then_some(()))
                .count()
                == 0
        }
        ("notify" | "stack" | "hook", other) => {
            let text = format!("expected {expected}, found {}", type_name(other));
            let source = ValueSource::File(value.span().start);
            problems.push(Problem::new(source, lines, path, text));
            false
        }
        _ => check(value),
    }
}

/// One `[notify]` is a list of one; ids and sizes may be numbers; a required value may be one text, number or boolean.
fn write_out(path: &str, value: &mut Spanned<DeValue<'_>>) {
    fn write_text(value: &mut DeValue<'_>) {
        let text = match value {
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => number.to_string(),
                    Err(_) => return,
                }
            }
            DeValue::Boolean(flag) => flag.to_string(),
            _ => return,
        };
        *value = DeValue::String(text.into());
    }
    fn write_list(value: &mut Spanned<DeValue<'_>>) {
        let (span, inner) = (
            value.span(),
            std::mem::replace(value.get_mut(), DeValue::Boolean(false)),
        );
        let mut list = DeArray::new();
        list.push(Spanned::new(span, inner));
        *value.get_mut() = DeValue::Array(list);
    }
    match (path, value.get_mut()) {
        ("max_body" | "stack.environment", number @ DeValue::Integer(_)) => write_text(number),
        ("notify", DeValue::Table(_)) => write_list(value),
        ("hook.payload.require", DeValue::Table(required)) => {
            for (_, value) in required.iter_mut() {
                if matches!(
                    value.get_ref(),
                    DeValue::String(_) | DeValue::Integer(_) | DeValue::Boolean(_)
                ) {
                    write_list(value);
                }
                if let DeValue::Array(values) = value.get_mut() {
                    values
                        .iter_mut()
                        .for_each(|value| write_text(value.get_mut()));
                }
            }
        }
        _ => {}
    }
}

/// For a known key in the wrong section: the section it belongs to.
fn home_hint(key: &str) -> String {
    let homes: Vec<&str> = SECTIONS
        .iter()
        .filter(|(_, keys)| keys().contains(&key))
        .map(|(section, _)| *section)
        .collect();
    match homes.as_slice() {
        [""] => "; it belongs to the top of the file, before any section".to_owned(),
        [section @ ("stack" | "hook")] => format!("; it belongs to [[{section}]]"),
        [section] => format!("; it belongs to [{section}]"),
        _ => String::new(),
    }
}

/// The expected type, in words, and an empty value of it. Of serde's own message only the end is used: it repeats the value.
fn expected_type(path: &str, message: &str) -> (String, DeValue<'static>) {
    let expected = message
        .rsplit_once(", expected ")
        .map_or("", |(_, end)| end);
    let empty = match expected {
        "a sequence" => DeValue::Array(DeArray::new()),
        "a boolean" => DeValue::Boolean(false),
        "a map" => DeValue::Table(DeTable::new()),
        _ => DeValue::String("".into()),
    };
    let words = match (path, expected) {
        (_, "a boolean") => "true or false",
        (_, "a map") => "keys and values, such as { \"/status\" = \"success\" }",
        ("hook.payload.require", _) => "a text or a list of texts",
        (_, "a sequence") => "a list of texts, such as [\"…\", \"…\"]",
        _ => "a text in quotes",
    };
    (words.to_owned(), empty)
}

/// The innermost value that begins at `position`, and the path of its key.
fn find<'t, 'i>(
    table: &'t mut DeTable<'i>,
    section: &str,
    position: usize,
) -> Option<(String, &'t mut DeValue<'i>)> {
    table.iter_mut().find_map(|(key, value)| {
        // A key that is not known, such as a pointer in `require`, is not printed.
        let path = match keys(section).contains(&key.get_ref().as_ref()) {
            true => join(section, key.get_ref()),
            false => section.to_owned(),
        };
        find_in_value(value, &path, position)
    })
}

fn find_in_value<'v, 'i>(
    value: &'v mut Spanned<DeValue<'i>>,
    path: &str,
    position: usize,
) -> Option<(String, &'v mut DeValue<'i>)> {
    if value.span().start == position {
        return Some((path.to_owned(), value.get_mut()));
    }
    match value.get_mut() {
        DeValue::Table(table) => find(table, path, position),
        DeValue::Array(values) => values
            .iter_mut()
            .find_map(|value| find_in_value(value, path, position)),
        _ => None,
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The keys of a section, by its name in [`SECTIONS`].
pub(super) fn keys(section: &str) -> &'static [&'static str] {
    let found = SECTIONS.iter().find(|(name, _)| *name == section);
    found.map_or(&[], |(_, keys)| keys())
}

/// `portainer.url`; at the top of the file the key alone.
pub(super) fn join(section: &str, key: &str) -> String {
    match section {
        "" => key.to_owned(),
        _ => format!("{section}.{key}"),
    }
}

/// The field names of a struct, as its derived `Deserialize` states them.
fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    struct FieldNames<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for FieldNames<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("only structs have field names"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    // The error is certain: the names are known before any value is asked for.
    let _ = T::deserialize(FieldNames(&mut fields));
    fields
}
