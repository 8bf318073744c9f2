//! What lasts about single stacks, whoever redeploys them: `stacks/<Portainer's number>.json`, whose content belongs to the redeploy,
//! and beside it `<number>.paused`, a file of its own so that staff can pause a stack while a redeploy of it runs.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use crate::store::place;
use crate::text::io_error_message;

/// Where it is kept: in the state directory, or in memory.
#[derive(Debug, Clone)]
pub(crate) struct Shelf(Arc<Kept>);

#[derive(Debug)]
enum Kept {
    Disk(PathBuf),
    Memory(Mutex<Memory>),
}

#[derive(Debug, Default)]
struct Memory {
    values: HashMap<i64, Value>,
    /// Since when (Unix seconds).
    paused: HashMap<i64, u64>,
    told: Map<String, Value>,
}

impl Shelf {
    /// Without a directory it lasts as long as the process.
    ///
    /// # Errors
    /// The directory cannot be used: in words for who can set that right.
    pub(crate) fn new(state_dir: Option<&Path>) -> Result<Shelf, String> {
        let kept = match state_dir {
            Some(dir) => {
                place::prepare(dir)?;
                Kept::Disk(dir.to_owned())
            }
            None => Kept::Memory(Mutex::default()),
        };
        Ok(Shelf(Arc::new(kept)))
    }

    /// For one that only reads: nothing is made ready, and what is not there is not missed.
    pub(crate) fn only_read(state_dir: Option<&Path>) -> Shelf {
        Shelf(Arc::new(match state_dir {
            Some(dir) => Kept::Disk(dir.to_owned()),
            None => Kept::Memory(Mutex::default()),
        }))
    }

    /// Whether it outlives the process.
    pub(crate) fn lasts(&self) -> bool {
        matches!(*self.0, Kept::Disk(_))
    }

    /// What was last written about a stack. What cannot be read is set aside, said in the log, and counts as nothing.
    pub(crate) fn read(&self, id: i64) -> Option<Value> {
        let dir = match &*self.0 {
            Kept::Memory(memory) => return lock(memory).values.get(&id).cloned(),
            Kept::Disk(dir) => dir,
        };
        let path = path(dir, id, "json");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            read => read.inspect_err(|error| {
                log::error!("{}", place::explain("cannot read", &path, dir, error));
            }),
        };
        let bytes = bytes.ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                let aside = path.with_extension("json.damaged");
                log::error!(
                    "{:?} is damaged ({error}) and is kept as {:?}; what was known about earlier updates of this stack is lost",
                    path.display(),
                    aside.display()
                );
                let _ = fs::rename(&path, aside);
                None
            }
        }
    }

    /// Replaces what is known about a stack; on disk when it returns. Only who has the stack's turn may.
    ///
    /// # Errors
    /// In words; what was known before still is.
    pub(crate) fn write(&self, id: i64, value: &Value) -> Result<(), String> {
        match &*self.0 {
            Kept::Memory(memory) => {
                lock(memory).values.insert(id, value.clone());
                Ok(())
            }
            Kept::Disk(dir) => {
                replace(dir, &path(dir, id, "json"), format!("{value}\n").as_bytes())
            }
        }
    }

    /// Of which stacks, by key, people were told last that they fail (true) or are well again. What cannot be read counts as nothing.
    pub(crate) fn told(&self) -> Map<String, Value> {
        match &*self.0 {
            Kept::Memory(memory) => lock(memory).told.clone(),
            Kept::Disk(dir) => fs::read(dir.join(place::STACKS).join(TOLD))
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default(),
        }
    }

    /// People were told; only the one thread that tells them writes it.
    ///
    /// # Errors
    /// In words; what was known before still is.
    pub(crate) fn tell(&self, stack: &str, failing: bool) -> Result<(), String> {
        match &*self.0 {
            Kept::Memory(memory) => {
                lock(memory).told.insert(stack.to_owned(), failing.into());
                Ok(())
            }
            Kept::Disk(dir) => {
                let mut told = self.told();
                told.insert(stack.to_owned(), failing.into());
                let text = serde_json::to_string(&told).unwrap_or_default();
                replace(
                    dir,
                    &dir.join(place::STACKS).join(TOLD),
                    format!("{text}\n").as_bytes(),
                )
            }
        }
    }

    /// Since when (Unix seconds) staff have paused a stack. A file that nobody can read still pauses.
    pub(crate) fn paused(&self, id: i64) -> Option<u64> {
        let dir = match &*self.0 {
            Kept::Memory(memory) => return lock(memory).paused.get(&id).copied(),
            Kept::Disk(dir) => dir,
        };
        match fs::read_to_string(path(dir, id, "paused")) {
            Ok(text) => Some(text.trim().parse().unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                log::error!(
                    "cannot see whether a stack is paused, so it counts as paused: {}",
                    io_error_message(&error)
                );
                Some(0)
            }
        }
    }

    /// From now on, redeploys of the stack that leave the queue are skipped. Kept over restarts.
    ///
    /// # Errors
    /// In words; nothing changed.
    pub(crate) fn pause(&self, id: i64, unix: u64) -> Result<(), String> {
        match &*self.0 {
            Kept::Memory(memory) => {
                lock(memory).paused.entry(id).or_insert(unix);
                Ok(())
            }
            Kept::Disk(_) if self.paused(id).is_some() => Ok(()),
            Kept::Disk(dir) => replace(
                dir,
                &path(dir, id, "paused"),
                format!("{unix}\n").as_bytes(),
            ),
        }
    }

    /// The stack is updated again. Nothing is made up for.
    ///
    /// # Errors
    /// In words; nothing changed.
    pub(crate) fn unpause(&self, id: i64) -> Result<(), String> {
        match &*self.0 {
            Kept::Memory(memory) => {
                lock(memory).paused.remove(&id);
                Ok(())
            }
            Kept::Disk(dir) => {
                let path = path(dir, id, "paused");
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        Err(place::explain("cannot remove", &path, dir, &error))
                    }
                    _ => place::sync(&dir.join(place::STACKS))
                        .map_err(|error| place::explain("cannot remove", &path, dir, &error)),
                }
            }
        }
    }
}

/// What people were told.
const TOLD: &str = "told.json";

fn path(dir: &Path, id: i64, kind: &str) -> PathBuf {
    dir.join(place::STACKS).join(format!("{id}.{kind}"))
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By rename, so that a reader sees the one or the other; the file belongs to whom the directory belongs to.
fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), String> {
    // Two processes may pause a stack at the same time.
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".new-{}", std::process::id()));
    let new = PathBuf::from(new);
    let written = || -> io::Result<()> {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        place::give_to_owner(&new, dir);
        fs::rename(&new, path)?;
        place::sync(&dir.join(place::STACKS))
    };
    written().map_err(|error| {
        let _ = fs::remove_file(&new);
        place::explain("cannot write", path, dir, &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::TempDir;

    /// What must hold on disk and in memory alike.
    fn check(shelf: &Shelf) {
        assert_eq!((shelf.read(7), shelf.paused(7)), (None, None));
        shelf.write(7, &serde_json::json!({"held": ["a"]})).unwrap();
        shelf.write(7, &serde_json::json!({"held": ["b"]})).unwrap();
        assert_eq!(shelf.read(7), Some(serde_json::json!({"held": ["b"]})));
        assert_eq!(shelf.read(8), None);
        shelf.pause(7, 1000).unwrap();
        shelf.pause(7, 2000).unwrap();
        assert_eq!((shelf.paused(7), shelf.paused(8)), (Some(1000), None));
        assert!(shelf.told().is_empty());
        shelf.tell("app", true).unwrap();
        shelf.tell("db", true).unwrap();
        shelf.tell("app", false).unwrap();
        let told = Value::Object(shelf.told());
        assert_eq!(told, serde_json::json!({"app": false, "db": true}));
        shelf.unpause(7).unwrap();
        shelf.unpause(7).unwrap();
        assert_eq!(shelf.paused(7), None);
    }

    #[test]
    fn what_is_known_about_a_stack_is_read_back() {
        check(&Shelf::new(None).unwrap());
        let dir = TempDir::new();
        check(&Shelf::new(Some(dir.path())).unwrap());
    }

    #[test]
    fn a_pause_and_what_is_known_outlive_the_process() {
        let dir = TempDir::new();
        let shelf = Shelf::new(Some(dir.path())).unwrap();
        shelf.write(7, &serde_json::json!(1)).unwrap();
        shelf.pause(7, 1000).unwrap();
        let shelf = Shelf::new(Some(dir.path())).unwrap();
        assert_eq!(
            (shelf.read(7), shelf.paused(7)),
            (Some(serde_json::json!(1)), Some(1000))
        );
        let names = fs::read_dir(dir.path().join(place::STACKS)).unwrap();
        let names: std::collections::BTreeSet<_> =
            names.map(|entry| entry.unwrap().file_name()).collect();
        let expected = ["7.json", "7.paused"].map(Into::into);
        assert_eq!(names, expected.into(), "nothing else is left behind");
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_a_garbled_pause_still_pauses() {
        let dir = TempDir::new();
        let shelf = Shelf::new(Some(dir.path())).unwrap();
        fs::write(path(dir.path(), 7, "json"), "{\"held\":").unwrap();
        fs::write(path(dir.path(), 7, "paused"), "?").unwrap();
        assert_eq!((shelf.read(7), shelf.paused(7)), (None, Some(0)));
        assert!(path(dir.path(), 7, "json.damaged").exists());
    }
}
