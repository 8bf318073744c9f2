//! The parts of an HTTP message that do not depend on a socket: headers, replies, forms, and the preference to wait.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::limits;
use crate::redact::escape_json;

/// Header lines in order of arrival, names in lower case. All share one string: a request has many, and most are never read.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// Each name, followed by its value.
    text: String,
    /// The end of each name and of its value.
    ends: Vec<(usize, usize)>,
}

/// Names only: values carry signatures, tokens and passwords.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Headers {
    /// Adds a line at the end.
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        if let Some(name) = self.text.get_mut(start..) {
            name.make_ascii_lowercase();
        }
        let middle = self.text.len();
        self.text.push_str(value);
        self.ends.push((middle, self.text.len()));
    }

    /// The value of the first line of that name; `name` in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all lines of that name; `name` in lower case.
    pub(crate) fn all<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h str> {
        self.iter()
            .filter(move |(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// All lines as (name, value).
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let part = |from, to| self.text.get(from..to).unwrap_or_default();
        let mut start = 0;
        self.ends.iter().map(move |(middle, end)| {
            let line = (part(start, *middle), part(*middle, *end));
            start = *end;
            line
        })
    }
}

/// A reply. The HTTP server adds the framing (`Content-Length`, `Connection`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// Header lines in order.
    pub(crate) headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The body; for HEAD too, where the server omits it.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A JSON object and a line end, so that a terminal's prompt begins a new line.
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Reply {
        let mut body = escape_json(serde_json::to_string(value).unwrap_or_default()).into_bytes();
        body.push(b'\n');
        Reply {
            status,
            headers: vec![("Content-Type".into(), "application/json".into())],
            body,
        }
    }

    /// Plain text, as given.
    pub(crate) fn text(status: u16, text: &str) -> Reply {
        Reply {
            status,
            headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
            body: text.as_bytes().to_vec(),
        }
    }

    /// The same with one more header line.
    pub(crate) fn with(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Splits a query into percent-decoded pairs. Values are bytes, because they may be secrets in any encoding.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
            (name, percent_decode_str(value).collect())
        })
}

/// Parses a form (`application/x-www-form-urlencoded`), where a plus is a space. Invalid UTF-8 is replaced.
pub(crate) fn form(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body).replace('+', " ");
    pairs(&text)
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect()
}

/// The client's preferences for the reply (RFC 7240).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// The longest time that it waits for the outcome.
    pub(crate) wait: Option<Duration>,
    /// It prefers an immediate reply.
    pub(crate) respond_async: bool,
}

impl Prefer {
    /// Parses the `Prefer` lines. The first element of a name counts (RFC 7240 section 2); unknown and malformed ones are ignored.
    pub(crate) fn of(headers: &Headers) -> Prefer {
        let mut prefer = Prefer::default();
        let mut wait_seen = false;
        let lines = headers.all("prefer").map(|line| outside_quotes(line, ','));
        for element in lines.flatten() {
            let preference = outside_quotes(element, ';').next().unwrap_or_default();
            let (name, value) = match preference.split_once('=') {
                Some((name, value)) => (name.trim(), unquote(value.trim())),
                None => (preference.trim(), ""),
            };
            if name.eq_ignore_ascii_case("wait") && !wait_seen {
                wait_seen = true;
                prefer.wait = seconds(value);
            } else if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            }
        }
        prefer
    }

    /// The time to wait, at most [`limits::WAIT_MAX`], and the value of `Preference-Applied`. `None`: the client has no preference.
    pub(crate) fn wait(&self) -> Option<(Duration, String)> {
        match (self.wait, self.respond_async) {
            (Some(wait), _) => {
                let wait = wait.min(limits::WAIT_MAX);
                Some((wait, format!("wait={}", wait.as_secs())))
            }
            (None, true) => Some((Duration::ZERO, "respond-async".to_owned())),
            (None, false) => None,
        }
    }
}

/// Splits at `separator`, but not within a quoted string.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let escape = std::mem::take(&mut escaped);
        match character {
            _ if escape => false,
            '\\' if quoted => {
                escaped = true;
                false
            }
            '"' => {
                quoted = !quoted;
                false
            }
            _ => character == separator && !quoted,
        }
    })
}

/// Removes quotes, which have no meaning (RFC 7240 section 2). No known value contains an escaped character.
fn unquote(word: &str) -> &str {
    word.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(word)
}

/// Parses digits only; a number that overflows is the largest.
fn seconds(digits: &str) -> Option<Duration> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    all_digits.then(|| Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: Option<(u64, &str)>) {
        let mut headers = Headers::default();
        lines.iter().for_each(|line| headers.push("Prefer", line));
        let expected =
            expected.map(|(seconds, applied)| (Duration::from_secs(seconds), applied.to_owned()));
        assert_eq!(Prefer::of(&headers).wait(), expected, "{lines:?}");
    }

    #[test]
    fn ignores_other_preferences() {
        for lines in [
            &[][..],
            &[""],
            &[",,;"],
            &["return=minimal"],
            &["waiting=5"],
            &["foo; wait=5"],
            &["foo=\"x, wait=5\""],
            &["foo=\"a\\\", wait=5\""],
        ] {
            check(lines, None);
        }
    }

    #[test]
    fn finds_preferences_at_any_position() {
        check(&["wait=20"], Some((20, "wait=20")));
        check(&["respond-async"], Some((0, "respond-async")));
        check(&["Respond-Async; why=slow"], Some((0, "respond-async")));
        check(&["WAIT = \"7\" ; x=\"a;b\""], Some((7, "wait=7")));
        check(
            &["handling=lenient, return=minimal", "x=\"q,r\", wait=3"],
            Some((3, "wait=3")),
        );
        check(&["wait=0"], Some((0, "wait=0")));
        check(&["wait=007"], Some((7, "wait=7")));
    }

    #[test]
    fn wait_takes_precedence_over_respond_async() {
        check(&["respond-async, wait=9"], Some((9, "wait=9")));
        check(&["wait=9", "respond-async"], Some((9, "wait=9")));
    }

    #[test]
    fn the_first_of_several_counts_even_if_malformed() {
        check(&["wait=1, wait=2"], Some((1, "wait=1")));
        check(&["wait=soon", "wait=2"], None);
    }

    #[test]
    fn accepts_only_digits_as_seconds() {
        for value in ["-1", "+1", "1.5", "1s", "0x1", "", "1 2", "٣"] {
            check(&[&format!("wait={value}")], None);
        }
    }

    #[test]
    fn shortens_long_waits_and_reports_it() {
        check(&["wait=1800"], Some((1800, "wait=1800")));
        check(&["wait=1801"], Some((1800, "wait=1800")));
        check(&["wait=99999999999999999999999"], Some((1800, "wait=1800")));
    }

    #[test]
    fn finds_headers_by_lower_case_name_in_order() {
        let mut headers = Headers::default();
        headers.push("X-One", "a");
        headers.push("x-ONE", "b");
        headers.push("X-Two", "c");
        assert_eq!(headers.get("x-one"), Some("a"));
        assert_eq!(headers.all("x-one").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(headers.get("x-three"), None);
    }

    #[test]
    fn decodes_forms_and_keeps_the_plus_of_queries() {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            form(b"payload=%7B%22a%22%3A+1%7D&&x&y=%zz=1"),
            [
                own("payload", "{\"a\": 1}"),
                own("x", ""),
                own("y", "%zz=1")
            ]
        );
        assert_eq!(
            pairs("token=a+b%2Bc").collect::<Vec<_>>(),
            [("token".to_owned(), b"a+b+c".to_vec())]
        );
        assert_eq!(pairs("").count(), 0);
    }

    #[test]
    fn debug_output_omits_header_values() {
        let mut headers = Headers::default();
        headers.push("Authorization", "Bearer very-secret");
        assert_eq!(format!("{headers:?}"), "[\"authorization\"]");
    }
}
