//! Pointers into a delivery: JSON pointers (RFC 6901), in which `*` means every element of a list, and `header:NAME`. A JSON pointer
//! starts at the element of an event or, after a `#`, at the top of the body.

use serde_json::Value;

use crate::event::quoted;
use crate::message::Headers;

/// The start of a pointer to a header.
pub(super) const HEADER: &str = "header:";

/// One element of a delivery, with the parts around it that pointers reach.
#[derive(Clone, Copy)]
pub(super) struct Document<'d> {
    pub(super) headers: &'d Headers,
    pub(super) body: &'d Value,
    pub(super) element: &'d Value,
}

impl<'d> Document<'d> {
    /// The same delivery, at another element.
    pub(super) fn at(self, element: &'d Value) -> Document<'d> {
        Document { element, ..self }
    }

    /// The first text at a pointer.
    pub(super) fn first_text(self, pointer: &str) -> Option<String> {
        self.texts(pointer).into_iter().next()
    }

    /// The texts at a pointer, without empty ones. Numbers and truth values count as their JSON text.
    pub(super) fn texts(self, pointer: &str) -> Vec<String> {
        if let Some(name) = pointer.strip_prefix(HEADER) {
            let values = self
                .headers
                .all(&name.to_ascii_lowercase())
                .map(str::to_owned)
                .collect();
            return without_empty(values);
        }
        let found = match pointer.strip_prefix('#') {
            Some(pointer) => values(self.body, pointer),
            None => values(self.element, pointer),
        };
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        without_empty(found.into_iter().filter_map(text).collect())
    }

    /// Requires that all texts at the first pointer with any are among `allowed`.
    ///
    /// Errors: the text that is not allowed, or the pointers without a text.
    pub(super) fn require(self, pointers: &[&str], allowed: &[&str]) -> Result<(), String> {
        for pointer in pointers {
            let found = self.texts(pointer);
            let wrong = found.iter().find(|text| !allowed.contains(&text.as_str()));
            match (found.is_empty(), wrong) {
                (true, _) => continue,
                (false, None) => return Ok(()),
                (false, Some(text)) => {
                    let wanted = match allowed.len() {
                        1..=3 => format!("not {}", allowed.join(" or ")),
                        _ => "which is not acted on".to_owned(),
                    };
                    return Err(format!("\"{pointer}\" is {}, {wanted}", quoted(text)));
                }
            }
        }
        Err(format!("nothing at \"{}\"", pointers.join("\" or \"")))
    }
}

fn without_empty(mut texts: Vec<String>) -> Vec<String> {
    texts.retain(|text| !text.is_empty());
    texts
}

/// Every value that a JSON pointer leads to.
pub(super) fn values<'v>(value: &'v Value, pointer: &str) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        found = found
            .into_iter()
            .flat_map(|value| match (value, step.as_str()) {
                (Value::Array(list), "*") => list.iter().collect(),
                (Value::Array(list), index) => parse_index(index)
                    .and_then(|index| list.get(index))
                    .into_iter()
                    .collect(),
                (Value::Object(object), key) => object.get(key).into_iter().collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    found
}

/// Parses digits without a leading zero (RFC 6901 section 4).
fn parse_index(step: &str) -> Option<usize> {
    let plain = step.bytes().all(|digit| digit.is_ascii_digit());
    let leading_zero = step.len() > 1 && step.starts_with('0');
    step.parse().ok().filter(|_| plain && !leading_zero)
}
