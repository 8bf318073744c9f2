//! Files in the state directory: created for their owner only, opened only if they are regular files, replaced atomically; and
//! messages that say how to fix a permission problem.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::text::io_error_message;

/// Subdirectory of the lock files.
pub(super) const LOCKS: &str = "locks";
/// Subdirectory of the records, pauses and notification states of single stacks.
pub(super) const STACKS: &str = "stacks";

/// Mode of every file (owner may read and write).
const FILE_MODE: u32 = 0o600;
/// Mode of every directory (owner only).
const DIRECTORY_MODE: u32 = 0o700;
/// A temporary file older than this was left behind by a crash.
const TEMPORARY_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// Creates the state directory and its subdirectories where they are missing.
pub(super) fn prepare(dir: &Path) -> Result<(), String> {
    let create = |path: &Path| {
        fs::DirBuilder::new()
            .mode(DIRECTORY_MODE)
            .recursive(true)
            .create(path)
            .map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => io::Error::from(ErrorKind::NotADirectory),
                _ => error,
            })
    };
    create(dir).map_err(|error| explain("cannot create", dir, dir, &error))?;
    for name in [LOCKS, STACKS] {
        let path = dir.join(name);
        let created = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(_) => Err(io::Error::from(ErrorKind::NotADirectory)),
            Err(_) => create(&path).map(|()| give_to_owner(&path, dir)),
        };
        created.map_err(|error| explain("cannot create", &path, dir, &error))?;
    }
    Ok(())
}

/// Removes other users' access to files that an older version or another program created with a wider mode, gives files that root
/// created to the owner of the directory, and removes temporary files of a crash. Returns warnings about what is still open to others.
pub(super) fn restrict(dir: &Path) -> Vec<String> {
    let (locks, stacks) = (dir.join(LOCKS), dir.join(STACKS));
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name == "lock" || name.starts_with("journal"))
    };
    let top = entries(dir).filter(is_ours);
    let inner = entries(&locks).chain(entries(&stacks));
    let mut open_to_others: Vec<PathBuf> = [locks.clone(), stacks.clone()]
        .into_iter()
        .chain(top)
        .chain(inner)
        .filter(|path| !restrict_one(path, dir))
        .collect();
    let mut warnings = Vec::new();
    if let Some(path) = open_to_others.pop() {
        warnings.push(format!(
            "{:?} and {} other files of \"state_dir\" are open to other users, and their mode cannot be changed; \
             to fix it, run as their owner: chmod -R go= {}",
            path.display(),
            open_to_others.len(),
            dir.display()
        ));
    }
    if let Ok(metadata) = fs::metadata(dir)
        && metadata.mode() & 0o027 != 0
    {
        warnings.push(format!(
            "\"state_dir\" {:?} is open to other users (mode {:03o}); to fix it, run: chmod 700 {}",
            dir.display(),
            metadata.mode() & 0o777,
            dir.display()
        ));
    }
    warnings
}

/// Restricts one file or directory. Returns false if it stays open to other users.
fn restrict_one(path: &Path, dir: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return true;
    };
    let mode = match (metadata.is_dir(), metadata.is_file()) {
        (true, _) => DIRECTORY_MODE,
        (_, true) => FILE_MODE,
        // A symbolic link or a device is not ours, and is never opened.
        (false, false) => return true,
    };
    let is_old = || {
        let age = metadata
            .modified()
            .ok()
            .and_then(|time| time.elapsed().ok());
        age.is_some_and(|age| age > TEMPORARY_MAX_AGE)
    };
    if metadata.is_file() && is_temporary(path) && is_old() {
        let _ = fs::remove_file(path);
        return true;
    }
    give_to_owner(path, dir);
    metadata.mode() & 0o077 == 0 || fs::set_permissions(path, Permissions::from_mode(mode)).is_ok()
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with(".new") || name.contains(".new-"))
}

/// Opens an existing regular file. A FIFO would block, and a symbolic link in a directory that another user owns could lead anywhere.
///
/// Errors: the file does not exist, is not a regular file, or cannot be opened.
pub(super) fn open_regular(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let expected = fs::symlink_metadata(path)?;
    if !expected.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = options.open(path)?;
    let opened = file.metadata()?;
    match (opened.dev(), opened.ino()) == (expected.dev(), expected.ino()) {
        true => Ok(file),
        false => Err(io::Error::other("it was replaced while it was opened")),
    }
}

/// Reads a whole regular file; `None` if it does not exist.
///
/// Errors: as [`open_regular`].
pub(super) fn read_regular(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match open_regular(path, OpenOptions::new().read(true)) {
        Ok(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates a file that only its owner may read, whatever the umask; it belongs to the owner of the state directory.
///
/// Errors: the file exists, or cannot be created.
pub(super) fn create_private(path: &Path, dir: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    give_to_owner(path, dir);
    Ok(file)
}

/// Replaces a file atomically: readers see the old or the new content, and the new one is on disk when this returns. Returns the new
/// file, open for appending.
///
/// Errors: the file is as it was, or it is replaced and a power cut may bring the old one back.
pub(super) fn replace(path: &Path, bytes: &[u8], dir: &Path) -> io::Result<File> {
    // Two processes may replace the same file at the same time.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<File> {
        let _ = fs::remove_file(&temporary);
        let mut file = create_private(&temporary, dir)?;
        file.write_all(bytes)?;
        sync_file(&file)?;
        fs::rename(&temporary, path)?;
        sync(path.parent().unwrap_or(dir))?;
        Ok(file)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Writes the content of a file to disk.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_data()?;
    #[cfg(test)]
    super::tests::power_cut::note_file(file);
    Ok(())
}

/// Writes the entries of a directory to disk, after a rename or a removal in it.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    let file = File::open(dir)?;
    file.sync_all()?;
    #[cfg(test)]
    super::tests::power_cut::note_directory(dir);
    Ok(())
}

/// Gives a path to the owner of the state directory. Only root can, and only root needs to.
pub(super) fn give_to_owner(path: &Path, dir: &Path) {
    let owners = (fs::metadata(dir), fs::symlink_metadata(path));
    if let (Ok(wanted), Ok(current)) = owners
        && (wanted.uid(), wanted.gid()) != (current.uid(), current.gid())
    {
        let _ = lchown(path, Some(wanted.uid()), Some(wanted.gid()));
    }
}

/// Describes a failure, and how to fix it where it is a matter of permissions.
pub(super) fn explain(what: &str, path: &Path, dir: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        ErrorKind::StorageFull => "no space is left on the device".to_owned(),
        ErrorKind::NotADirectory => "it is not a directory".to_owned(),
        _ => io_error_message(error),
    };
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => permission_advice(path, dir),
        ErrorKind::ReadOnlyFilesystem => {
            "; mount a writable volume there, or name another directory".to_owned()
        }
        _ => String::new(),
    };
    format!(
        "{what} {:?} for \"state_dir\": {why}{advice}",
        path.display()
    )
}

/// Advice that depends on the owner of the path, or of its nearest existing ancestor.
fn permission_advice(path: &Path, dir: &Path) -> String {
    // The only way to learn our own user id without unsafe code.
    let Ok(own) = fs::metadata("/proc/self") else {
        return String::new();
    };
    let mut is_hidden = false;
    let existing = path.ancestors().find_map(|at| match fs::metadata(at) {
        Ok(metadata) => Some((at, metadata)),
        Err(error) => {
            is_hidden = error.kind() == ErrorKind::PermissionDenied;
            None
        }
    });
    let Some((at, metadata)) = existing else {
        return String::new();
    };
    let (uid, gid, owner) = (own.uid(), own.gid(), metadata.uid());
    let (name, dir_name, mode) = (at.display(), dir.display(), metadata.mode() & 0o777);
    match (at.starts_with(dir), owner == uid) {
        (true, true) => format!(
            "; {name:?} belongs to uid {uid}, which stackhook runs as, but its mode is {mode:03o}; \
             to fix it, run: chmod -R u+rwX {dir_name}"
        ),
        (true, false) => format!(
            "; {name:?} belongs to uid {owner}, stackhook runs as uid {uid}; run stackhook as the user of the server, \
             or to fix it, run: chown -R {uid}:{gid} {dir_name}"
        ),
        (false, _) if is_hidden => format!(
            "; uid {uid}, which stackhook runs as, may not enter {name:?} (uid {owner}, mode {mode:03o}); \
             name another directory, or allow access to this one"
        ),
        (false, _) => format!(
            "; {dir_name:?} does not exist, and uid {uid}, which stackhook runs as, may not create it in {name:?} \
             (uid {owner}, mode {mode:03o}); to fix it, run: install -d -m 700 -o {uid} -g {gid} {dir_name}"
        ),
    }
}
