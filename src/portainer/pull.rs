//! The stream of a pull: it says 200 before it has done anything, so only its last line tells how it ended (contract 6).

use serde::Deserialize;

use super::wire::nullable;
use super::words::shown;

/// What a pull brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// Something newer than what was there.
    Newer,
    /// What was there already.
    UpToDate,
    /// The engine ended well in words that are not known here.
    Unsaid,
}

/// What has been read of the stream so far.
#[derive(Default)]
pub(super) struct Progress {
    last: Option<Pulled>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default, deserialize_with = "nullable")]
    status: String,
    error: Option<String>,
}

impl Progress {
    /// Reads one line; fails with the engine's own words.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(line)
            .map_err(|_| "a line of its progress is no JSON".to_owned())?;
        if let Some(error) = line.error {
            return Err(shown(&error));
        }
        if let Some(said) = line.status.strip_prefix("Status: ") {
            self.last = Some(match said {
                _ if said.starts_with("Downloaded newer image") => Pulled::Newer,
                _ if said.starts_with("Image is up to date") => Pulled::UpToDate,
                _ => Pulled::Unsaid,
            });
        }
        Ok(())
    }

    /// What it came to. A stream without its closing words broke off, whatever it looked like.
    pub(super) fn end(self) -> Result<Pulled, String> {
        self.last
            .ok_or_else(|| "its progress ended before the pull did".to_owned())
    }
}
