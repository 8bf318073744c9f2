//! Redacts foreign text. Everything that Portainer, compose and containers wrote passes through here before it reaches a reply, the
//! log or the page, because replies end up in public CI logs. Our own texts contain no secrets.

mod needle;
mod patterns;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::limits;
use crate::secret::to_base64;
use needle::Needle;

/// Passes over a text for secrets that appear once others are redacted.
const REDACT_ROUNDS: usize = 16;

/// A value of a variable this long may be a secret whatever its name (characters).
const LONG_VALUE: usize = 16;

/// A shorter value of a variable is not redacted even if its name suggests a secret (bytes): `on`, `1` and `yes` would
/// redact every other word.
const SECRET_VALUE_MIN: usize = 4;

/// The replacement for a secret.
const STARS: &str = "***";
/// A variable with one of these in its name is regarded as a secret (case is ignored).
const SECRET_NAMES: [&str; 8] = [
    "PASS", "SECRET", "TOKEN", "KEY", "PWD", "CRED", "AUTH", "DSN",
];
/// Values that are not secrets whatever the variable's name; redacting them would remove ordinary words.
const PLAIN_VALUES: [&str; 9] = [
    "true", "false", "none", "null", "auto", "basic", "bearer", "enabled", "disabled",
];

/// Replaces secrets in text.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    needles: Vec<Needle>,
}

impl Redactor {
    /// Redacts the secrets of the configuration, whatever their length.
    pub(crate) fn new(secrets: impl IntoIterator<Item = String>) -> Redactor {
        let mut redactor = Redactor::default();
        for secret in secrets {
            redactor.add(&secret);
        }
        redactor
    }

    /// Also redacts variables of a stack, given as (name, value): those whose name suggests a secret, and long ones, which may be
    /// secrets whatever their name.
    ///
    /// `plain` are the words that must stay readable: image references in use, names of services, stacks and environments. A value
    /// that is one of them, or part of one, is not redacted.
    pub(crate) fn with_env<'e>(
        mut self,
        env: impl IntoIterator<Item = (&'e str, &'e str)>,
        plain: &[&str],
    ) -> Redactor {
        for (name, value) in env {
            let name = name.to_ascii_uppercase();
            let has_secret_name = SECRET_NAMES.iter().any(|part| name.contains(part))
                && value.len() >= SECRET_VALUE_MIN
                && !PLAIN_VALUES.contains(&value.to_ascii_lowercase().as_str());
            let is_long = value.chars().count() >= LONG_VALUE;
            let stays = |text: &str| plain.iter().any(|word| word.contains(text));
            if (has_secret_name || is_long) && !stays(value) {
                self.add(value);
                // A key of several lines may be shown line by line.
                let lines = value
                    .lines()
                    .filter(|line| line.chars().count() >= LONG_VALUE);
                lines
                    .filter(|line| *line != value && !stays(line))
                    .for_each(|line| self.add(line));
            }
        }
        self
    }

    /// The text without secrets, on one line, cut at 2 KiB. Idempotent.
    pub(crate) fn show(&self, text: &str) -> String {
        self.until_stable(text, |text| {
            cut_end(escape_line(text).into_owned(), limits::FOREIGN_TEXT)
        })
    }

    /// The last 4 KiB of a container's log without secrets. Its lines stay lines.
    pub(crate) fn show_log(&self, text: &str) -> String {
        self.until_stable(text, |text| {
            cut_start(escape_lines(text).into_owned(), limits::LOG_KEPT)
        })
    }

    fn add(&mut self, secret: &str) {
        // The replacement would contain such a secret again.
        if !STARS.contains(secret) {
            self.needles.push(Needle::new(secret));
            for encoded in base64_forms(secret) {
                self.needles.push(Needle::new(&encoded));
            }
        }
    }

    /// Repeats until nothing changes: the text left after redacting or escaping may contain a secret again.
    fn until_stable(&self, text: &str, finish: impl Fn(&str) -> String) -> String {
        let mut text = text.to_owned();
        for _ in 0..REDACT_ROUNDS {
            let shown = finish(&self.replace_secrets(&text));
            if shown == text {
                return shown;
            }
            text = shown;
        }
        STARS.to_owned()
    }

    /// Replaces every secret. Those that overlap or touch get one common replacement.
    fn replace_secrets(&self, text: &str) -> String {
        let mut spans = patterns::find(text);
        for needle in &self.needles {
            needle.find(text, &mut spans);
        }
        spans.sort_unstable();
        let mut shown = String::with_capacity(text.len());
        let mut done = 0;
        for (start, end) in spans {
            if start > done || shown.is_empty() {
                shown.push_str(text.get(done..start).unwrap_or_default());
                shown.push_str(STARS);
            }
            done = done.max(end);
        }
        shown.push_str(text.get(done..).unwrap_or_default());
        shown
    }
}

/// The characters that a secret contributes to any base64 text that contains it: alone, or behind one or two other bytes, as the
/// password in Basic authentication. Short forms would hide ordinary words.
fn base64_forms(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        // Whole groups of three bytes become four characters; the others depend on the neighbours.
        let start = (before * 8).div_ceil(6);
        let end = bytes.len() * 8 / 6;
        let text = to_base64(&bytes);
        let Some(core) = text.get(start..end).filter(|core| core.len() >= BASE64_MIN) else {
            continue;
        };
        let url_safe = core.replace('+', "-").replace('/', "_");
        if url_safe != core {
            forms.push(url_safe);
        }
        forms.push(core.to_owned());
    }
    forms
}

/// Base64 text of a secret that is shorter than this is not searched for (characters).
const BASE64_MIN: usize = 8;

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(…)")
    }
}

/// The one sanitizer for terminals, log, pages and JSON: true for a character that can end a line, move a cursor or change the
/// direction of text (the bidi controls of UAX #9).
pub(crate) fn is_misleading(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text for one line: misleading characters are visible, such as `\u{1b}`.
pub(crate) fn escape_line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Text of several lines, such as a page: line feeds stay.
pub(crate) fn escape_lines(text: &str) -> Cow<'_, str> {
    escape(text, |character| character == '\n')
}

/// JSON text in which misleading characters are escaped as JSON does, so that it stays JSON. serde_json leaves those from U+007F on as
/// they are; they can occur in strings only.
pub(crate) fn escape_json(json: String) -> String {
    if !json.contains(is_misleading) {
        return json;
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_misleading(character) {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(character));
        } else {
            safe.push(character);
        }
    }
    safe
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|character| is_misleading(character) && !keep(character)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_misleading(character) && !keep(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

fn cut_end(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let room = limit.saturating_sub('…'.len_utf8());
    let end = (0..=room)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

fn cut_start(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let room = limit.saturating_sub('…'.len_utf8());
    let start = (text.len().saturating_sub(room)..text.len()).find(|at| text.is_char_boundary(*at));
    format!(
        "…{}",
        start
            .and_then(|start| text.get(start..))
            .unwrap_or_default()
    )
}

#[cfg(test)]
mod tests;
