//! JSON pointers (RFC 6901) into a payload: they start at an element or, after a `#`, at the top; `*` stands for every
//! element of a list.

use serde_json::Value;

use super::quoted;

/// Everything that stands at the first place that is there must be one of the values.
pub(super) fn expect(
    places: &[&str],
    values: &[&str],
    body: &Value,
    element: &Value,
) -> Result<(), String> {
    for place in places {
        let found = texts(body, element, place);
        let wrong = found.iter().find(|text| !values.contains(&text.as_str()));
        match (found.is_empty(), wrong) {
            (true, _) => continue,
            (false, None) => return Ok(()),
            (false, Some(text)) => {
                let wanted = match values.len() {
                    1..=3 => format!("not {}", values.join(" or ")),
                    _ => "which is not acted on".to_owned(),
                };
                return Err(format!("\"{place}\" is {}, {wanted}", quoted(text)));
            }
        }
    }
    Err(format!("nothing at \"{}\"", places.join("\" or \"")))
}

pub(super) fn one(body: &Value, element: &Value, pointer: &str) -> Option<String> {
    texts(body, element, pointer).into_iter().next()
}

/// The texts at a pointer; numbers and truth values count as what they look like, the empty text as nothing.
pub(super) fn texts(body: &Value, element: &Value, pointer: &str) -> Vec<String> {
    let found = match pointer.strip_prefix('#') {
        Some(pointer) => all(body, pointer),
        None => all(element, pointer),
    };
    found
        .into_iter()
        .filter_map(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        })
        .filter(|text| !text.is_empty())
        .collect()
}

/// Every value that a pointer leads to.
pub(super) fn all<'v>(value: &'v Value, pointer: &str) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        found = found
            .into_iter()
            .flat_map(|value| match (value, step.as_str()) {
                (Value::Array(list), "*") => list.iter().collect(),
                (Value::Array(list), index) => index_of(index)
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

/// Digits without a leading zero (RFC 6901 section 4).
fn index_of(step: &str) -> Option<usize> {
    let plain = step.bytes().all(|digit| digit.is_ascii_digit());
    let leading_zero = step.len() > 1 && step.starts_with('0');
    step.parse().ok().filter(|_| plain && !leading_zero)
}
