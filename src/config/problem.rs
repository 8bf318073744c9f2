//! What is wrong with the configuration, where it stands, and which word was probably meant. No text of a value is ever
//! part of a problem: a value that stands in the wrong place may be a secret.

use std::fmt;
use std::sync::Arc;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The file as a whole, by the name that people know it under.
    File(Arc<str>),
    /// A line of the file, counted from 1.
    Line(Arc<str>, usize),
    /// A variable of the environment.
    Variable(String),
    /// A file of systemd's credentials directory.
    Credential(&'static str),
    /// Nowhere: it is missing, or it is the default.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(file) => f.write_str(file),
            Place::Line(file, line) => write!(f, "{file}:{line}"),
            Place::Variable(name) => f.write_str(name),
            Place::Credential(name) => write!(f, "credential {name}"),
            Place::Nowhere => f.write_str("default"),
        }
    }
}

/// Whether a problem may merely be the echo of a syntax error elsewhere in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// What stands there is wrong by itself.
    Wrong,
    /// Something is missing, or not known: a syntax error may have hidden it, or moved it to another section.
    Lost,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// What else may be behind it.
    pub(super) nature: Nature,
    /// Where.
    pub(super) place: Place,
    /// The key, such as `portainer.url`; empty for what has none.
    pub(super) key: String,
    /// What, why and what to do; without any value.
    pub(super) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(_) | Place::Line(..) => write!(f, "{}: ", self.place)?,
            Place::Variable(_) | Place::Credential(_) => {
                return write!(f, "{}: {}", self.place, self.text);
            }
            Place::Nowhere => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong, in the order of the file, then variables, then what is missing; never empty.
#[derive(Debug)]
pub(crate) struct Problems {
    problems: Vec<Problem>,
    /// How many there are besides: nobody reads more.
    more: usize,
    /// What is merely odd; often the cause of a problem.
    pub(crate) warnings: Vec<String>,
}

impl Problems {
    const MOST: usize = 100;

    /// Sorts; says the same thing once.
    pub(super) fn new(mut problems: Vec<Problem>, warnings: Vec<String>) -> Problems {
        problems.sort_by(|one, other| one.place.cmp(&other.place));
        problems.dedup();
        let more = problems.len().saturating_sub(Problems::MOST);
        problems.truncate(Problems::MOST);
        Problems {
            problems,
            more,
            warnings,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more problems", self.more)?;
        }
        Ok(())
    }
}

/// `; did you mean "url"?`, or nothing.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"))
}

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    let most = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|known| (distance(&word, &plain(known)), known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Signs to add, drop, change, or swap with their neighbour, to turn one text into the other; at most about 64 are looked at.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(64).collect();
    let other: Vec<char> = other.chars().take(64).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    for (i, sign) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, another) in other.iter().enumerate() {
            let changed = at(&last, j) + usize::from(sign != another);
            let mut least = changed.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && other.get(j - 1) == Some(sign) && one.get(i - 1) == Some(another);
            if swapped {
                least = least.min(at(&before_last, j - 1) + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    at(&last, other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, known: &[&str], meant: Option<&str>) {
        assert_eq!(nearest(word, known.iter().copied()), meant, "{word}");
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["url", "user", "api_key", "api_key_file", "timeout"];
        check("urll", &keys, Some("url"));
        check("ulr", &keys, Some("url"));
        check("API-KEY", &keys, Some("api_key"));
        check("apikey", &keys, Some("api_key"));
        check("api_key_flie", &keys, Some("api_key_file"));
        check("time-out", &keys, Some("timeout"));
        check("uri", &keys, Some("url"));
        check("proxy", &keys, None);
        check("", &keys, None);
        check("x", &[], None);
    }
}
