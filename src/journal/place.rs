//! The state directory: made ready, or refused in words that say what to do.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::Path;

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
        _ => error.to_string(),
    };
    let mut text = format!("{what} {:?} for \"state_dir\": {why}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied => text.push_str(&whose(dir)),
        ErrorKind::ReadOnlyFilesystem => {
            text.push_str("; mount a writable volume there, or name another directory");
        }
        _ => {}
    }
    text
}

fn whose(dir: &Path) -> String {
    let owner = dir
        .ancestors()
        .find_map(|dir| Some((dir, fs::metadata(dir).ok()?)));
    // The one way to learn it without unsafe code.
    let own = fs::metadata("/proc/self");
    match (owner, own) {
        (Some((_, owner)), Ok(own)) if owner.uid() == own.uid() => format!(
            "; it belongs to uid {}, which stackhook runs as, but its mode is {:03o}: run \"chmod -R u+rwX {}\"",
            owner.uid(),
            owner.mode() & 0o777,
            dir.display()
        ),
        (Some((at, owner)), Ok(own)) => format!(
            "; {:?} belongs to uid {}, stackhook runs as uid {}: run \"chown -R {}:{} {}\"",
            at.display(),
            owner.uid(),
            own.uid(),
            own.uid(),
            own.gid(),
            dir.display()
        ),
        _ => String::new(),
    }
}
