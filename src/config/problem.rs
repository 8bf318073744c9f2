//! Problems of the configuration and their positions. No problem contains text of a value: it may be a secret in the wrong place.

use std::fmt;

/// The place where a value was written. The order is that of reports: file, variables, credentials, then missing values.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ValueSource {
    /// A byte position in the file.
    File(usize),
    /// A variable of the environment.
    Variable(String),
    /// A file of systemd's credentials directory.
    Credential(&'static str),
    /// Written nowhere.
    #[default]
    Default,
}

/// The name of the file, and where its lines begin.
#[derive(Debug, Default)]
pub(super) struct FileLines {
    /// As the user knows it.
    pub(super) name: String,
    starts: Vec<usize>,
}

impl FileLines {
    pub(super) fn new(name: String, text: &str) -> FileLines {
        let after_breaks = text.match_indices('\n').map(|(index, _)| index + 1);
        let starts = std::iter::once(0).chain(after_breaks).collect();
        FileLines { name, starts }
    }

    /// The line of a byte position, counted from 1.
    pub(super) fn number(&self, position: usize) -> usize {
        self.starts.partition_point(|start| *start <= position)
    }

    /// `stackhook.toml:3`, `PORTAINER_URL`, `credential portainer-api-key` or `default`.
    pub(super) fn describe(&self, source: &ValueSource) -> String {
        match source {
            ValueSource::File(position) => format!("{}:{}", self.name, self.number(*position)),
            ValueSource::Variable(name) => name.clone(),
            ValueSource::Credential(name) => format!("credential {name}"),
            ValueSource::Default => "default".to_owned(),
        }
    }
}

/// A problem of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) source: ValueSource,
    text: String,
}

impl Problem {
    /// `key` is the path of the key, such as `portainer.url`, or empty; `text` holds no value.
    pub(super) fn new(
        source: ValueSource,
        lines: &FileLines,
        key: &str,
        text: impl AsRef<str>,
    ) -> Problem {
        let place = lines.describe(&source);
        let parts = match &source {
            ValueSource::File(_) => [place.as_str(), key, text.as_ref()],
            // The variable's name says more than the key's.
            ValueSource::Variable(_) | ValueSource::Credential(_) => [&place, "", text.as_ref()],
            ValueSource::Default => ["", key, text.as_ref()],
        };
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Problem {
            source,
            text: parts.join(": "),
        }
    }

    /// A problem with the file as a whole.
    pub(super) fn with_file(lines: &FileLines, text: &str) -> Problem {
        Problem {
            source: ValueSource::File(0),
            text: format!("{}: {text}", lines.name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All problems, in the order of the file, then variables, then missing values; never empty.
#[derive(Debug)]
pub(crate) struct Problems {
    problems: Vec<Problem>,
    /// The number of problems that are not shown.
    omitted: usize,
    /// Often the cause of a problem.
    pub(crate) warnings: Vec<String>,
}

impl Problems {
    /// More than a few screens of problems do not help.
    pub(super) const MAX_SHOWN: usize = 100;

    /// Sorts by source and removes duplicates.
    pub(super) fn new(mut problems: Vec<Problem>, warnings: Vec<String>) -> Problems {
        problems.sort_by(|a, b| a.source.cmp(&b.source));
        problems.dedup_by(|a, b| a.text == b.text);
        let omitted = problems.len().saturating_sub(Problems::MAX_SHOWN);
        problems.truncate(Problems::MAX_SHOWN);
        Problems {
            problems,
            omitted,
            warnings,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more problems", self.omitted)?;
        }
        Ok(())
    }
}
