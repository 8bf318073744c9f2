//! Data about single stacks, shared by the server and the commands beside it; one small file each in `stacks/`:
//!
//! * `<number>.json`: record of a stack by Portainer's number; its content belongs to the redeploy.
//! * `@<key>.id`: Portainer's number of a configured stack, remembered so that it is known while Portainer is not reachable.
//! * `@<key>.paused`: a pause by staff: since when and, optionally, until when (Unix seconds). A file of its own, so that a stack can
//!   be paused while a redeploy of it runs. Version 0.1 wrote `<number>.paused`, which is still read.
//! * `told.json`: the last notification state sent for each stack.
//!
//! Two keys may be configured for one stack. They share its record and its pauses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::stack::{Stack, StackKey};
use crate::store::directory;

/// The store of all stacks; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct StackStore {
    files: Arc<Files>,
    /// For each configured key the other keys that are configured for the same stack.
    aliases: Arc<BTreeMap<StackKey, Vec<StackKey>>>,
}

/// Named files: in the state directory, or in memory.
#[derive(Debug)]
enum Files {
    Disk(PathBuf),
    Memory(Mutex<BTreeMap<String, Vec<u8>>>),
}

/// A pause by staff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    /// Start (Unix seconds); 0 if it cannot be read.
    pub(crate) since: u64,
    /// End (Unix seconds); `None`: until staff resume the stack.
    pub(crate) until: Option<u64>,
}

const NOTIFIED: &str = "told.json";

impl StackStore {
    /// Prepares the directory. Without one, the data lasts as long as the process.
    ///
    /// Errors: the directory cannot be used; the message says how to fix it.
    pub(crate) fn new(state_dir: Option<&Path>) -> Result<StackStore, String> {
        if let Some(dir) = state_dir {
            directory::prepare(dir)?;
        }
        Ok(StackStore::read_only(state_dir))
    }

    /// Opens the store for reading: nothing is created, and missing files mean that nothing is known.
    pub(crate) fn read_only(state_dir: Option<&Path>) -> StackStore {
        let files = match state_dir {
            Some(dir) => Files::Disk(dir.to_owned()),
            None => Files::Memory(Mutex::default()),
        };
        StackStore {
            files: Arc::new(files),
            aliases: Arc::default(),
        }
    }

    /// Lets keys that are configured for the same name in the same environment share their pauses before Portainer was ever reached.
    pub(crate) fn with_stacks(self, stacks: &[Stack]) -> StackStore {
        let same = |one: &Stack, other: &Stack| {
            let environments = (&one.environment, &other.environment);
            let may_be_equal = match environments {
                (Some(one), Some(other)) => one == other,
                _ => true,
            };
            one.key != other.key && one.name == other.name && may_be_equal
        };
        let aliases = stacks.iter().map(|one| {
            let others = stacks.iter().filter(|other| same(one, other));
            (
                one.key.clone(),
                others.map(|other| other.key.clone()).collect(),
            )
        });
        StackStore {
            aliases: Arc::new(aliases.collect()),
            ..self
        }
    }

    /// Returns true if the data survives the process.
    pub(crate) fn is_persistent(&self) -> bool {
        matches!(*self.files, Files::Disk(_))
    }

    /// Returns the record of a stack. An unreadable record is logged, set aside if it is damaged, and counts as none.
    pub(crate) fn record(&self, id: i64) -> Option<Value> {
        let name = format!("{id}.json");
        let bytes = match self.files.read(&name) {
            Ok(bytes) => bytes?,
            Err(message) => {
                log::error!("{message}");
                return None;
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                let aside = format!("{name}.damaged");
                log::error!(
                    "\"stacks/{name}\" in \"state_dir\" is damaged ({error}) and is kept as {aside:?}; \
                     the history of this stack is lost, so it cannot be rolled back until its next update"
                );
                self.files.set_aside(&name, &aside);
                None
            }
        }
    }

    /// Replaces the record of a stack; on disk when it returns. Only the holder of the stack's lock may call it.
    ///
    /// Errors: a message for the operator; the old record still exists.
    pub(crate) fn set_record(&self, id: i64, value: &Value) -> Result<(), String> {
        self.files
            .write(&format!("{id}.json"), &format!("{value}\n"))
    }

    /// Returns Portainer's number of a stack as last seen.
    pub(crate) fn id_of(&self, key: &StackKey) -> Option<i64> {
        let bytes = self.files.read(&format!("@{key}.id")).ok()??;
        std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
    }

    /// Remembers Portainer's number of a stack. If the stack was created again under a new number, its blocked images are kept.
    pub(crate) fn set_id(&self, key: &StackKey, id: i64) {
        let old = self.id_of(key);
        if old == Some(id) {
            return;
        }
        if let Some(old) = old
            && self.record(id).is_none()
            && let Some(blocked) = self
                .record(old)
                .and_then(|record| record.get("held").cloned())
        {
            let record = Map::from_iter([("held".to_owned(), blocked)]);
            if let Err(message) = self.set_record(id, &Value::Object(record)) {
                log::error!(stack = key.as_str(); "cannot keep the blocked images: {message}");
            }
        }
        if let Err(message) = self.files.write(&format!("@{key}.id"), &format!("{id}\n")) {
            log::error!(
                stack = key.as_str();
                "cannot remember which stack in Portainer this is, so its pauses are not known while Portainer is not reachable: {message}"
            );
        }
    }

    /// Returns the pause of a stack at this time (Unix seconds). An unreadable pause counts as one without an end.
    pub(crate) fn pause_of(&self, key: &StackKey, unix: u64) -> Option<Pause> {
        let pauses = self.pause_files(key).into_iter().filter_map(|name| {
            let pause = match self.files.read(&name) {
                Ok(bytes) => Pause::parse(&bytes?),
                Err(message) => {
                    log::error!(
                        stack = key.as_str();
                        "cannot read whether the stack is paused, so it counts as paused: {message}"
                    );
                    Pause {
                        since: 0,
                        until: None,
                    }
                }
            };
            pause
                .until
                .is_none_or(|until| unix < until)
                .then_some(pause)
        });
        // The longest; one without an end is longer than any other.
        pauses.max_by_key(|pause| (pause.until.unwrap_or(u64::MAX), u64::MAX - pause.since))
    }

    /// Pauses a stack from now on (Unix seconds): redeploys that leave the queue are skipped. An existing pause keeps its start.
    ///
    /// Errors: a message for the operator; nothing changed.
    pub(crate) fn pause(
        &self,
        key: &StackKey,
        unix: u64,
        until: Option<u64>,
    ) -> Result<Pause, String> {
        // A start in the future was written while the clock ran ahead.
        let known = self.pause_of(key, unix);
        let since = known.map_or(unix, |pause| pause.since.min(unix));
        let own = format!("@{key}.paused");
        let text = match until {
            Some(until) => format!("{since} {until}\n"),
            None => format!("{since}\n"),
        };
        self.files.write(&own, &text)?;
        // Pauses of other keys for the same stack might have a later end.
        for other in self.pause_files(key).iter().filter(|name| **name != own) {
            self.files.remove(other)?;
        }
        Ok(Pause { since, until })
    }

    /// Resumes updates of a stack. Deliveries that were skipped during the pause are not replayed.
    ///
    /// Errors: a message for the operator: a file cannot be removed, or a pause of version 0.1 cannot be attributed yet.
    pub(crate) fn resume(&self, key: &StackKey) -> Result<(), String> {
        for name in self.pause_files(key) {
            self.files.remove(&name)?;
        }
        match self.id_of(key) {
            None if self.has_unattributed_pause() => Err(format!(
                "it is not known yet which of the paused stacks in Portainer {:?} is; try again when Portainer was reached once",
                key.as_str()
            )),
            _ => Ok(()),
        }
    }

    /// Returns the last notification state sent for each stack (`true` = failing). An unreadable file counts as an empty one.
    pub(crate) fn notified_states(&self) -> Map<String, Value> {
        let bytes = self.files.read(NOTIFIED).ok().flatten();
        let states = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        states.unwrap_or_default()
    }

    /// Saves the notification state of a stack. Only the notification thread may call it.
    ///
    /// Errors: a message for the operator; the old state still exists.
    pub(crate) fn set_notified(&self, stack: &str, failing: bool) -> Result<(), String> {
        let mut states = self.notified_states();
        states.insert(stack.to_owned(), failing.into());
        self.files
            .write(NOTIFIED, &format!("{}\n", Value::Object(states)))
    }

    /// Every file that may hold a pause of this stack: its own, those of other keys for the same stack, and that of version 0.1.
    fn pause_files(&self, key: &StackKey) -> BTreeSet<String> {
        let mut keys = BTreeSet::from([key.as_str().to_owned()]);
        let aliases = self.aliases.get(key).into_iter().flatten();
        let aliases = aliases.map(|alias| alias.as_str().to_owned());
        let id = self.id_of(key);
        let ids = self.files.names().into_iter().filter_map(|name| {
            let key = name.strip_prefix('@')?.strip_suffix(".id")?;
            let other = self.id_of(&StackKey::parse(key)?);
            (other.is_some() && other == id).then(|| key.to_owned())
        });
        keys.extend(aliases.chain(ids));
        let files = keys.iter().map(|key| format!("@{key}.paused"));
        files.chain(id.map(|id| format!("{id}.paused"))).collect()
    }

    /// Returns true if version 0.1 paused a stack whose key is not known.
    fn has_unattributed_pause(&self) -> bool {
        let names = self.files.names();
        let known: Vec<i64> = names
            .iter()
            .filter_map(|name| StackKey::parse(name.strip_prefix('@')?.strip_suffix(".id")?))
            .filter_map(|key| self.id_of(&key))
            .collect();
        let paused = |name: &String| name.strip_suffix(".paused")?.parse::<i64>().ok();
        let mut paused = names.iter().filter_map(paused);
        paused.any(|id| !known.contains(&id))
    }
}

impl Pause {
    fn parse(bytes: &[u8]) -> Pause {
        let text = String::from_utf8_lossy(bytes);
        let mut numbers = text.split_whitespace();
        let since = numbers.next().and_then(|number| number.parse().ok());
        match (since, numbers.next()) {
            (Some(since), None) => Pause { since, until: None },
            // An unreadable end is none, so that the pause does not end too early.
            (Some(since), Some(until)) => Pause {
                since,
                until: until.parse().ok(),
            },
            (None, _) => Pause {
                since: 0,
                until: None,
            },
        }
    }
}

impl Files {
    fn path(dir: &Path, name: &str) -> PathBuf {
        dir.join(directory::STACKS).join(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match self {
            Files::Memory(files) => Ok(lock(files).get(name).cloned()),
            Files::Disk(dir) => {
                let path = Files::path(dir, name);
                directory::read_regular(&path)
                    .map_err(|error| directory::explain("cannot read", &path, dir, &error))
            }
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        match self {
            Files::Memory(files) => {
                lock(files).insert(name.to_owned(), text.into());
                Ok(())
            }
            Files::Disk(dir) => {
                let path = Files::path(dir, name);
                directory::replace(&path, text.as_bytes(), dir)
                    .map(drop)
                    .map_err(|error| directory::explain("cannot write", &path, dir, &error))
            }
        }
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        match self {
            Files::Memory(files) => {
                lock(files).remove(name);
                Ok(())
            }
            Files::Disk(dir) => {
                let path = Files::path(dir, name);
                let removed = match fs::remove_file(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    removed => removed.and_then(|()| directory::sync(&dir.join(directory::STACKS))),
                };
                removed.map_err(|error| directory::explain("cannot remove", &path, dir, &error))
            }
        }
    }

    fn set_aside(&self, name: &str, aside: &str) {
        if let Files::Disk(dir) = self {
            let _: io::Result<()> = fs::rename(Files::path(dir, name), Files::path(dir, aside));
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Files::Memory(files) => lock(files).keys().cloned().collect(),
            Files::Disk(dir) => {
                let entries = fs::read_dir(dir.join(directory::STACKS))
                    .into_iter()
                    .flatten();
                let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                names.collect()
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
