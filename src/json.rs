//! JSON as strangers send it: nested so little that reading it fits any stack.

use serde::de::{DeserializeOwned, Error};

use crate::limits;

/// Reads a whole body.
///
/// # Errors
/// Where it stops being JSON, or that it is nested too deeply; nothing of its content.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    if is_deeper_than(limits::NESTING, bytes) {
        let most = limits::NESTING;
        return Err(serde_json::Error::custom(format_args!(
            "it is nested deeper than {most} levels"
        )));
    }
    serde_json::from_slice(bytes).map_err(|error| match not_even_near(bytes) {
        Some(words) => serde_json::Error::custom(words),
        None => error,
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

/// Exact as far as it is JSON; behind that nobody reads.
fn is_deeper_than(most: usize, bytes: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'[' | b'{') if depth == most => return true,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn check(text: &str, deeper_than: usize) {
        assert!(is_deeper_than(deeper_than, text.as_bytes()), "{text}");
        assert!(!is_deeper_than(deeper_than + 1, text.as_bytes()), "{text}");
    }

    #[test]
    fn levels_are_counted_where_they_are_none_of_a_text() {
        check("{}", 0);
        check(r#"{"a": [1, {"b": []}]}"#, 3);
        check(r#"[[1], [2], [[3]]]"#, 2);
        check(r#"["]]", "[[[", "\"[[", [["\\\\"]]]"#, 2);
    }

    #[test]
    fn the_deepest_that_is_read_is_read() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let read = |depth| from_slice::<Value>(nested(depth).as_bytes());
        assert!(read(limits::NESTING).is_ok());
        let error = read(limits::NESTING + 1).unwrap_err().to_string();
        assert_eq!(error, "it is nested deeper than 32 levels");
    }
}
