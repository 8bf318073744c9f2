//! The arguments that have not been understood yet, taken one by one. The home of pico-args, which takes the first of repeated
//! options, takes an option for a value and keeps silent about what is left: here all of that is refused by name.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::cli::Usage;
use crate::suggest::did_you_mean;

/// What was typed and has not been understood yet.
pub(super) struct Typed {
    left: pico_args::Arguments,
    /// The options that were asked for, to suggest one for an unknown one.
    known: Vec<&'static str>,
}

impl Typed {
    pub(super) fn new(arguments: Vec<OsString>) -> Typed {
        Typed {
            left: pico_args::Arguments::from_vec(arguments),
            known: vec!["--help", "--version"],
        }
    }

    /// The word that stands first.
    pub(super) fn command(&mut self) -> Result<String, Usage> {
        let word = self.left.subcommand();
        let word = word.map_err(|_| Usage::new("the command is not UTF-8"))?;
        word.ok_or_else(|| match self.left.clone().finish().first() {
            None => Usage::new("a command is missing; stackhook --help lists them"),
            Some(first) => Usage(format!(
                "unknown option {:?} in front of the command; only --config FILE may stand there",
                name(first)
            )),
        })
    }

    /// The command without taking it.
    pub(super) fn peek_command(&self) -> Option<String> {
        self.left.clone().subcommand().ok().flatten()
    }

    pub(super) fn flag(&mut self, option: &'static str) -> Result<bool, Usage> {
        self.known.push(option);
        match (self.left.contains(option), self.left.contains(option)) {
            (_, true) => Err(twice(option)),
            (given, false) => Ok(given),
        }
    }

    /// An option with a value, which may be given once.
    pub(super) fn value(
        &mut self,
        option: &'static str,
        what: &str,
    ) -> Result<Option<String>, Usage> {
        let value = self.next_value(option, what)?;
        match self.next_value(option, what)? {
            Some(_) => Err(twice(option)),
            None => Ok(value),
        }
    }

    /// The first that is left of an option with a value.
    pub(super) fn next_value(
        &mut self,
        option: &'static str,
        what: &str,
    ) -> Result<Option<String>, Usage> {
        self.known.push(option);
        let missing = || Usage(format!("{option} needs a value: {option} {what}"));
        let value = self.left.opt_value_from_str::<_, String>(option);
        let value = value.map_err(|_| missing())?;
        match value {
            Some(value) if value.is_empty() || value.starts_with('-') => Err(missing()),
            value => Ok(value),
        }
    }

    /// Like [`Typed::value`], for a path, which need not be UTF-8 where a blank precedes it.
    pub(super) fn path(&mut self, option: &'static str) -> Result<Option<PathBuf>, Usage> {
        let missing = || Usage(format!("{option} needs a value: {option} FILE"));
        let whole = |value: &OsStr| match value.as_encoded_bytes().first() {
            None | Some(b'-') => Err("no value"),
            Some(_) => Ok(PathBuf::from(value)),
        };
        let after_blank = self.left.opt_value_from_os_str(option, whole);
        let after_blank = after_blank.map_err(|_| missing())?;
        match (after_blank, self.value(option, "FILE")?) {
            (Some(_), Some(_)) => Err(twice(option)),
            (Some(path), None) => Ok(Some(path)),
            (None, other) => Ok(other.map(PathBuf::from)),
        }
    }

    /// The arguments that are no options; refuses options that nobody asked for.
    pub(super) fn rest(self) -> Result<Vec<String>, Usage> {
        let mut words = Vec::new();
        for argument in self.left.finish() {
            let word = argument.to_string_lossy();
            if argument.to_str().is_none() {
                return Err(Usage(format!("argument {word:?} is not UTF-8")));
            }
            if word.is_empty() {
                return Err(Usage::new("an argument is empty"));
            }
            if word.starts_with('-') {
                let name = name(&argument);
                return Err(Usage(match self.known.contains(&name.as_str()) {
                    true => format!("{name} takes no value"),
                    false => format!("unknown option {name:?}{}", did_you_mean(&name, self.known)),
                }));
            }
            words.push(word.into_owned());
        }
        Ok(words)
    }
}

/// An argument without the value behind `=`.
fn name(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    text.split('=').next().unwrap_or_default().to_owned()
}

fn twice(option: &str) -> Usage {
    Usage(format!("{option} is given twice"))
}
