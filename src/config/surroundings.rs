//! What surrounds the process: variables, directories, systemd's credentials.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::problem::Place;

/// Everything outside of the file that configures; tests bring their own.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// The variables of the environment. Values may be secrets, hence no `Debug`.
    pub(crate) variables: BTreeMap<String, OsString>,
    /// Where `stackhook.toml` is looked for, and what relative paths in variables start from.
    pub(crate) working_dir: PathBuf,
    /// The file that is read where no other is.
    pub(crate) system_file: PathBuf,
    /// Where credentials are that systemd would hand to the service, for root's own commands.
    pub(crate) credential_store: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> Surroundings {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Surroundings {
            variables: std::env::vars_os().filter_map(text).collect(),
            working_dir: PathBuf::new(),
            system_file: PathBuf::from("/etc/stackhook/stackhook.toml"),
            credential_store: PathBuf::from("/etc/credstore"),
        }
    }

    /// A variable's value; an empty one counts as not set, and so does one that is not UTF-8.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.to_str()
    }

    /// The same for a path, which need not be UTF-8.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    fn value(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// `$CREDENTIALS_DIRECTORY`.
    pub(super) fn credentials(&self) -> Option<PathBuf> {
        self.path("CREDENTIALS_DIRECTORY")
    }

    /// The first directory of `$STATE_DIRECTORY`.
    pub(super) fn state_dir(&self) -> Option<&str> {
        let first = self.text("STATE_DIRECTORY")?.split(':').next()?;
        (!first.is_empty()).then_some(first)
    }
}

/// Paths in the file start from the file's folder, paths in variables from the working directory.
pub(super) fn resolve(
    text: &str,
    place: &Place,
    folder: &Path,
    surroundings: &Surroundings,
) -> PathBuf {
    match place {
        Place::File(_) | Place::Line(..) => folder.join(text),
        Place::Variable(_) | Place::Credential(_) | Place::Nowhere => {
            surroundings.working_dir.join(text)
        }
    }
}
