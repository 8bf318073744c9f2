//! Secrets and other small files: where a secret may come from, what its file may hold, and why a file cannot be read.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::env::ProcessEnv;
use crate::secret::Secret;

/// The largest accepted secret file (bytes).
const SECRET_FILE_MAX: usize = 64 * 1024;

/// In the file, `api_key_file = "credential:NAME"` reads NAME from systemd's credentials.
const CREDENTIAL: &str = "credential:";

/// The path that the value of a `*_file` key stands for; `path` is the value made absolute.
pub(super) fn locate(text: &str, path: PathBuf, env: &ProcessEnv) -> Result<PathBuf, String> {
    let Some(name) = text.strip_prefix(CREDENTIAL) else {
        return Ok(path);
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err("the part after credential: is not a valid name of a credential".to_owned());
    }
    let directory = env.credentials_dir();
    let handed_over = directory.as_ref().map(|directory| directory.join(name));
    let stored = env.credential_store.join(name);
    match handed_over {
        Some(path) if path.exists() => Ok(path),
        _ if stored.exists() => Ok(stored),
        _ => Err(format!(
            "there is no credential \"{name}\": {}, and {stored:?} does not exist; to pass it to the service, add \
             LoadCredential={name} to the unit",
            match directory {
                Some(directory) => format!("{directory:?} does not contain it"),
                None => "CREDENTIALS_DIRECTORY is not set".to_owned(),
            }
        )),
    }
}

/// Reads the secrets of a file, one per line, newest first, and the warnings about it.
pub(super) fn read(
    text: &str,
    path: &Path,
    allow_several: bool,
    env: &ProcessEnv,
) -> Result<(Vec<Secret>, Vec<String>), String> {
    if !text.starts_with(CREDENTIAL) && !is_safe_to_print(text) && !path.exists() {
        return Err(
            "there is no such file; its name is not shown, since it may be the secret itself, which belongs to the key or \
             variable without \"file\" in its name"
                .to_owned(),
        );
    }
    let file = read_file(path, SECRET_FILE_MAX)?;
    let protected_dirs = [Some(PathBuf::from("/run/secrets")), env.credentials_dir()];
    let is_protected = protected_dirs
        .iter()
        .flatten()
        .any(|dir| path.starts_with(dir));
    let mut warnings = Vec::new();
    if file.world_readable && !is_protected {
        warnings.push(format!(
            "any user of this host can read the secret in {path:?}; to fix it, run: chmod o-r {}",
            path.display()
        ));
    }
    let secrets = parse(&file.content, allow_several).map_err(|why| format!("{path:?} {why}"))?;
    Ok((secrets, warnings))
}

/// The secrets of a text, one per line; the last line may end in a line feed. Errors do not repeat the text.
pub(super) fn parse(text: &str, allow_several: bool) -> Result<Vec<Secret>, String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .collect();
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if !allow_several && lines.len() > 1 {
        return Err(format!("has {} lines, but must have only one", lines.len()));
    }
    let with_line = |index: usize, why: String| match lines.len() {
        1 => why,
        _ => format!("{why} in line {}", index + 1),
    };
    let secret = |(index, line): (usize, &&str)| {
        Secret::new(*line).map_err(|error| with_line(index, error.to_string()))
    };
    lines.iter().enumerate().map(secret).collect()
}

/// Returns false for a text that should be a path but may be a secret in the wrong key.
fn is_safe_to_print(text: &str) -> bool {
    const ROOTS: &[&str] = &[
        "data", "etc", "home", "media", "mnt", "opt", "root", "run", "secrets", "srv", "tmp",
        "usr", "var", "volume1",
    ];
    match text.strip_prefix('/').and_then(|rest| rest.split_once('/')) {
        Some((first, _)) => ROOTS.contains(&first) || Path::new("/").join(first).is_dir(),
        None => text.starts_with("./") || text.starts_with("../"),
    }
}

/// The content of a small text file.
pub(super) struct FileContent {
    pub(super) content: String,
    /// Any user of this host may read it.
    pub(super) world_readable: bool,
}

/// Reads a text of at most `max_bytes`, without its byte order mark.
///
/// Errors: the reason and, for missing permissions, the command that fixes them.
pub(super) fn read_file(path: &Path, max_bytes: usize) -> Result<FileContent, String> {
    let cannot = |why: &str| format!("cannot read {path:?}: {why}");
    let explain = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => cannot("there is no such file"),
        ErrorKind::PermissionDenied => {
            let metadata = std::fs::metadata(path).ok();
            let owner = metadata.map(|metadata| (metadata.uid(), metadata.mode() & 0o7777));
            cannot(&explain_denied(path, owner, effective_ids()))
        }
        kind => cannot(&kind.to_string()),
    };
    let file = File::open(path).map_err(explain)?;
    let metadata = file.metadata().map_err(explain)?;
    if metadata.is_dir() {
        return Err(cannot(
            "it is a directory (Docker creates one if a mounted file does not exist)",
        ));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() > max_bytes {
        return Err(cannot(&format!(
            "it is larger than {} KiB",
            max_bytes / 1024
        )));
    }
    let content = String::from_utf8(bytes).map_err(|_| cannot("it is not UTF-8"))?;
    let content = match content.strip_prefix('\u{feff}') {
        Some(content) => content.to_owned(),
        None => content,
    };
    Ok(FileContent {
        content,
        world_readable: metadata.mode() & 0o004 != 0,
    })
}

/// Effective user and group of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    uid: u32,
    gid: u32,
}

/// Explains a permission error and suggests the fix; `owner` is the file's uid and mode.
fn explain_denied(path: &Path, owner: Option<(u32, u32)>, own: Option<Ids>) -> String {
    let path = path.display();
    let user = own.map_or("another user".to_owned(), |own| format!("uid {}", own.uid));
    match (owner, own) {
        (Some((uid, mode)), Some(own)) if uid == own.uid => format!(
            "permission denied; it belongs to stackhook's own uid {uid}, but has mode {mode:04o}; to fix it, run: chmod u+r {path}"
        ),
        (Some((uid, mode)), Some(own)) => format!(
            "permission denied; it belongs to uid {uid} with mode {mode:04o}, and stackhook runs as {user}; to fix it, run: \
             chown {}:{} {path}{}",
            own.uid,
            own.gid,
            match mode & 0o400 {
                0 => format!(" && chmod u+r {path}"),
                _ => String::new(),
            }
        ),
        (Some((uid, mode)), None) => format!(
            "permission denied; it belongs to uid {uid} with mode {mode:04o}, and stackhook runs as {user}"
        ),
        (None, _) => format!(
            "permission denied; stackhook runs as {user} and cannot enter one of the directories in its path"
        ),
    }
}

/// The standard library does not offer them.
fn effective_ids() -> Option<Ids> {
    parse_ids(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_ids(status: &str) -> Option<Ids> {
    let effective = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Ids {
        uid: effective("Uid:")?,
        gid: effective("Gid:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Option<Ids> = Some(Ids {
        uid: 65532,
        gid: 65532,
    });

    #[track_caller]
    fn check(owner: Option<(u32, u32)>, own: Option<Ids>, expected: &[&str]) {
        let text = explain_denied(Path::new("/run/secrets/key"), owner, own);
        for part in expected {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        let command = expected.iter().any(|part| part.starts_with("run: "));
        assert_eq!(text.contains("run: "), command, "{text}");
    }

    #[test]
    fn an_unreadable_file_comes_with_the_command_that_fixes_it() {
        let chown = "run: chown 65532:65532 /run/secrets/key";
        check(
            Some((0, 0o600)),
            OWN,
            &["uid 0 with mode 0600", "uid 65532", chown],
        );
        check(
            Some((0, 0o000)),
            OWN,
            &[chown, " && chmod u+r /run/secrets/key"],
        );
        check(
            Some((65532, 0o200)),
            OWN,
            &[
                "own uid 65532",
                "mode 0200",
                "run: chmod u+r /run/secrets/key",
            ],
        );
        check(
            Some((0, 0o640)),
            None,
            &["uid 0 with mode 0640", "another user"],
        );
        check(None, OWN, &["uid 65532", "directories"]);
    }

    #[test]
    fn reads_the_effective_ids() {
        let status = "Name:\tstackhook\nUid:\t0\t65532\t0\t0\nGid:\t0\t65533\t0\t0\n";
        let ids = Ids {
            uid: 65532,
            gid: 65533,
        };
        assert_eq!(parse_ids(status), Some(ids));
        assert_eq!(parse_ids("Name:\tstackhook\n"), None);
        assert!(effective_ids().is_some(), "the file of this system is read");
    }
}
