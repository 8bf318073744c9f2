//! Reading small files that people put there, and saying what keeps them from being read and how to mend it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The content of a file.
pub(super) struct Text {
    pub(super) content: String,
    /// Anybody on this host may read it.
    pub(super) open_to_others: bool,
}

/// Who this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    uid: u32,
    gid: u32,
}

/// Reads a text of at most `most` bytes; without a byte order mark.
pub(super) fn read(path: &Path, most: usize) -> Result<Text, String> {
    let why = |error: &std::io::Error| match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => {
            let about = std::fs::metadata(path).ok();
            let owner = about.map(|about| (about.uid(), about.mode() & 0o7777));
            denied(path, owner, own())
        }
        kind => kind.to_string(),
    };
    let cannot = |why: &str| format!("cannot read {path:?}: {why}");
    let file = File::open(path).map_err(|error| cannot(&why(&error)))?;
    let about = file.metadata().map_err(|error| cannot(&why(&error)))?;
    if about.is_dir() {
        return Err(cannot(
            "it is a directory (Docker makes one where a mounted file does not exist)",
        ));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot(&why(&error)))?;
    if bytes.len() > most {
        return Err(cannot(&format!("it is larger than {} KiB", most / 1024)));
    }
    let content = String::from_utf8(bytes).map_err(|_| cannot("it is not UTF-8"))?;
    let content = match content.strip_prefix('\u{feff}') {
        Some(content) => content.to_owned(),
        None => content,
    };
    Ok(Text {
        content,
        open_to_others: about.mode() & 0o004 != 0,
    })
}

/// What keeps us out, and the command that lets us in; the owner is a uid and a mode.
fn denied(path: &Path, owner: Option<(u32, u32)>, own: Option<Own>) -> String {
    let path = path.display();
    let own_uid = own.map_or("another user".to_owned(), |own| format!("uid {}", own.uid));
    match (owner, own) {
        (Some((uid, mode)), Some(own)) if uid == own.uid => format!(
            "permission denied; it belongs to stackhook's own uid {uid}, but with mode {mode:04o}; \
             mend it with: chmod u+r {path}"
        ),
        (Some((uid, mode)), Some(own)) => format!(
            "permission denied; it belongs to uid {uid} with mode {mode:04o}, and stackhook runs as \
             {own_uid}; mend it with: chown {}:{} {path}{}",
            own.uid,
            own.gid,
            match mode & 0o400 {
                0 => format!(" && chmod u+r {path}"),
                _ => String::new(),
            }
        ),
        (Some((uid, mode)), None) => format!(
            "permission denied; it belongs to uid {uid} with mode {mode:04o}, and stackhook runs as \
             {own_uid}"
        ),
        (None, _) => format!(
            "permission denied; stackhook runs as {own_uid} and cannot enter one of the directories on \
             the way"
        ),
    }
}

/// Effective user and group, which std does not tell.
fn own() -> Option<Own> {
    own_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn own_of(status: &str) -> Option<Own> {
    let effective = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Own {
        uid: effective("Uid:")?,
        gid: effective("Gid:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Option<Own> = Some(Own {
        uid: 65532,
        gid: 65532,
    });

    #[track_caller]
    fn check(owner: Option<(u32, u32)>, own: Option<Own>, text: &str) {
        assert_eq!(denied(Path::new("/run/secrets/key"), owner, own), text);
    }

    #[test]
    fn a_closed_file_comes_with_the_command_that_opens_it() {
        check(
            Some((0, 0o600)),
            OWN,
            "permission denied; it belongs to uid 0 with mode 0600, and stackhook runs as uid 65532; \
             mend it with: chown 65532:65532 /run/secrets/key",
        );
        check(
            Some((0, 0o000)),
            OWN,
            "permission denied; it belongs to uid 0 with mode 0000, and stackhook runs as uid 65532; \
             mend it with: chown 65532:65532 /run/secrets/key && chmod u+r /run/secrets/key",
        );
        check(
            Some((65532, 0o200)),
            OWN,
            "permission denied; it belongs to stackhook's own uid 65532, but with mode 0200; \
             mend it with: chmod u+r /run/secrets/key",
        );
        check(
            Some((0, 0o640)),
            None,
            "permission denied; it belongs to uid 0 with mode 0640, and stackhook runs as another user",
        );
        check(
            None,
            OWN,
            "permission denied; stackhook runs as uid 65532 and cannot enter one of the directories on \
             the way",
        );
    }

    #[test]
    fn the_effective_user_counts() {
        let status = "Name:\tstackhook\nUid:\t0\t65532\t0\t0\nGid:\t0\t65533\t0\t0\n";
        let own = Own {
            uid: 65532,
            gid: 65533,
        };
        assert_eq!(own_of(status), Some(own));
        assert_eq!(own_of("Name:\tstackhook\n"), None);
        assert!(super::own().is_some(), "this system's own file is read");
    }
}
