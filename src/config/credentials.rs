//! Secrets out of texts and files: where a file may be, what it may hold, and when its name may be told.

use std::path::{Path, PathBuf};

use super::disk;
use super::surroundings::Surroundings;
use crate::limits;
use crate::secret::Secret;

/// In the file, `api_key_file = "credential:NAME"` reads NAME out of systemd's credentials.
const CREDENTIAL: &str = "credential:";

/// Secrets out of a file.
pub(super) struct Found {
    /// Newest first; never empty.
    pub(super) secrets: Vec<Secret>,
    /// Odd, but no reason to stop.
    pub(super) warnings: Vec<String>,
}

/// The path that `text` stands for, `path` being `text` made absolute.
pub(super) fn locate(
    text: &str,
    path: PathBuf,
    surroundings: &Surroundings,
) -> Result<PathBuf, String> {
    let Some(name) = text.strip_prefix(CREDENTIAL) else {
        return Ok(path);
    };
    let harmless = |sign: char| sign.is_ascii_alphanumeric() || "-_.@".contains(sign);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(harmless) {
        return Err("what follows credential: is no name of a credential".to_owned());
    }
    let directory = surroundings.credentials();
    let here = directory.as_ref().map(|directory| directory.join(name));
    let store = surroundings.credential_store.join(name);
    match here {
        Some(path) if path.exists() => Ok(path),
        _ if store.exists() => Ok(store),
        _ => Err(format!(
            "there is no credential \"{name}\": {}, and {store:?} does not exist; LoadCredential={name} in \
             the unit hands it over",
            match directory {
                Some(directory) => format!("{directory:?} holds none of that name"),
                None => "CREDENTIALS_DIRECTORY is not set".to_owned(),
            }
        )),
    }
}

/// Reads the secrets of a file, one a line.
pub(super) fn read(
    text: &str,
    path: &Path,
    several: bool,
    surroundings: &Surroundings,
) -> Result<Found, String> {
    if !text.starts_with(CREDENTIAL) && !tellable(text) && !path.exists() {
        return Err(
            "there is no such file; its name is not shown, since it may be the secret itself, which \
             belongs to the key or variable without \"file\" in its name"
                .to_owned(),
        );
    }
    let text = disk::read(path, limits::SECRET_FILE_MAX)?;
    let in_file = |why: String| format!("{path:?} {why}");
    let mut warnings = Vec::new();
    let guarded = [
        Some(PathBuf::from("/run/secrets")),
        surroundings.credentials(),
    ];
    if text.open_to_others && !guarded.iter().flatten().any(|dir| path.starts_with(dir)) {
        warnings.push(format!(
            "any user of this host can read the secret in {path:?}; mend it with: chmod o-r {}",
            path.display()
        ));
    }
    let secrets = parse(&text.content, several).map_err(in_file)?;
    Ok(Found { secrets, warnings })
}

/// The secrets of a text, one a line, which may end in one line feed; says what is wrong, not what stands there.
pub(super) fn parse(text: &str, several: bool) -> Result<Vec<Secret>, String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .collect();
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if !several && lines.len() > 1 {
        return Err(format!("has {} lines, and only one can count", lines.len()));
    }
    let number = |index: usize, why: String| match lines.len() {
        1 => why,
        _ => format!("{why} in line {}", index + 1),
    };
    let secret = |(index, line): (usize, &&str)| {
        Secret::new(*line).map_err(|error| number(index, error.to_string()))
    };
    lines.iter().enumerate().map(secret).collect()
}

/// Whether a text that should be a path may be shown: a secret that stands in the wrong place may not.
fn tellable(text: &str) -> bool {
    const ROOTS: &[&str] = &[
        "data", "etc", "home", "media", "mnt", "opt", "root", "run", "secrets", "srv", "tmp",
        "usr", "var", "volume1",
    ];
    match text.strip_prefix('/').and_then(|rest| rest.split_once('/')) {
        Some((first, _)) => ROOTS.contains(&first) || Path::new("/").join(first).is_dir(),
        None => text.starts_with("./") || text.starts_with("../"),
    }
}
