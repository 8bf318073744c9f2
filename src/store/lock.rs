//! Whose turn it is: one server for a state directory, one redeploy for a stack, and one for an environment while it changes
//! something there. Lock files are shared by `serve` and the commands beside it, whoever runs them; without a state directory a turn
//! is known within the process only.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits;
use crate::store::{CannotOpen, place};

/// What one redeploy at a time may have, by Portainer's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Thing {
    /// From the moment it is found until its redeploy has ended.
    Stack(i64),
    /// Its images and tags belong to the host, so two stacks there could take away each other's.
    Environment(i64),
}

/// Gives out turns.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: Option<PathBuf>,
    who: String,
    taken: Mutex<Vec<Thing>>,
    freed: Condvar,
}

/// A turn, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn {
    /// Given back when it is dropped.
    _taken: Option<Taken>,
    /// Afterwards.
    _then: Option<Then>,
}

struct Then(Option<Box<dyn FnOnce() + Send + Sync>>);

#[derive(Debug)]
struct Taken {
    shared: Arc<Shared>,
    thing: Thing,
    file: Option<File>,
}

/// Why there is no turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// Somebody else still has it; who, as far as it is known.
    Held(String),
    /// Another redeploy of this process has it; whoever asked begins again when that one is done.
    Later,
    /// The lock cannot be used: in words for who can set that right.
    Unusable(String),
}

impl Turns {
    /// `who` is told to others that wait: `serve`, `redeploy`.
    ///
    /// # Errors
    /// The directory cannot be used: in words for who can set that right.
    pub(crate) fn new(state_dir: Option<&Path>, who: &str) -> Result<Turns, String> {
        if let Some(dir) = state_dir {
            place::prepare(dir)?;
        }
        Ok(Turns(Arc::new(Shared {
            dir: state_dir.map(Path::to_owned),
            who: format!("stackhook {who} (process {})", std::process::id()),
            taken: Mutex::default(),
            freed: Condvar::new(),
        })))
    }

    /// Waits for a turn at most so long, and says whom it waits for.
    ///
    /// # Errors
    /// Time was over, or the lock cannot be used.
    pub(crate) fn take(
        &self,
        thing: Thing,
        within: Duration,
        waits_for: &dyn Fn(&str),
    ) -> Result<Turn, NoTurn> {
        let until = Instant::now() + within;
        let mut taken = self.taken();
        let mut said = false;
        while taken.contains(&thing) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoTurn::Held(self.0.who.clone()));
            }
            if !said {
                drop(taken);
                waits_for("another redeploy of this stackhook");
                said = true;
                taken = self.taken();
                continue;
            }
            let waited = self.0.freed.wait_timeout(taken, left);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        taken.push(thing);
        drop(taken);
        // From here on the turn is given back whatever happens.
        let mut turn = Taken {
            shared: Arc::clone(&self.0),
            thing,
            file: None,
        };
        if let Some(dir) = &self.0.dir {
            turn.file = Some(self.lock(dir, thing, until, waits_for)?);
        }
        Ok(Turn {
            _taken: Some(turn),
            _then: None,
        })
    }

    fn lock(
        &self,
        dir: &Path,
        thing: Thing,
        until: Instant,
        waits_for: &dyn Fn(&str),
    ) -> Result<File, NoTurn> {
        let path = dir.join(place::LOCKS).join(match thing {
            Thing::Stack(id) => format!("stack-{id}"),
            Thing::Environment(id) => format!("environment-{id}"),
        });
        let unusable =
            |error: &io::Error| NoTurn::Unusable(place::explain("cannot lock", &path, dir, error));
        let mut file = open(&path, dir).map_err(|error| unusable(&error))?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(unusable(&error)),
            }
            let holder = holder(&mut file);
            waits_for(&holder);
            if Instant::now() >= until {
                return Err(NoTurn::Held(holder));
            }
            thread::sleep(limits::LOCK_PAUSE);
        }
        sign(&path, &self.0.who);
        Ok(file)
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Thing>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// One that nobody else could want.
    pub(crate) fn free() -> Turn {
        Turn {
            _taken: None,
            _then: None,
        }
    }

    /// Calls this when the turn has been given back.
    pub(crate) fn and_then(self, call: impl FnOnce() + Send + Sync + 'static) -> Turn {
        let then = Then(Some(Box::new(call)));
        Turn {
            _then: Some(then),
            ..self
        }
    }
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then")
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // The file first: who is woken would find it locked.
        self.file = None;
        let taken = self.shared.taken.lock();
        taken
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|thing| *thing != self.thing);
        self.shared.freed.notify_all();
    }
}

/// The lock of the one server of a directory.
pub(super) fn only_server(dir: &Path, patience: Duration) -> Result<File, CannotOpen> {
    let path = dir.join("lock");
    let cannot =
        |error: &io::Error| CannotOpen::Setup(place::explain("cannot lock", &path, dir, error));
    let mut file = open(&path, dir).map_err(|error| cannot(&error))?;
    let until = Instant::now() + patience;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(cannot(&error)),
        }
        let who = holder(&mut file);
        if Instant::now() >= until {
            return Err(CannotOpen::Taken(format!(
                "{who} uses {:?} already; every server needs a \"state_dir\" of its own",
                dir.display()
            )));
        }
        if !said {
            log::info!("waiting for {who} to leave {:?}", dir.display());
            said = true;
        }
        thread::sleep(limits::LOCK_PAUSE);
    }
    sign(
        &path,
        &format!("stackhook serve (process {})", std::process::id()),
    );
    Ok(file)
}

/// Opened for reading only: whoever may read a lock can hold it, also one that another user has made.
fn open(path: &Path, dir: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path);
    match made {
        Ok(file) => {
            // The mask may have taken more away than is good.
            file.set_permissions(Permissions::from_mode(0o644))?;
            place::give_to_owner(path, dir);
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    File::open(path)
}

/// Leaves a name for those who wait. Where that is not allowed, they do not learn it.
fn sign(path: &Path, who: &str) {
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(path) {
        let _ = writeln!(file, "{who}");
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.rewind();
    let _ = file.take(limits::LOCK_NAME).read_to_string(&mut text);
    match text.trim() {
        "" => "another stackhook".to_owned(),
        who => who.to_owned(),
    }
}
