//! The journal: one append-only file of entries. The ledger interprets entries, the scheduler decides when one is written.
//!
//! The first line names the format and its version, every further line is a JSON object,
//! `{"sum":"1f0c…","entry":{"accepted":{…}}}`; the sum is the beginning of the SHA-256 of the entry's text. An entry of a kind that
//! this version does not know is kept and skipped, so that an older stackhook starts on the journal of a newer one. An unterminated
//! last line is a torn write; it was never acknowledged and is truncated. Any other unreadable line is damage: the rest is used, and
//! the file is kept under another name. A file that has grown is replaced by one with the current state.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::delivery::ledger::Entry;
use crate::limits;
use crate::store::lock::{LockError, LockGuard, LockKey, LockManager};
use crate::store::{directory, record};
use crate::text::io_error_message;

/// The journal is rewritten when it is this many times longer than after it was last rewritten.
const JOURNAL_GROWTH: u64 = 4;

/// The journal of a server, which holds the lock of the state directory while this exists.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    file: File,
    /// Length of the file up to the last complete entry (bytes).
    length: u64,
    /// Length of the file after it was last rewritten (bytes).
    rewritten: u64,
    /// Lines of kinds that this version does not know.
    unknown_entries: Vec<String>,
    /// The file lacks an entry that was applied, or is damaged: it must be rewritten before anything is appended.
    behind: bool,
    _server_lock: LockGuard,
}

/// Failure to open the journal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CannotOpen {
    /// The operator must fix something; the message says what.
    Setup(String),
    /// Another server has the directory.
    Taken(String),
}

/// An entry could not be written; the reason is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteError;

/// Durability of an entry when [`Journal::append`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// The entry is on disk.
    Now,
    /// The entry reaches the disk with the next one that is synced; a crash may lose it.
    Later,
}

const NAME: &str = "journal";

impl Journal {
    /// Locks the directory for this server and returns the entries of earlier ones, in order. Waits up to `patience` for another
    /// server that may be about to end. `unix` becomes part of the name of a damaged file that is set aside.
    ///
    /// Errors: another server has the directory, or it cannot be used; the message is for the operator.
    pub(crate) fn open(
        dir: &Path,
        unix: u64,
        patience: Duration,
    ) -> Result<(Journal, Vec<Entry>), CannotOpen> {
        let server_lock = lock_directory(dir, patience)?;
        let warnings = directory::restrict(dir);
        let path = dir.join(NAME);
        let cannot = |what: &str, error: &io::Error| {
            CannotOpen::Setup(directory::explain(what, &path, dir, error))
        };
        let bytes =
            directory::read_regular(&path).map_err(|error| cannot("cannot read", &error))?;
        let bytes = bytes.unwrap_or_default();
        let content = record::read(&bytes);
        // The first line is only ever written by a rewrite, which syncs it.
        let behind = content.damaged > 0 || !content.begun;
        if behind && !bytes.is_empty() {
            let aside = set_aside(dir, unix).map_err(|error| cannot("cannot set aside", &error))?;
            log::error!(
                "{:?} is damaged or is not a journal of stackhook: {} of its lines cannot be read, {} are used; \
                 the file is kept as {:?}; check the disk, and the stacks in Portainer",
                path.display(),
                content.damaged,
                content.entries.len() + content.unknown_entries.len(),
                aside.display()
            );
        }
        if !content.unknown_entries.is_empty() {
            log::warn!(
                "{} entries of the journal were written by another version of stackhook; they are kept and ignored",
                content.unknown_entries.len()
            );
        }
        let file = open_for_append(&path, dir).map_err(|error| cannot("cannot write", &error))?;
        if content.whole < bytes.len() && !behind {
            file.set_len(as_u64(content.whole))
                .map_err(|error| cannot("cannot write", &error))?;
            log::info!("the last entry of the journal was cut off by a crash and is not used");
        }
        // Logged last: if the directory cannot be used, the error is all that the operator needs.
        for warning in warnings {
            log::warn!("{warning}");
        }
        let journal = Journal {
            dir: dir.to_owned(),
            file,
            length: as_u64(content.whole),
            rewritten: 0,
            unknown_entries: content.unknown_entries,
            behind,
            _server_lock: server_lock,
        };
        Ok((journal, content.entries))
    }

    /// Reads the entries of a journal without locking it, so beside a running server; empty if there is none. The last entry may be
    /// missing while it is being written.
    ///
    /// Errors: the file cannot be read; the message is for the operator.
    pub(crate) fn read(dir: &Path) -> Result<Vec<Entry>, String> {
        let path = dir.join(NAME);
        let bytes = directory::read_regular(&path)
            .map_err(|error| directory::explain("cannot read", &path, dir, &error))?;
        Ok(bytes.map_or_else(Vec::new, |bytes| record::read(&bytes).entries))
    }

    /// Appends an entry. `state` returns entries for the state so far, needed where the file must be rewritten first.
    ///
    /// Errors: nothing was appended.
    pub(crate) fn append(
        &mut self,
        entry: &Entry,
        sync: Sync,
        state: impl FnOnce() -> Vec<Entry>,
    ) -> Result<(), WriteError> {
        let line = record::line(entry).map_err(|error| log_failure(&error))?;
        let has_grown =
            self.length > limits::JOURNAL_MIN && self.length / JOURNAL_GROWTH > self.rewritten;
        if self.behind || has_grown {
            self.rewrite(&state())?;
        }
        let written = self.file.write_all(&line).and_then(|()| match sync {
            Sync::Now => directory::sync_file(&self.file),
            Sync::Later => Ok(()),
        });
        let Err(error) = written else {
            self.length += as_u64(line.len());
            return Ok(());
        };
        // Half a line before others would be damage, and after a failed sync the content on disk is unknown.
        self.behind = true;
        let _ = self.file.set_len(self.length);
        Err(log_failure(&io_error_message(&error)))
    }

    /// Makes the next append fail.
    #[cfg(test)]
    pub(crate) fn make_read_only(&mut self) {
        if let Ok(file) = File::open(self.dir.join(NAME)) {
            self.file = file;
        }
    }

    /// Returns true if [`Journal::rewrite`] must succeed before the next entry can be appended.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Replaces the file by one with these entries and those of unknown kinds.
    ///
    /// Errors: the file still has its old content.
    pub(crate) fn rewrite(&mut self, state: &[Entry]) -> Result<(), WriteError> {
        let mut bytes = format!("{}\n", record::HEADER).into_bytes();
        for line in &self.unknown_entries {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        for entry in state {
            bytes.extend(record::line(entry).map_err(|error| log_failure(&error))?);
        }
        match directory::replace(&self.dir.join(NAME), &bytes, &self.dir) {
            Ok(file) => {
                self.file = file;
                self.length = as_u64(bytes.len());
                self.rewritten = self.length;
                self.behind = false;
                Ok(())
            }
            Err(error) => {
                self.behind = true;
                Err(log_failure(&io_error_message(&error)))
            }
        }
    }
}

fn lock_directory(dir: &Path, patience: Duration) -> Result<LockGuard, CannotOpen> {
    let locks = LockManager::new(Some(dir), "serve").map_err(CannotOpen::Setup)?;
    let waits_for = |holder: &str| {
        if !patience.is_zero() {
            log::info!("waiting for {holder} to leave {:?}", dir.display());
        }
    };
    locks
        .acquire(LockKey::Server, patience, &waits_for)
        .map_err(|error| match error {
            LockError::Held(holder) => CannotOpen::Taken(format!(
                "{holder} uses {:?} already; every server needs a \"state_dir\" of its own",
                dir.display()
            )),
            LockError::Later => CannotOpen::Taken("this process uses it already".to_owned()),
            LockError::Unusable(message) => CannotOpen::Setup(message),
        })
}

fn open_for_append(path: &Path, dir: &Path) -> io::Result<File> {
    match directory::open_regular(path, OpenOptions::new().append(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            directory::create_private(path, dir)
        }
        opened => opened,
    }
}

/// Parses the bytes of a complete or torn journal.
#[cfg(test)]
pub(crate) fn entries(bytes: &[u8]) -> Vec<Entry> {
    record::read(bytes).entries
}

/// Keeps a damaged file under a second name. The first name stays until a rewrite replaces it, so that nothing is lost in between.
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
            // Some file systems have no hard links.
            Err(_) => return fs::copy(&from, &aside).map(|_| aside),
        }
    }
    Err(last)
}

fn log_failure(error: &dyn std::fmt::Display) -> WriteError {
    log::error!("cannot write the journal: {error}");
    WriteError
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
