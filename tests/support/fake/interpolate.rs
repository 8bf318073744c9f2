//! Interpolation of variables in compose files, as compose does it.

use yaml_serde::Value;

use super::compose::scalar;

/// Interpolates every text below `tree`; an error names its position.
pub(super) fn interpolate_tree(
    tree: &mut Value,
    path: &str,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match tree {
        Value::String(text) => {
            *text = interpolate(text, find)
                .map_err(|e| format!("error while interpolating {path}: {e}"))?;
        }
        Value::Sequence(items) => {
            for item in items {
                interpolate_tree(item, &below("[]"), find)?;
            }
        }
        Value::Mapping(map) => {
            for (name, item) in map.iter_mut() {
                interpolate_tree(item, &below(&scalar(name)), find)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Interpolates `$NAME`, `${NAME}`, `${NAME:-x}`, `${NAME-x}`, `${NAME:?x}`, `${NAME?x}`, `${NAME:+x}`, `${NAME+x}` and `$$` in one value.
fn interpolate(text: &str, find: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing_brace(after)
                .ok_or_else(|| format!("invalid interpolation format: \"{text}\""))?;
            out.push_str(&braced(&after[..end], find)?);
            rest = &after[end + 1..];
        } else {
            let length = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            if length == 0 {
                return Err(format!("invalid interpolation format: \"{text}\""));
            }
            out.push_str(&find(&rest[..length]).unwrap_or_default());
            rest = &rest[length..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn braced(inner: &str, find: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let length = inner
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(inner.len());
    let (name, operator) = inner.split_at(length);
    let value = find(name);
    let filled = value.as_deref().is_some_and(|v| !v.is_empty());
    let missing = |word: &str| {
        Err(format!(
            "required variable {name} is missing a value: {word}"
        ))
    };
    let (operator, word) = match operator.as_bytes() {
        [] => return Ok(value.unwrap_or_default()),
        [b':', _, ..] => operator.split_at(2),
        _ => operator.split_at(1),
    };
    match operator {
        ":-" if filled => Ok(value.unwrap_or_default()),
        "-" if value.is_some() => Ok(value.unwrap_or_default()),
        ":-" | "-" => interpolate(word, find),
        ":?" if filled => Ok(value.unwrap_or_default()),
        "?" if value.is_some() => Ok(value.unwrap_or_default()),
        ":?" | "?" => missing(word),
        ":+" => {
            if filled {
                interpolate(word, find)
            } else {
                Ok(String::new())
            }
        }
        "+" => {
            if value.is_some() {
                interpolate(word, find)
            } else {
                Ok(String::new())
            }
        }
        _ => Err(format!("invalid interpolation format: \"${{{inner}}}\"")),
    }
}
