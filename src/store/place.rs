//! The state directory: made ready, or refused in words that say what to do.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::Path;

use crate::text::io_error_message;

/// Where locks are.
pub(super) const LOCKS: &str = "locks";
/// Where what lasts about single stacks is.
pub(super) const STACKS: &str = "stacks";

/// Makes the directory and those in it.
pub(super) fn prepare(dir: &Path) -> Result<(), String> {
    make(dir).map_err(|error| explain("cannot make", dir, dir, &error))?;
    for name in [LOCKS, STACKS] {
        let path = dir.join(name);
        make(&path).map_err(|error| explain("cannot make", &path, dir, &error))?;
        give_to_owner(&path, dir);
    }
    Ok(())
}

fn make(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(path)
    {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(io::Error::from(ErrorKind::NotADirectory))
        }
        made => made,
    }
}

/// What root makes in the directory of a service belongs to that service. Nobody else can give anything away, nor needs to.
pub(super) fn give_to_owner(path: &Path, dir: &Path) {
    if let Ok(owner) = fs::metadata(dir) {
        let _ = chown(path, Some(owner.uid()), Some(owner.gid()));
    }
}

/// Makes a directory's own entries last.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What failed, and where it is a matter of rights, how to set that right.
pub(super) fn explain(what: &str, path: &Path, dir: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        ErrorKind::StorageFull => "no space is left on the device".to_owned(),
        ErrorKind::NotADirectory => "it is no directory".to_owned(),
        _ => io_error_message(error),
    };
    let mut text = format!("{what} {:?} for \"state_dir\": {why}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied => text.push_str(&whose(path, dir)),
        ErrorKind::ReadOnlyFilesystem => {
            text.push_str("; mount a writable volume there, or name another directory");
        }
        _ => {}
    }
    text
}

/// What a person can do about it: by who owns what is in the way, the path itself or the nearest thing above it that is there.
fn whose(path: &Path, dir: &Path) -> String {
    // The one way to learn it without unsafe code.
    let Ok(own) = fs::metadata("/proc/self") else {
        return String::new();
    };
    let mut closed = false;
    let there = path.ancestors().find_map(|at| match fs::metadata(at) {
        Ok(owner) => Some((at, owner)),
        Err(error) => {
            closed = error.kind() == ErrorKind::PermissionDenied;
            None
        }
    });
    let Some((at, owner)) = there else {
        return String::new();
    };
    let (uid, gid) = (own.uid(), own.gid());
    let (name, dir_name, mode) = (at.display(), dir.display(), owner.mode() & 0o777);
    match (at.starts_with(dir), owner.uid() == uid) {
        (true, true) => format!(
            "; {name:?} belongs to uid {uid}, which stackhook runs as, but its mode is {mode:03o}: run \"chmod -R u+rwX {dir_name}\""
        ),
        (true, false) => format!(
            "; {name:?} belongs to uid {}, stackhook runs as uid {uid}: run \"chown -R {uid}:{gid} {dir_name}\"",
            owner.uid()
        ),
        (false, _) if closed => format!(
            "; uid {uid}, which stackhook runs as, may not look into {name:?} (uid {}, mode {mode:03o}): name another directory, or let it in",
            owner.uid()
        ),
        (false, _) => format!(
            "; {dir_name:?} does not exist, and uid {uid}, which stackhook runs as, may not make it in {name:?} (uid {}, mode {mode:03o}): run \"install -d -o {uid} -g {gid} {dir_name}\"",
            owner.uid()
        ),
    }
}
