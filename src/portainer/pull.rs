//! The stream of a pull: it says 200 before it has done anything, so only its last line tells how it ended (contract 6).

use serde::Deserialize;

use super::wire::nullable;
use super::words::shown;

/// What has been read of the stream so far.
#[derive(Default)]
pub(super) struct Progress {
    /// The engine has said its closing words, whatever they say.
    closed: bool,
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
        self.closed |= line.status.starts_with("Status: ");
        Ok(())
    }

    /// A stream without its closing words broke off, whatever it looked like.
    pub(super) fn end(self) -> Result<(), String> {
        match self.closed {
            true => Ok(()),
            false => Err("its progress ended before the pull did".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], came: Result<(), &str>) {
        let mut progress = Progress::default();
        let ended = lines
            .iter()
            .try_for_each(|line| progress.line(line.as_bytes()))
            .and_then(|()| progress.end());
        assert_eq!(ended, came.map_err(str::to_owned));
    }

    const BEGUN: &str = r#"{"status":"Pulling from acme/web","id":"1"}"#;
    const LAYER: &str = r#"{"status":"Downloading","progressDetail":{"current":1,"total":9},"progress":"[> ]","id":"b94"}"#;

    #[test]
    fn the_last_status_line_tells_how_a_pull_ended() {
        let newer = r#"{"status":"Status: Downloaded newer image for ghcr.io/acme/web:1"}"#;
        let same = r#"{"status":"Status: Image is up to date for ghcr.io/acme/web:1"}"#;
        let other = r#"{"status":"Status: Everything is fine"}"#;
        check(&[BEGUN, LAYER, newer], Ok(()));
        check(&[BEGUN, same, ""], Ok(()));
        check(&[BEGUN, other], Ok(()));
    }

    #[test]
    fn an_error_inside_the_stream_is_a_failure_in_the_registry_s_words() {
        let error = r#"{"errorDetail":{"message":"toomanyrequests: wait"},"error":"toomanyrequests:\nwait"}"#;
        check(&[BEGUN, LAYER, error], Err("toomanyrequests: wait"));
    }

    #[test]
    fn a_stream_that_breaks_off_is_a_failure() {
        check(&[], Err("its progress ended before the pull did"));
        check(
            &[BEGUN, LAYER],
            Err("its progress ended before the pull did"),
        );
        check(&[BEGUN, "{\"sta"], Err("a line of its progress is no JSON"));
    }
}
