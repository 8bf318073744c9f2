//! Reads the file's text into [`ConfigFile`], with all unknown keys and values of a wrong type.

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{FileLines, Problem, Problems, ValueSource};
use super::schema::{ConfigFile, SECTIONS, join, keys};
use crate::suggest;

/// Parses the file's text, or of it only the key `only`. Returns what could be read, with the unknown keys and the values of a wrong
/// type, which are left out or empty in the result.
///
/// Errors: all syntax errors. No problem repeats text of the file, which may be a secret in the wrong place.
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
        problems.push(wrong_type(
            position,
            lines,
            &path,
            expected,
            type_name(value),
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
    let is_list = matches!(path, "notify" | "stack" | "hook");
    let sections: &mut [Spanned<DeValue<'_>>] = match value.get_mut() {
        DeValue::Array(values) if is_list => values,
        DeValue::Table(_) if !is_list => std::slice::from_mut(value),
        other => {
            let found = type_name(other);
            problems.push(wrong_type(
                value.span().start,
                lines,
                path,
                &expected,
                found,
            ));
            return false;
        }
    };
    let mut is_right = true;
    for section in sections {
        let position = section.span().start;
        match section.get_mut() {
            DeValue::Table(table) => prepare(path, table, lines, problems),
            other => {
                problems.push(wrong_type(
                    position,
                    lines,
                    path,
                    &expected,
                    type_name(other),
                ));
                is_right = false;
            }
        }
    }
    is_right
}

fn wrong_type(
    position: usize,
    lines: &FileLines,
    path: &str,
    expected: &str,
    found: &str,
) -> Problem {
    let text = format!("expected {expected}, found {found}");
    Problem::new(ValueSource::File(position), lines, path, text)
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
fn expected_type(path: &str, message: &str) -> (&'static str, DeValue<'static>) {
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
    (words, empty)
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
