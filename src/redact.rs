//! Foreign text made fit to be shown: what Portainer, compose and containers wrote goes through here before it reaches
//! a reply, the log or the page, because replies end up in public CI logs. Our own texts hold no secrets to begin with.

mod needle;
mod patterns;

use std::fmt;

use crate::limits;
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
            cut_end(escape(text, |_| false), limits::FOREIGN_TEXT)
        })
    }

    /// The last 4 KiB of a container's log without secrets. Its lines stay lines.
    pub(crate) fn show_log(&self, text: &str) -> String {
        self.until_stable(text, |text| {
            cut_start(escape(text, |sign| sign == '\n'), limits::LOG_KEPT)
        })
    }

    fn add(&mut self, secret: &str) {
        // A secret that is part of the stars cannot be hidden by them.
        if !STARS.contains(secret) {
            self.needles.push(Needle::new(secret));
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

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(…)")
    }
}

/// Makes signs visible that end a line, move a cursor or turn text around.
fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for sign in text.chars() {
        let turns = matches!(sign, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (sign.is_control() || turns) && !keep(sign) {
            shown.extend(sign.escape_default());
        } else {
            shown.push(sign);
        }
    }
    shown
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
