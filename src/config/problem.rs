//! What is wrong with the configuration, and where it stands. No text of a value is ever part of a problem: a value that
//! stands in the wrong place may be a secret.

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
