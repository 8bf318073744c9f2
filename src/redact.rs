//! Foreign text made fit to be shown: what Portainer, compose and containers wrote goes through here before it reaches
//! a reply, the log or the page, because replies end up in public CI logs. Our own texts hold no secrets to begin with.

mod needle;
mod patterns;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::limits;
use crate::secret::to_base64;
use needle::Needle;

/// What stands where something was taken out.
const STARS: &str = "***";
/// A variable with one of these in its name is taken for a secret, in any case.
const TELLING: [&str; 8] = [
    "PASS", "SECRET", "TOKEN", "KEY", "PWD", "CRED", "AUTH", "DSN",
];
/// Values of variables that only look secret by their name; taking them out would blot ordinary words.
const HARMLESS: [&str; 9] = [
    "true", "false", "none", "null", "auto", "basic", "bearer", "enabled", "disabled",
];

/// Takes secrets out of text.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    needles: Vec<Needle>,
}

impl Redactor {
    /// With secrets that are known from the configuration. They are taken out whatever their length.
    pub(crate) fn new(secrets: impl IntoIterator<Item = String>) -> Redactor {
        let mut redactor = Redactor::default();
        for secret in secrets {
            redactor.add(&secret);
        }
        redactor
    }

    /// Also with the variables of a stack, as (name, value): those whose name looks secret, and long ones, which may
    /// be secrets whatever they are called.
    ///
    /// `plain` are the words that people must be able to read: image references in use, names of services, stacks and
    /// environments. A value that is one of them, or part of one, stays.
    pub(crate) fn with_env<'e>(
        mut self,
        env: impl IntoIterator<Item = (&'e str, &'e str)>,
        plain: &[&str],
    ) -> Redactor {
        for (name, value) in env {
            let name = name.to_ascii_uppercase();
            let telling = TELLING.iter().any(|part| name.contains(part))
                && value.len() >= limits::SECRET_VALUE_MIN
                && !HARMLESS.contains(&value.to_ascii_lowercase().as_str());
            let long = value.chars().count() >= limits::LONG_VALUE;
            let stays = |text: &str| plain.iter().any(|word| word.contains(text));
            if (telling || long) && !stays(value) {
                self.add(value);
                // A key of several lines may be shown line by line.
                let lines = value
                    .lines()
                    .filter(|line| line.chars().count() >= limits::LONG_VALUE);
                lines
                    .filter(|line| *line != value && !stays(line))
                    .for_each(|line| self.add(line));
            }
        }
        self
    }

    /// The text without secrets, on one line, cut at 2 KiB. Shown twice it is the same.
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
        // A secret that is part of the stars cannot be hidden by them.
        if !STARS.contains(secret) {
            self.needles.push(Needle::new(secret));
            for encoded in base64_forms(secret) {
                self.needles.push(Needle::new(&encoded));
            }
        }
    }

    /// What is left beside the stars, or after escaping, may be a secret again: look until nothing changes.
    fn until_stable(&self, text: &str, finish: impl Fn(&str) -> String) -> String {
        let mut text = text.to_owned();
        for _ in 0..limits::REDACT_ROUNDS {
            let shown = finish(&self.blot(&text));
            if shown == text {
                return shown;
            }
            text = shown;
        }
        STARS.to_owned()
    }

    /// Puts stars where a secret is. Where several overlap or touch, one set of stars covers them all.
    fn blot(&self, text: &str) -> String {
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

/// The one sanitizer for terminals, log, pages and JSON: whether a character can end a line, move a cursor or change the direction
/// of text (the bidi controls of UAX #9).
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
