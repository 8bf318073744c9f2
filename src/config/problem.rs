//! What is wrong with the configuration, and where. No text of a value is ever part of a problem: it may be a secret in the wrong
//! place.

use std::fmt;

/// Where a value was written. The order is that of reports: file, variables, credentials, then what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A byte position in the file.
    File(usize),
    /// A variable of the environment.
    Variable(String),
    /// A file of systemd's credentials directory.
    Credential(&'static str),
    /// Not written at all.
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
    pub(super) fn describe(&self, source: &Source) -> String {
        match source {
            Source::File(position) => format!("{}:{}", self.name, self.number(*position)),
            Source::Variable(name) => name.clone(),
            Source::Credential(name) => format!("credential {name}"),
            Source::Default => "default".to_owned(),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    pub(super) source: Source,
    text: String,
}

impl Problem {
    /// `key` is the path of the key, such as `portainer.url`, or empty; `text` holds no value.
    pub(super) fn new(source: Source, lines: &FileLines, key: &str, text: &str) -> Problem {
        let place = match &source {
            Source::File(_) => format!("{}: ", lines.describe(&source)),
            // The variable's name says more than the key's.
            Source::Variable(_) | Source::Credential(_) => {
                let text = format!("{}: {text}", lines.describe(&source));
                return Problem { source, text };
            }
            Source::Default => String::new(),
        };
        let text = match key {
            "" => format!("{place}{text}"),
            _ => format!("{place}{key}: {text}"),
        };
        Problem { source, text }
    }

    /// A problem with the file as a whole.
    pub(super) fn with_file(lines: &FileLines, text: &str) -> Problem {
        Problem {
            source: Source::File(0),
            text: format!("{}: {text}", lines.name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Everything that is wrong, in the order of the file, then variables, then what is missing; never empty.
#[derive(Debug)]
pub(crate) struct Problems {
    problems: Vec<Problem>,
    /// The number of further problems, which are not shown.
    omitted: usize,
    /// Often the cause of a problem.
    pub(crate) warnings: Vec<String>,
}

impl Problems {
    /// More than one screen of problems helps nobody.
    const MAX_SHOWN: usize = 100;

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
