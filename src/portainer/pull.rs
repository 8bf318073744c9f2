//! The progress stream of a pull through the Docker API.

use serde::Deserialize;

use super::wire::nullable;
use super::words::shown;

/// The progress stream of a pull: the response is 200 before anything has been pulled, so errors arrive as lines of it.
#[derive(Default)]
pub(super) struct Progress {
    last_status: String,
}

/// Whether a stream without an error proves that the image was pulled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// Docker's closing line was read.
    Pulled,
    /// The stream is complete but has no closing line, as with Podman: the image has to be on the host.
    CheckHost,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(default, deserialize_with = "nullable")]
    status: String,
    error: Option<String>,
    error_detail: Option<ErrorDetail>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    #[serde(default, deserialize_with = "nullable")]
    message: String,
}

impl Progress {
    /// Reads one line; fails with the engine's error message.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(line)
            .map_err(|_| "a line of its progress is not valid JSON".to_owned())?;
        let detail = line.error_detail.map(|detail| detail.message);
        if let Some(error) = line.error.or(detail) {
            return Err(shown(&error));
        }
        if !line.status.is_empty() {
            self.last_status = line.status;
        }
        Ok(())
    }

    /// Judges a stream that ended without an error: one that ends while a layer is under way was cut off.
    pub(super) fn end(self) -> Result<StreamEnd, String> {
        const UNDER_WAY: [&str; 8] = [
            "Pulling",
            "Waiting",
            "Downloading",
            "Verifying",
            "Extracting",
            "Copying",
            "Retrying",
            "Unpacking",
        ];
        let status = self.last_status.as_str();
        if status.starts_with("Status: ") {
            return Ok(StreamEnd::Pulled);
        }
        match status.is_empty() || UNDER_WAY.iter().any(|word| status.starts_with(word)) {
            true => Err("its progress ended before the pull did".to_owned()),
            false => Ok(StreamEnd::CheckHost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pull_failure::PullFailure;
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: Result<StreamEnd, &str>) {
        let mut progress = Progress::default();
        let ended = lines
            .iter()
            .try_for_each(|line| progress.line(line.as_bytes()))
            .and_then(|()| progress.end());
        assert_eq!(ended, expected.map_err(str::to_owned));
    }

    const BEGUN: &str = r#"{"status":"Pulling from acme/web","id":"1"}"#;
    const LAYER: &str = r#"{"status":"Downloading","progressDetail":{"current":1,"total":9},"progress":"[> ]","id":"b94"}"#;
    const CUT_OFF: Result<StreamEnd, &str> = Err("its progress ended before the pull did");

    #[test]
    fn docker_closes_a_successful_pull_with_a_status_line() {
        let newer = r#"{"status":"Status: Downloaded newer image for ghcr.io/acme/web:1"}"#;
        let same = r#"{"status":"Status: Image is up to date for ghcr.io/acme/web:1"}"#;
        check(&[BEGUN, LAYER, newer], Ok(StreamEnd::Pulled));
        check(&[BEGUN, same, ""], Ok(StreamEnd::Pulled));
    }

    #[test]
    fn podman_ends_without_a_status_line() {
        let layer = r#"{"status":"Pulling fs layer","progressDetail":{},"id":"b94"}"#;
        let skipped = r#"{"status":"Already exists","progressDetail":{},"id":"b94"}"#;
        let done = r#"{"status":"Download complete","progressDetail":{},"id":"8c8"}"#;
        let libpod = r#"{"status":"Pull complete","progressDetail":{},"id":"8c8"}"#;
        check(&[layer, LAYER, done], Ok(StreamEnd::CheckHost));
        check(&[layer, skipped, libpod], Ok(StreamEnd::CheckHost));
        check(&[skipped], Ok(StreamEnd::CheckHost));
    }

    #[test]
    fn an_error_inside_the_stream_fails_with_the_registry_s_message() {
        let both = r#"{"errorDetail":{"message":"toomanyrequests: wait"},"error":"toomanyrequests:\nwait"}"#;
        let detail = r#"{"errorDetail":{"message":"denied: denied"}}"#;
        let after = r#"{"status":"Download complete","id":"8c8"}"#;
        check(&[BEGUN, LAYER, both], Err("toomanyrequests: wait"));
        check(&[BEGUN, detail, after], Err("denied: denied"));
    }

    #[test]
    fn a_stream_that_breaks_off_fails() {
        check(&[], CUT_OFF);
        check(&[BEGUN], CUT_OFF);
        check(&[BEGUN, LAYER], CUT_OFF);
        check(&[BEGUN, r#"{"status":"Extracting","id":"b94"}"#], CUT_OFF);
        check(
            &[BEGUN, "{\"sta"],
            Err("a line of its progress is not valid JSON"),
        );
    }

    #[test]
    fn failures_are_recognized_by_every_engine_s_and_registry_s_message() {
        use PullFailure::{
            DiskFull, Expired, NotAllowed, NotFound, NotReachable, RateLimited, Untrusted,
            WrongPlatform,
        };
        let check = |message: &str, expected| {
            assert_eq!(PullFailure::classify(message), Some(expected), "{message}");
        };
        for message in [
            "denied: denied",
            "error from registry: denied",
            "denied: access forbidden",
            "error parsing HTTP 403 response body: denied: access forbidden",
            "Head \"https://r/v2/a/manifests/1\": no basic auth credentials",
            "failed to resolve reference \"r/a:1\": pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials",
            "pull access denied for acme/web, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            "unauthorized: access to the requested resource is not authorized",
            "unauthorized: authentication required, visit https://aka.ms/acr/authorization",
            "unauthorized: unauthorized to access repository: a/b, action: pull",
            "unauthorized: HTTP Basic: Access denied. If a token was provided, it was either incorrect, expired, or improperly scoped",
            "unauthorized: incorrect username or password",
            "failed to resolve reference \"r/a:1\": unexpected status from HEAD request to https://r/v2/a/manifests/1: 403 Forbidden",
            "failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized",
            "initializing source docker://r/a:1: unable to retrieve auth token: invalid username/password: unauthorized",
            "denied: User: arn:aws:iam::1:user/x is not authorized to perform: ecr:BatchGetImage",
            "server message: insufficient_scope: authorization failed",
        ] {
            check(message, NotAllowed);
        }
        for message in [
            "denied: Your authorization token has expired. Reauthenticate and try again.",
            "unauthorized: token expired",
            "unauthorized: the access token is expired",
            "ExpiredTokenException: The security token included in the request is expired",
        ] {
            check(message, Expired);
        }
        for message in [
            "toomanyrequests: You have reached your pull rate limit.",
            "toomanyrequests: retry-after: 421.6µs, allowed: 44000/minute",
            "failed to copy: httpReadSeeker: failed open: unexpected status code https://r/v2/a: 429 Too Many Requests",
            "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
            "denied: Rate exceeded",
        ] {
            check(message, RateLimited);
        }
        for message in [
            "manifest for r/a:1 not found: manifest unknown: manifest unknown",
            "failed to resolve reference \"r/a:1\": r/a:1: not found",
            "manifest unknown: Tag 1 was deleted or has expired. To pull, revive via time machine",
            "name unknown: The repository with name 'a' does not exist in the registry with id '1'",
            "initializing source docker://r/a:1: reading manifest 1 in r/a: manifest unknown",
            "unknown: artifact a/b:1 not found",
        ] {
            check(message, NotFound);
        }
        for message in [
            "Get \"http://r/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            "Get \"https://r/v2/\": dial tcp: lookup r: no such host",
            "Get \"https://r/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
            "Get \"https://r/v2/\": net/http: TLS handshake timeout",
            "Get \"https://r/v2/\": context deadline exceeded",
            "received unexpected HTTP status: 503 Service Unavailable",
            "Head \"https://r/v2/a/manifests/1\": unexpected EOF",
            "pinging container registry r: Get \"https://r/v2/\": EOF",
        ] {
            check(message, NotReachable);
        }
        check(
            "Get \"https://r/v2/\": x509: certificate has expired or is not yet valid",
            Untrusted,
        );
        check(
            "Get \"https://r/v2/\": http: server gave HTTP response to HTTPS client",
            Untrusted,
        );
        check(
            "no matching manifest for linux/arm64/v8 in the manifest list entries",
            WrongPlatform,
        );
        check(
            "write /var/lib/docker/tmp/x: no space left on device",
            DiskFull,
        );
        assert_eq!(PullFailure::classify("something else"), None);
    }

    #[test]
    fn every_failure_has_a_next_step_of_its_own() {
        use std::collections::BTreeSet;
        let all = [
            PullFailure::NotAllowed,
            PullFailure::Expired,
            PullFailure::RateLimited,
            PullFailure::NotFound,
            PullFailure::NotReachable,
            PullFailure::Untrusted,
            PullFailure::WrongPlatform,
            PullFailure::DiskFull,
        ];
        let steps: BTreeSet<&str> = all.iter().map(|one| one.next_step()).collect();
        assert_eq!(steps.len(), all.len());
    }
}
