//! File locks: one server per state directory, one redeploy per stack, one change per environment. The server and the commands
//! beside it share them; without a state directory they are local to the process.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::directory;

/// The part of a lock file that is read for the name of its holder (bytes).
const LOCK_NAME: u64 = 200;

/// The pause between two attempts to get a lock that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The subject of a lock, by Portainer's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LockKey {
    /// The state directory: locked by its server while it runs.
    Server,
    /// A stack: locked from the moment it is found until its redeploy has ended.
    Stack(i64),
    /// An environment: images and tags belong to the host, so two redeploys there could remove each other's.
    Environment(i64),
}

/// Hands out locks; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct LockManager(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: Option<PathBuf>,
    /// Name of this process, shown to those that wait for it.
    holder: String,
    held: Mutex<Vec<LockKey>>,
    released: Condvar,
}

/// A lock, released when it is dropped.
#[must_use]
pub(crate) struct LockGuard {
    held: Option<Held>,
    after_release: Option<Box<dyn FnOnce() + Send + Sync>>,
}

struct Held {
    manager: LockManager,
    key: LockKey,
    file: Option<File>,
}

/// Failure to get a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LockError {
    /// The time is over and this holder still has it.
    Held(String),
    /// Another redeploy of this process has it; the caller starts again after that one.
    Later,
    /// The lock file cannot be used; the message says how to fix it.
    Unusable(String),
}

impl LockManager {
    /// Prepares the directory. `command` is shown to others that wait: `serve`, `redeploy`.
    ///
    /// Errors: the directory cannot be used; the message says how to fix it.
    pub(crate) fn new(state_dir: Option<&Path>, command: &str) -> Result<LockManager, String> {
        if let Some(dir) = state_dir {
            directory::prepare(dir)?;
        }
        Ok(LockManager(Arc::new(Shared {
            dir: state_dir.map(Path::to_owned),
            holder: format!("stackhook {command} (process {})", std::process::id()),
            held: Mutex::default(),
            released: Condvar::new(),
        })))
    }

    /// Waits for a lock for at most `within`; `waits_for` gets the name of each holder that is waited for.
    ///
    /// Errors: the time is over, or the lock file cannot be used.
    pub(crate) fn acquire(
        &self,
        key: LockKey,
        within: Duration,
        waits_for: &dyn Fn(&str),
    ) -> Result<LockGuard, LockError> {
        let until = Instant::now() + within;
        self.acquire_in_process(key, until, waits_for)?;
        // From here on the guard releases the key, also when the file cannot be locked.
        let mut held = Held {
            manager: self.clone(),
            key,
            file: None,
        };
        if let Some(dir) = &self.0.dir {
            held.file = Some(self.lock_file(dir, key, until, waits_for)?);
        }
        Ok(LockGuard {
            held: Some(held),
            after_release: None,
        })
    }

    fn acquire_in_process(
        &self,
        key: LockKey,
        until: Instant,
        waits_for: &dyn Fn(&str),
    ) -> Result<(), LockError> {
        let mut held = self.held();
        let mut has_reported = false;
        while held.contains(&key) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LockError::Held(self.0.holder.clone()));
            }
            if !has_reported {
                drop(held);
                waits_for("another redeploy of this stackhook");
                has_reported = true;
                held = self.held();
                continue;
            }
            let waited = self.0.released.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        held.push(key);
        Ok(())
    }

    fn lock_file(
        &self,
        dir: &Path,
        key: LockKey,
        until: Instant,
        waits_for: &dyn Fn(&str),
    ) -> Result<File, LockError> {
        let path = match key {
            LockKey::Server => dir.join("lock"),
            LockKey::Stack(id) => dir.join(directory::LOCKS).join(format!("stack-{id}")),
            LockKey::Environment(id) => {
                dir.join(directory::LOCKS).join(format!("environment-{id}"))
            }
        };
        let unusable = |error: &io::Error| {
            LockError::Unusable(directory::explain("cannot lock", &path, dir, error))
        };
        let mut file = open(&path, dir).map_err(|error| unusable(&error))?;
        let mut reported = None;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(unusable(&error)),
            }
            let holder = read_holder(&mut file);
            if reported.as_ref() != Some(&holder) {
                waits_for(&holder);
                reported = Some(holder.clone());
            }
            if Instant::now() >= until {
                return Err(LockError::Held(holder));
            }
            thread::sleep(LOCK_PAUSE);
        }
        // Only for messages to others, so a failure does not matter.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", self.0.holder));
        Ok(file)
    }

    fn held(&self) -> MutexGuard<'_, Vec<LockKey>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LockGuard {
    /// A guard without a lock, where nothing else could want one.
    pub(crate) fn unlocked() -> LockGuard {
        LockGuard {
            held: None,
            after_release: None,
        }
    }

    /// Calls `call` after the lock has been released.
    pub(crate) fn and_then(mut self, call: impl FnOnce() + Send + Sync + 'static) -> LockGuard {
        self.after_release = Some(Box::new(call));
        self
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.held = None;
        if let Some(call) = self.after_release.take() {
            call();
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "LockGuard({:?})",
            self.held.as_ref().map(|held| held.key)
        )
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The file first: a thread that is woken would find it locked.
        self.file = None;
        self.manager.held().retain(|key| *key != self.key);
        self.manager.0.released.notify_all();
    }
}

/// Opens a lock file, creating it where it is missing.
fn open(path: &Path, dir: &Path) -> io::Result<File> {
    let existing = || match directory::open_regular(path, OpenOptions::new().read(true).write(true))
    {
        // A lock that another user owns can be held without writing the holder's name into it.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            directory::open_regular(path, OpenOptions::new().read(true))
        }
        opened => opened,
    };
    match existing() {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    match directory::create_private(path, dir) {
        // Another process may have created it in between.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => existing(),
    }
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.rewind();
    let _ = file.take(LOCK_NAME).read_to_string(&mut text);
    match text.trim() {
        "" => "another stackhook".to_owned(),
        holder => holder.to_owned(),
    }
}
