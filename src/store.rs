//! What survives a crash: one append-only file of entries. What an entry means belongs to the ledger, when one is made to the
//! scheduler.
//!
//! `journal` in the state directory: the first line names the format and its version, every further one is a JSON object,
//! `{"sum":"1f0c…","entry":{"accepted":{…}}}`; the sum is the beginning of the SHA-256 of the entry's text. An entry of a name that
//! this version does not know is kept and skipped, so that an older stackhook starts on what a newer one left. A line without an
//! end is a write that a crash cut off: nobody was told of it, and it is cut off. Anything else that cannot be read is damage: the
//! rest is used, and the file is kept under another name. A file that has grown is rewritten under a new name and renamed.

mod place;
mod record;
pub(crate) mod lock;
pub(crate) mod stacks;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::delivery::ledger::Entry;
use crate::limits;
use crate::text::io_error_message;

/// The journal of a server; nobody else has the directory while it exists.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    file: File,
    /// Up to here the file is whole (bytes).
    length: u64,
    /// Its length after it was last rewritten.
    rewritten: u64,
    /// Lines of kinds that this version does not know.
    strangers: Vec<String>,
    /// The file does not say what happened: only rewriting it helps.
    behind: bool,
    /// Up to here a power cut leaves it; what comes after, perhaps not.
    #[cfg(test)]
    on_disk: u64,
    _only_server: File,
}

/// Why there is no journal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CannotOpen {
    /// Something must be set right by a person.
    Setup(String),
    /// Another server has the directory.
    Taken(String),
}

/// An entry could not be made to last; why is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotWritten;

/// Whether an entry must be on disk before anything else happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// On disk when the call returns.
    Now,
    /// With the next one that must be: a crash in between may forget it.
    Later,
}

const NAME: &str = "journal";
const NEW: &str = "journal.new";

impl Journal {
    /// Takes the directory for this server, and returns what earlier ones left, in order. Another server there is waited for so
    /// long: it may be about to end. `unix` is for the name of a file that is set aside.
    ///
    /// # Errors
    /// In words for whoever starts the server.
    pub(crate) fn open(
        dir: &Path,
        unix: u64,
        patience: Duration,
    ) -> Result<(Journal, Vec<Entry>), CannotOpen> {
        place::prepare(dir).map_err(CannotOpen::Setup)?;
        let only_server = lock::only_server(dir, patience)?;
        let path = dir.join(NAME);
        let cannot = |what: &str, error: &io::Error| {
            CannotOpen::Setup(place::explain(what, &path, dir, error))
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(cannot("cannot read", &error)),
        };
        let read = record::read(&bytes);
        // Nothing but a rewrite makes a first line, so that a file with one line has it on disk.
        let behind = read.damaged > 0 || !read.begun;
        if behind && !bytes.is_empty() {
            let aside = set_aside(dir, unix).map_err(|error| cannot("cannot set aside", &error))?;
            log::error!(
                "{:?} is damaged, or not a journal of stackhook: {} of its lines cannot be read; {} others are used, and the file is \
                 kept as {:?}; look at what happened to the disk, and at the stacks in Portainer",
                path.display(),
                read.damaged,
                read.entries.len() + read.strangers.len(),
                aside.display()
            );
        }
        if !read.strangers.is_empty() {
            log::warn!(
                "{} entries of the journal were made by another version of stackhook; they are kept and mean nothing here",
                read.strangers.len()
            );
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| cannot("cannot write", &error))?;
        if read.whole < bytes.len() && !behind {
            file.set_len(bytes_u64(read.whole))
                .map_err(|error| cannot("cannot write", &error))?;
            log::info!("the last entry of the journal was cut off by a crash and is not used");
        }
        let journal = Journal {
            dir: dir.to_owned(),
            file,
            length: bytes_u64(read.whole),
            rewritten: 0,
            strangers: read.strangers,
            behind,
            #[cfg(test)]
            on_disk: 0,
            _only_server: only_server,
        };
        Ok((journal, read.entries))
    }

    /// Makes an entry last. `state` says all that the entries so far amount to: needed where the file cannot just be added to.
    ///
    /// # Errors
    /// Nothing was added.
    pub(crate) fn append(
        &mut self,
        entry: &Entry,
        sync: Sync,
        state: impl FnOnce() -> Vec<Entry>,
    ) -> Result<(), NotWritten> {
        let line = record::line(entry).map_err(|error| told(&error))?;
        let grown = self.length > limits::JOURNAL_MIN
            && self.length / limits::JOURNAL_GROWTH > self.rewritten;
        if self.behind || grown {
            self.rewrite(&state())?;
        }
        let written = self.file.write_all(&line).and_then(|()| match sync {
            Sync::Now => self.file.sync_data(),
            Sync::Later => Ok(()),
        });
        let Err(error) = written else {
            self.length += bytes_u64(line.len());
            #[cfg(test)]
            if sync == Sync::Now {
                self.on_disk = self.length;
            }
            return Ok(());
        };
        // Half a line in front of others would be damage. And what a failed sync left on disk, nobody knows.
        self.behind = true;
        let _ = self.file.set_len(self.length);
        Err(told(&io_error_message(&error)))
    }

    /// What a power cut would leave, if it came now.
    #[cfg(test)]
    pub(crate) fn after_a_power_cut(&self) -> Vec<Entry> {
        let bytes = fs::read(self.dir.join(NAME)).unwrap_or_default();
        let on_disk = usize::try_from(self.on_disk).unwrap_or_default();
        entries(bytes.get(..on_disk).unwrap_or_default())
    }

    /// Whether [`Journal::rewrite`] is needed before anything else.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Replaces the file by one that says only this, and what is not understood here.
    ///
    /// # Errors
    /// The file is as it was.
    pub(crate) fn rewrite(&mut self, state: &[Entry]) -> Result<(), NotWritten> {
        let new = self.dir.join(NEW);
        let made = self.write_new(&new, state).and_then(|(file, length)| {
            fs::rename(&new, self.dir.join(NAME))?;
            // From here on the new file counts, also if the directory's own entry is not on disk yet: then the old one is read.
            (self.file, self.length, self.rewritten) = (file, length, length);
            File::open(&self.dir)?.sync_all()
        });
        match made {
            Ok(()) => {
                self.behind = false;
                #[cfg(test)]
                {
                    self.on_disk = self.length;
                }
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&new);
                self.behind = true;
                Err(told(&io_error_message(&error)))
            }
        }
    }

    fn write_new(&self, new: &Path, state: &[Entry]) -> io::Result<(File, u64)> {
        let mut bytes = format!("{}\n", record::HEADER).into_bytes();
        for stranger in &self.strangers {
            bytes.extend_from_slice(stranger.as_bytes());
            bytes.push(b'\n');
        }
        for entry in state {
            bytes.extend(record::line(entry)?);
        }
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        Ok((file, bytes_u64(bytes.len())))
    }
}

/// What a whole or torn journal says; for tests that have only its bytes.
#[cfg(test)]
pub(crate) fn entries(bytes: &[u8]) -> Vec<Entry> {
    record::read(bytes).entries
}

/// Both names stand for the file until the first one is given to a new file, so that nothing is lost in between.
fn set_aside(dir: &Path, unix: u64) -> io::Result<PathBuf> {
    let from = dir.join(NAME);
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for number in 0..100 {
        let aside = dir.join(match number {
            0 => format!("{NAME}.damaged-{unix}"),
            _ => format!("{NAME}.damaged-{unix}-{number}"),
        });
        match fs::hard_link(&from, &aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            // Not every file system can give a file two names.
            Err(_) => return fs::copy(&from, &aside).map(|_| aside),
        }
    }
    Err(last)
}

fn told(error: &dyn std::fmt::Display) -> NotWritten {
    log::error!("the journal cannot be written: {error}");
    NotWritten
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
