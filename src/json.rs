//! JSON from clients. Its nesting and its number of values are bounded, which bounds the stack and the memory that parsing takes.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::limits;

/// The depth of a body's JSON; the deepest of a known sender, Bitbucket's, has ten levels.
const NESTING: usize = 32;

/// Reason why a body is not read. It repeats nothing of the content.
#[derive(Debug)]
pub(crate) enum NotRead {
    /// Not JSON; the position of the error, or the format that it has instead.
    NotJson(String),
    /// Refused although it may be JSON; the reason.
    Refused(String),
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotRead::NotJson(why) => write!(f, "is not JSON: {why}"),
            NotRead::Refused(why) => write!(f, "is not read: {why}"),
        }
    }
}

/// Parses a whole body.
///
/// Errors: the reason why it is not read.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotRead> {
    let shape = JsonSize::of(bytes);
    if shape.depth > NESTING {
        let most = NESTING;
        let why = format!("it is nested deeper than {most} levels");
        return Err(NotRead::Refused(why));
    }
    let (least, times) = limits::TREE;
    if shape.weight > bytes.len().saturating_mul(times).max(least) {
        let why = "it has more values than any known sender puts into a body of this size";
        return Err(NotRead::Refused(why.to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| match (error.classify(), other_format(bytes)) {
        (Category::Data, _) => NotRead::Refused(error.to_string()),
        (_, Some(format)) => NotRead::NotJson(format.to_owned()),
        (_, None) => NotRead::NotJson(error.to_string()),
    })
}

/// The format of a body that is not JSON, if its first bytes show it.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    const UTF_16: &str = "it is UTF-16; send UTF-8 without a byte order mark";
    let known = match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some("it begins with a byte order mark; send it without"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(UTF_16),
        // Half of each ASCII character.
        [0, 1..=255, ..] | [1..=255, 0, ..] => Some(UTF_16),
        [0x1f, 0x8b, ..] => Some("it is compressed with gzip; send it uncompressed"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("it is compressed with zstd; send it uncompressed"),
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => {
            Some("it is compressed with deflate; send it uncompressed")
        }
        [b'P', b'K', 3, 4, ..] => Some("it is a zip archive; the sender must send JSON"),
        [b'-', b'-', ..] if contains(bytes, b"Content-Disposition") => {
            Some("it is multipart/form-data; the sender must send application/json")
        }
        [b'<', ..] => Some("it is XML or HTML; the sender must send application/json"),
        _ => None,
    };
    if known.is_some() {
        return known;
    }
    let name = bytes.split(|byte| *byte == b'=').next()?;
    let of_form = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+%[]".contains(byte);
    let is_form = name.len() < bytes.len() && name.first().is_some_and(u8::is_ascii_alphabetic);
    (is_form && name.iter().all(of_form))
        .then_some("it is a form; the sender must send application/json")
}

/// Returns whether the header of a multipart body is near the beginning, compared without case.
fn contains(bytes: &[u8], header: &[u8]) -> bool {
    let mut start = bytes.windows(header.len()).take(512);
    start.any(|window| window.eq_ignore_ascii_case(header))
}

/// The size of a text, known before it is parsed. Exact as far as it is JSON; the parser stops there.
#[derive(Debug, Default)]
struct JsonSize {
    /// Levels of lists and maps within each other.
    depth: usize,
    /// Memory that its values will take (bytes), roughly.
    weight: usize,
}

/// Memory of a map (bytes), even of one with a single entry: room for eleven keys and values.
const MAP: usize = 700;
/// Memory of a list (bytes): room for four values.
const LIST: usize = 180;
/// Memory of every further value (bytes), in a list that grows or as a short text.
const VALUE: usize = 64;

impl JsonSize {
    fn of(bytes: &[u8]) -> JsonSize {
        let mut shape = JsonSize {
            weight: bytes.len(),
            ..JsonSize::default()
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
        assert_eq!(JsonSize::of(text.as_bytes()).depth, depth, "{text}");
    }

    #[test]
    fn counts_levels_outside_of_texts() {
        check("{}", 1);
        check(r#"{"a": [1, {"b": []}]}"#, 4);
        check(r#"[[1], [2], [[3]]]"#, 3);
        check(r#"["]]", "[[[", "\"[[", [["\\\\"]]]"#, 3);
    }

    #[test]
    fn reads_the_deepest_allowed_nesting_and_no_deeper() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let read = |depth| from_slice::<Value>(nested(depth).as_bytes());
        assert!(read(NESTING).is_ok());
        let error = read(NESTING + 1).unwrap_err().to_string();
        assert_eq!(error, "is not read: it is nested deeper than 32 levels");
    }

    #[test]
    fn refuses_more_values_than_a_body_of_its_size_may_have() {
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
        // A small body may hold anything.
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
