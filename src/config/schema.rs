//! The configuration file as written: one struct per section, each value with the position it comes from.
//!
//! To add a key:
//! 1. Add a field to its section below: `Option<Sourced<String>>` for text (durations, sizes and choices are text too),
//!    `Option<Sourced<bool>>`, `Option<Sourced<List>>`, or for a secret the pair `name` and `name_file`.
//! 2. If a variable may set it, add a row to `VARIABLES` in `env.rs`.
//! 3. Read it in the section's function in `validate.rs` or `validate/hook.rs` with one of the methods of `Checker`
//!    (`setting`, `optional`, `list`, `flag`, `secret`), which also adds its row to `show-config`, and put it into the domain type
//!    in `config.rs`. A secret also belongs into [`super::Config::secrets`], so that it is redacted.
//! 4. Explain it in `stackhook.toml.example`; a test fails until it is there.
//! 5. Add a row for each mistake one can make with it to the table in `tests/mistakes.rs`.
//!
//! To add a section, also add a row to [`SECTIONS`].

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{FileLines, Problem, Source};
use crate::suggest;

/// Everything that the file and the environment say, unchecked. Any text may be a secret, hence no `Debug`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: Option<Sourced<String>>,
    pub(super) public_url: Option<Sourced<String>>,
    pub(super) state_dir: Option<Sourced<String>>,
    pub(super) trusted_proxies: Option<Sourced<List>>,
    #[serde(deserialize_with = "text_or_number")]
    pub(super) max_body: Option<Sourced<String>>,
    pub(super) log: Option<Sourced<String>>,
    pub(super) log_format: Option<Sourced<String>>,
    pub(super) portainer: Option<Sourced<PortainerSection>>,
    pub(super) notify: OneOrMore<NotifySection>,
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
    pub(super) url: Option<Sourced<String>>,
    pub(super) api_key: Option<Sourced<String>>,
    pub(super) api_key_file: Option<Sourced<String>>,
    pub(super) user: Option<Sourced<String>>,
    pub(super) password: Option<Sourced<String>>,
    pub(super) password_file: Option<Sourced<String>>,
    pub(super) ca_file: Option<Sourced<String>>,
    pub(super) certificate_sha256: Option<Sourced<String>>,
    pub(super) insecure: Option<Sourced<bool>>,
    pub(super) timeout: Option<Sourced<String>>,
    /// Header names and their values.
    pub(super) headers: BTreeMap<String, Sourced<String>>,
    pub(super) headers_file: Option<Sourced<String>>,
}

/// `[notify]`, or one of several `[[notify]]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NotifySection {
    pub(super) url: Option<Sourced<String>>,
    pub(super) url_file: Option<Sourced<String>>,
    pub(super) format: Option<Sourced<String>>,
    pub(super) on: Option<Sourced<List>>,
    pub(super) secret: Option<Sourced<String>>,
    pub(super) secret_file: Option<Sourced<String>>,
}

/// `[[stack]]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StackSection {
    pub(super) key: Option<Sourced<String>>,
    pub(super) name: Option<Sourced<String>>,
    #[serde(deserialize_with = "text_or_number")]
    pub(super) environment: Option<Sourced<String>>,
    pub(super) pull: Option<Sourced<String>>,
    pub(super) except: Option<Sourced<List>>,
    pub(super) env: Option<Sourced<List>>,
    pub(super) healthy_within: Option<Sourced<String>>,
    pub(super) rollback: Option<Sourced<String>>,
    pub(super) cleanup: Option<Sourced<bool>>,
}

/// `[[hook]]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HookSection {
    pub(super) name: Option<Sourced<String>>,
    pub(super) sender: Option<Sourced<String>>,
    pub(super) scheme: Option<Sourced<String>>,
    pub(super) header: Option<Sourced<String>>,
    pub(super) kind: Option<Sourced<String>>,
    pub(super) hash: Option<Sourced<String>>,
    pub(super) encoding: Option<Sourced<String>>,
    pub(super) label: Option<Sourced<String>>,
    pub(super) signed: Option<Sourced<String>>,
    pub(super) timestamp_header: Option<Sourced<String>>,
    pub(super) secret: Option<Sourced<String>>,
    pub(super) secret_file: Option<Sourced<String>>,
    pub(super) stacks: Option<Sourced<List>>,
    pub(super) events: Option<Sourced<List>>,
    pub(super) branches: Option<Sourced<List>>,
    pub(super) tags: Option<Sourced<List>>,
    pub(super) repositories: Option<Sourced<List>>,
    pub(super) images: Option<Sourced<List>>,
    pub(super) paths: Option<Sourced<List>>,
    pub(super) workflows: Option<Sourced<List>>,
    pub(super) deployment_environments: Option<Sourced<List>>,
    pub(super) prereleases: Option<Sourced<bool>>,
    /// Names of registries in deliveries, and the names that stacks use.
    pub(super) registry: BTreeMap<String, Sourced<String>>,
    pub(super) wait: Option<Sourced<String>>,
    pub(super) allow_from: Option<Sourced<List>>,
    pub(super) payload: Option<Sourced<PayloadSection>>,
}

/// `[hook.payload]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PayloadSection {
    pub(super) each: Option<Sourced<String>>,
    pub(super) event: Option<Sourced<String>>,
    pub(super) branch: Option<Sourced<String>>,
    pub(super) tag: Option<Sourced<String>>,
    pub(super) repository: Option<Sourced<String>>,
    pub(super) image: Option<Sourced<String>>,
    pub(super) image_prefix: Option<Sourced<String>>,
    pub(super) commit: Option<Sourced<String>>,
    pub(super) id: Option<Sourced<String>>,
    /// JSON pointers and the accepted values.
    pub(super) require: BTreeMap<String, Sourced<Values>>,
}

/// `[staff]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StaffSection {
    pub(super) user: Option<Sourced<String>>,
    pub(super) password: Option<Sourced<String>>,
    pub(super) password_file: Option<Sourced<String>>,
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

/// A list of texts.
pub(super) type List = Vec<Sourced<String>>;

/// A value and where it was written.
#[derive(Clone, Default)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) source: Source,
}

impl<T> Sourced<T> {
    pub(super) fn new(value: T, source: Source) -> Sourced<T> {
        Sourced { value, source }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sourced<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let source = Source::File(spanned.span().start);
        Ok(Sourced::new(spanned.into_inner(), source))
    }
}

/// One section `[name]` or several `[[name]]`.
pub(super) struct OneOrMore<T>(pub(super) Vec<Sourced<T>>);

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        OneOrMore(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Sections<T> {
            One(T),
            More(Vec<Sourced<T>>),
        }
        struct SectionsVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for SectionsVisitor<T> {
            type Value = Sections<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sections<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Sections::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sections<T>, A::Error> {
                let mut sections = Vec::new();
                while let Some(section) = seq.next_element()? {
                    sections.push(section);
                }
                Ok(Sections::More(sections))
            }
        }
        impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sections<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(SectionsVisitor(PhantomData))
            }
        }
        let sections = Sourced::<Sections<T>>::deserialize(deserializer)?;
        Ok(OneOrMore(match sections.value {
            Sections::One(section) => vec![Sourced::new(section, sections.source)],
            Sections::More(sections) => sections,
        }))
    }
}

/// A text, number or boolean, or a list of them, as text.
pub(super) struct Values(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;
        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Values, E> {
                Ok(Values(vec![number.to_string()]))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(Values(inner)) = seq.next_element()? {
                    values.extend(inner);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_any(ValuesVisitor)
    }
}

/// For ids and numbers of bytes, which may be written without quotes.
fn text_or_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Sourced<String>>, D::Error> {
    struct TextVisitor;
    impl Visitor<'_> for TextVisitor {
        type Value = Text;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E>(self, text: &str) -> Result<Text, E> {
            Ok(Text(text.to_owned()))
        }

        fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
            Ok(Text(number.to_string()))
        }
    }
    struct Text(String);
    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(TextVisitor)
        }
    }
    let text = Sourced::<Text>::deserialize(deserializer)?;
    Ok(Some(Sourced::new(text.value.0, text.source)))
}

/// Parses the file's text. Returns what could be read, with the unknown keys and the values of a wrong type, which are left out
/// or empty in the result.
///
/// # Errors
/// All syntax errors. No problem repeats text of the file, which may be a secret in the wrong place.
pub(super) fn parse(
    text: &str,
    lines: &FileLines,
) -> Result<(ConfigFile, Vec<Problem>), Vec<Problem>> {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(text, &errors, lines));
    }
    let mut problems = Vec::new();
    remove_unknown_keys("", table.get_mut(), lines, &mut problems);
    let file = read_types(table, lines, &mut problems);
    Ok((file, problems))
}

/// Parses only `listen`, whatever else is in the file.
pub(super) fn parse_listen(
    text: &str,
    lines: &FileLines,
) -> Result<(ConfigFile, Vec<Problem>), Vec<Problem>> {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(text, &errors, lines));
    }
    let all = std::mem::take(table.get_mut()).into_iter();
    let listen = all.filter(|(key, _)| key.get_ref() == "listen");
    *table.get_mut() = listen.collect();
    let mut problems = Vec::new();
    let file = read_types(table, lines, &mut problems);
    Ok((file, problems))
}

/// Deserializes the table. serde stops at the first value of a wrong type, so that value is emptied and the table is read again.
fn read_types(
    mut table: Spanned<DeTable<'_>>,
    lines: &FileLines,
    problems: &mut Vec<Problem>,
) -> ConfigFile {
    // Nobody reads more problems than this, and reading again takes time.
    for _ in 0..100 {
        let error = match ConfigFile::deserialize(toml::de::Deserializer::from(table.clone())) {
            Ok(file) => return file,
            Err(error) => error,
        };
        let position = error.span().map_or(0, |span| span.start);
        let (path, found) = find(table.get_ref(), "", position).unwrap_or_default();
        let (expected, empty) = expected_type(&path, error.message());
        let message = format!("expected {expected}, found {found}");
        problems.push(Problem::new(Source::File(position), lines, &path, &message));
        match value_at(table.get_mut(), position) {
            Some(value) if !value.same_type(&empty) => *value = empty,
            _ => break,
        }
    }
    ConfigFile::default()
}

fn syntax_errors(text: &str, errors: &[toml::de::Error], lines: &FileLines) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut last_line = 0;
    for error in errors {
        let position = error.span().map_or(text.len(), |span| span.start);
        let line = lines.number(position);
        // What follows an error in the same line is mostly its consequence.
        if line != last_line {
            last_line = line;
            let message = syntax_message(error.message());
            problems.push(Problem::new(Source::File(position), lines, "", &message));
        }
    }
    problems
}

/// The parser's message, which holds no text of the file, with the next step where it lacks one.
fn syntax_message(message: &str) -> String {
    match message {
        _ if message.starts_with("string values must be quoted")
            || message.starts_with("invalid float") =>
        {
            "a text needs quotes around it".to_owned()
        }
        _ if message.starts_with("missing escaped value") => {
            "only certain characters may follow a backslash; write \\\\, or put the text in single quotes"
                .to_owned()
        }
        _ => message.replace('\n', " "),
    }
}

fn remove_unknown_keys(
    section: &str,
    table: &mut DeTable<'_>,
    lines: &FileLines,
    problems: &mut Vec<Problem>,
) {
    let known = keys(section);
    for (key, mut value) in std::mem::take(table) {
        let name: &str = key.get_ref();
        let path = join(section, name);
        if known.contains(&name) {
            if SECTIONS.iter().any(|(section, _)| *section == path) {
                for table in tables(value.get_mut()) {
                    remove_unknown_keys(&path, table, lines, problems);
                }
            }
            table.insert(key, value);
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
        let source = Source::File(key.span().start);
        let message = format!("unknown key{hint}");
        problems.push(Problem::new(source, lines, &path, &message));
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

/// The table or tables of a section.
fn tables<'v, 'i>(value: &'v mut DeValue<'i>) -> Vec<&'v mut DeTable<'i>> {
    match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(values) => values
            .iter_mut()
            .filter_map(|value| match value.get_mut() {
                DeValue::Table(table) => Some(table),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The expected type, in words, and an empty value of it. Of serde's own message only the end is used: it repeats the value.
fn expected_type(path: &str, message: &str) -> (String, DeValue<'static>) {
    let table = DeValue::Table(DeTable::new());
    let list = DeValue::Array(DeArray::new());
    match (path, message.rsplit_once(", expected ").map(|(_, end)| end)) {
        ("stack" | "hook", _) => (
            format!("sections [[{path}]], with two brackets on each side"),
            list,
        ),
        ("portainer" | "staff" | "hook.payload", _) => (format!("one section [{path}]"), table),
        ("notify", _) => ("sections [[notify]] or one [notify]".to_owned(), list),
        (_, Some("a sequence")) => ("a list of texts, such as [\"…\", \"…\"]".to_owned(), list),
        (_, Some("a boolean")) => ("true or false".to_owned(), DeValue::Boolean(false)),
        (_, Some("a map")) => (
            "keys and values, such as { \"/status\" = \"success\" }".to_owned(),
            table,
        ),
        (_, Some(expected @ "a text or a list of texts")) => (expected.to_owned(), list),
        _ => (
            "a text in quotes".to_owned(),
            DeValue::String(String::new().into()),
        ),
    }
}

/// The value that begins at `position`.
fn value_at<'t, 'i>(table: &'t mut DeTable<'i>, position: usize) -> Option<&'t mut DeValue<'i>> {
    table
        .iter_mut()
        .find_map(|(_, value)| inner_value_at(value, position))
}

fn inner_value_at<'v, 'i>(
    value: &'v mut Spanned<DeValue<'i>>,
    position: usize,
) -> Option<&'v mut DeValue<'i>> {
    if value.span().start == position {
        return Some(value.get_mut());
    }
    match value.get_mut() {
        DeValue::Table(table) => value_at(table, position),
        DeValue::Array(values) => values
            .iter_mut()
            .find_map(|value| inner_value_at(value, position)),
        _ => None,
    }
}

/// The path of the innermost key whose value begins at `position`, and the type of that value.
fn find(table: &DeTable<'_>, section: &str, position: usize) -> Option<(String, &'static str)> {
    table.iter().find_map(|(key, value)| {
        // A key that is not known, such as a pointer in `require`, is not printed.
        let path = match keys(section).contains(&key.get_ref().as_ref()) {
            true => join(section, key.get_ref()),
            false => section.to_owned(),
        };
        if value.span().start == position {
            return Some((path, type_name(value.get_ref())));
        }
        match value.get_ref() {
            DeValue::Table(table) => find(table, &path, position),
            DeValue::Array(values) => values.iter().find_map(|value| match value.get_ref() {
                _ if value.span().start == position => {
                    Some((path.clone(), type_name(value.get_ref())))
                }
                DeValue::Table(table) => find(table, &path, position),
                _ => None,
            }),
            _ => None,
        }
    })
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
