//! JSON as strangers send it: nested so little that reading it fits any stack, and with so few values that what is read fits the memory.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::limits;

/// Why a body was not read; nothing of its content.
#[derive(Debug)]
pub(crate) enum NotRead {
    /// Where it stops being JSON, or what it is instead.
    NoJson(String),
    /// It may well be JSON, but not such as is read here; why.
    Refused(String),
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotRead::NoJson(why) => write!(f, "is no JSON: {why}"),
            NotRead::Refused(why) => write!(f, "is not read: {why}"),
        }
    }
}

/// Reads a whole body.
///
/// # Errors
/// Why it is not read.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotRead> {
    let shape = Shape::of(bytes);
    if shape.depth > limits::NESTING {
        let most = limits::NESTING;
        let why = format!("it is nested deeper than {most} levels");
        return Err(NotRead::Refused(why));
    }
    let (least, times) = limits::TREE;
    if shape.weight > bytes.len().saturating_mul(times).max(least) {
        let why = "it has more values than any known sender puts into so many bytes";
        return Err(NotRead::Refused(why.to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| match (error.classify(), not_even_near(bytes)) {
        (Category::Data, _) => NotRead::Refused(error.to_string()),
        (_, Some(words)) => NotRead::NoJson(words.to_owned()),
        (_, None) => NotRead::NoJson(error.to_string()),
    })
}

/// What the body is instead, where that is plain to see. For a body that is no JSON.
fn not_even_near(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Some("it begins with a byte order mark; send it without");
    }
    let name = bytes.split(|byte| *byte == b'=').next()?;
    let of_form = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+%[]".contains(byte);
    let is_form = name.len() < bytes.len() && name.first().is_some_and(u8::is_ascii_alphabetic);
    (is_form && name.iter().all(of_form))
        .then_some("it is a form; the sender must send application/json")
}

/// What is known of a text before it is read. Exact as far as it is JSON; behind that nobody reads.
#[derive(Debug, Default)]
struct Shape {
    /// Lists and maps within each other.
    depth: usize,
    /// What its values will take (bytes), roughly.
    weight: usize,
}

/// What a map takes (bytes), even if there is one entry in it: room for eleven keys and values.
const MAP: usize = 700;
/// What a list takes (bytes): room for four values.
const LIST: usize = 180;
/// What every further value takes (bytes), whether it is in a list that grows or a short text.
const VALUE: usize = 64;

impl Shape {
    fn of(bytes: &[u8]) -> Shape {
        let mut shape = Shape {
            weight: bytes.len(),
            ..Shape::default()
        };
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        for byte in bytes {
            let takes = match (in_text, byte) {
                (true, _) if escaped => {
                    escaped = false;
                    0
                }
                (true, b'\\') => {
                    escaped = true;
                    0
                }
                (_, b'"') => {
                    in_text = !in_text;
                    0
                }
                (false, b'[' | b'{') => {
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                    if *byte == b'[' { LIST } else { MAP }
                }
                (false, b']' | b'}') => {
                    depth = depth.saturating_sub(1);
                    0
                }
                (false, b',') => VALUE,
                _ => 0,
            };
            shape.weight = shape.weight.saturating_add(takes);
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn check(text: &str, depth: usize) {
        assert_eq!(Shape::of(text.as_bytes()).depth, depth, "{text}");
    }

    #[test]
    fn levels_are_counted_where_they_are_none_of_a_text() {
        check("{}", 1);
        check(r#"{"a": [1, {"b": []}]}"#, 4);
        check(r#"[[1], [2], [[3]]]"#, 3);
        check(r#"["]]", "[[[", "\"[[", [["\\\\"]]]"#, 3);
    }

    #[test]
    fn the_deepest_that_is_read_is_read() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let read = |depth| from_slice::<Value>(nested(depth).as_bytes());
        assert!(read(limits::NESTING).is_ok());
        let error = read(limits::NESTING + 1).unwrap_err().to_string();
        assert_eq!(error, "is not read: it is nested deeper than 32 levels");
    }

    #[test]
    fn no_more_values_are_read_than_a_body_has_room_for() {
        #[track_caller]
        fn check(value: &str, length: usize, is_read: bool) {
            let values = vec![value; length / (value.len() + 1)].join(",");
            let read = from_slice::<Value>(format!("[{values}]").as_bytes());
            match (read, is_read) {
                (Ok(_), true) => {}
                (Err(error), false) => {
                    let says = "is not read: it has more values";
                    assert!(error.to_string().starts_with(says), "{error}")
                }
                (read, _) => panic!("{value}: {}", read.is_ok()),
            }
        }
        // What stands there may be anything, as long as it is not much.
        for value in [r#"{"":0}"#, "[0]", "0", r#""a""#] {
            check(value, 8_000, true);
            check(value, 500_000, false);
        }
        let image = format!(
            r#"{{"repository":"library/test","tag":"latest","digest":"sha256:{}"}}"#,
            "a".repeat(64)
        );
        let event = format!(
            r#"{{"id":"320678d8-ca14-430f-8bb6-4ca139cd83f7","action":"push","target":{image}}}"#
        );
        check(&event, 500_000, true);
    }
}
