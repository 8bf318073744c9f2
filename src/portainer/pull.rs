//! Pulls through the Docker API: the progress stream, and the reasons for which an engine or a registry refuses a pull.

use serde::Deserialize;

/// Tells whether a release pulls only images that are missing on the host: 2.39.2 and later patches of 2.39, and 2.41.
pub(crate) fn pulls_missing_only(version: &str) -> bool {
    match release(version) {
        [Some(2), Some(39), Some(patch)] => patch >= 2,
        [Some(2), Some(41), _] => true,
        _ => false,
    }
}

/// Tells whether a release takes a stack whose last deployment failed down before it updates its file: 2.45.1 and later.
pub(crate) fn takes_failed_stack_down(version: &str) -> bool {
    match release(version) {
        [Some(major), Some(minor), patch] => (major, minor, patch.unwrap_or(0)) >= (2, 45, 1),
        _ => true,
    }
}

/// Major, minor and patch number of a version such as `2.39.2` or `2.33.0-rc1`.
fn release(version: &str) -> [Option<u32>; 3] {
    let mut numbers = version.split('.').map(|number| {
        let digits = number.find(|c: char| !c.is_ascii_digit());
        number
            .get(..digits.unwrap_or(number.len()))?
            .parse::<u32>()
            .ok()
    });
    [(); 3].map(|()| numbers.next().flatten())
}

/// The reason for a failed pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PullFailure {
    /// Credentials are missing, wrong, or do not permit this repository.
    NotAllowed,
    /// The credentials were valid once.
    Expired,
    /// The registry limits pulls.
    RateLimited,
    /// The registry does not have the tag or repository.
    NotFound,
    /// The engine got no usable response from the registry.
    NotReachable,
    /// TLS failed: the engine does not trust the registry's certificate, or the registry does not speak TLS.
    Untrusted,
    /// The image is not built for the host's platform.
    WrongPlatform,
    /// The host has no space for the image.
    DiskFull,
}

impl PullFailure {
    /// Recognizes the messages of Docker 20 to 29, Podman and the common registries. Earlier rows win, because messages
    /// quote one another: Quay calls an unknown tag "deleted or has expired", Docker Hub a missing repository "denied".
    pub(crate) fn classify(message: &str) -> Option<PullFailure> {
        const WORDS: [(PullFailure, &[&str]); 9] = [
            (
                PullFailure::RateLimited,
                &[
                    "toomanyrequests",
                    "too many requests",
                    "rate limit",
                    "ratelimit",
                    "rate exceeded",
                    "quota exceeded",
                ],
            ),
            (
                PullFailure::DiskFull,
                &["no space left on device", "disk quota exceeded"],
            ),
            (
                PullFailure::WrongPlatform,
                &[
                    "no matching manifest",
                    "no match for platform",
                    "does not match the specified platform",
                    "no image found in manifest list",
                    "no image found in image index",
                ],
            ),
            (
                PullFailure::NotFound,
                &[
                    "manifest unknown",
                    "manifest_unknown",
                    "name unknown",
                    "name_unknown",
                    "deleted or has expired",
                ],
            ),
            (
                PullFailure::Untrusted,
                &[
                    "x509:",
                    "tls: ",
                    "certificate",
                    "gave http response to https client",
                ],
            ),
            (
                PullFailure::Expired,
                &[
                    "has expired",
                    "is expired",
                    "token expired",
                    "expired token",
                    "expiredtoken",
                    "credentials expired",
                    "password expired",
                    "expired credentials",
                    "reauthenticate",
                ],
            ),
            (
                PullFailure::NotAllowed,
                &[
                    "no basic auth credentials",
                    "denied",
                    "unauthorized",
                    "authentication required",
                    "authorization failed",
                    "not authorized",
                    "access forbidden",
                    "forbidden",
                    "insufficient_scope",
                    "insufficient scope",
                    "incorrect username or password",
                    "invalid username/password",
                    "invalid credentials",
                    "bad credentials",
                    "requires authentication",
                    "must be authenticated",
                    "permission_denied",
                ],
            ),
            (
                PullFailure::NotReachable,
                &[
                    "dial tcp",
                    "connection refused",
                    "connection reset",
                    "no such host",
                    "no route to host",
                    "network is unreachable",
                    "server misbehaving",
                    "name resolution",
                    "timeout",
                    "timed out",
                    "deadline exceeded",
                    "proxyconnect",
                    "unexpected eof",
                    ": eof",
                    "500 internal server error",
                    "502 bad gateway",
                    "503 service unavailable",
                    "504 gateway",
                    "failed to do request",
                    "error pinging",
                    "pinging container registry",
                ],
            ),
            (PullFailure::NotFound, &["not found", "does not exist"]),
        ];
        let message = message.to_ascii_lowercase();
        let fits =
            |words: &&(PullFailure, &[&str])| words.1.iter().any(|word| message.contains(word));
        WORDS.iter().find(fits).map(|(failure, _)| *failure)
    }

    /// Tells whether other credentials for the same registry may succeed.
    pub(crate) fn depends_on_credentials(self) -> bool {
        match self {
            PullFailure::NotAllowed
            | PullFailure::Expired
            | PullFailure::RateLimited
            | PullFailure::NotFound => true,
            PullFailure::NotReachable
            | PullFailure::Untrusted
            | PullFailure::WrongPlatform
            | PullFailure::DiskFull => false,
        }
    }

    /// The next step for the operator.
    pub(crate) fn next_step(self) -> &'static str {
        match self {
            PullFailure::NotAllowed => {
                "check the name; if the image is private, store the registry's credentials in Portainer and give them to the environment"
            }
            PullFailure::Expired => {
                "the registry's credentials have expired: renew them in Portainer under Registries"
            }
            PullFailure::RateLimited => {
                "the registry limits pulls: wait, or store an account for it in Portainer under Registries"
            }
            PullFailure::NotFound => {
                "push the image, or correct the tag or repository in the stack's file"
            }
            PullFailure::NotReachable => {
                "the engine cannot reach the registry: check its address, DNS, proxy and firewall from the Docker host, then redeploy"
            }
            PullFailure::Untrusted => {
                "the engine does not trust the registry: check its certificate and the Docker host's clock, or configure an insecure registry on the host"
            }
            PullFailure::WrongPlatform => {
                "push the image for the host's platform, or set \"platform\" in the stack's file"
            }
            PullFailure::DiskFull => "free disk space on the Docker host",
        }
    }
}

/// The progress stream of a pull: the response is 200 before anything has been pulled, so errors arrive as lines of it.
#[derive(Default)]
pub(super) struct PullProgress {
    last_status: String,
}

/// The end of a stream without an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// Docker's closing line was read.
    Pulled,
    /// The stream is complete but has no closing line, as with Podman: the image has to be on the host.
    CheckHost,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullProgressLine {
    status: Option<String>,
    error: Option<String>,
    error_detail: Option<ErrorDetail>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    message: Option<String>,
}

impl PullProgress {
    /// Reads one line; fails with the engine's error message.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line: PullProgressLine = serde_json::from_slice(line)
            .map_err(|_| "a line of its progress is not valid JSON".to_owned())?;
        let detail = line
            .error_detail
            .map(|detail| detail.message.unwrap_or_default());
        if let Some(error) = line.error.or(detail) {
            return Err(error);
        }
        if let Some(status) = line.status.filter(|status| !status.is_empty()) {
            self.last_status = status;
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
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: Result<StreamEnd, &str>) {
        let mut progress = PullProgress::default();
        let ended = lines
            .iter()
            .try_for_each(|line| progress.line(line.as_bytes()))
            .and_then(|()| progress.end());
        assert_eq!(ended, expected.map_err(str::to_owned));
    }

    #[test]
    fn reads_the_release_from_a_version() {
        for (version, missing_only, takes_down) in [
            ("2.33.0-rc1", false, false),
            ("2.39.1", false, false),
            ("2.39.2", true, false),
            ("2.41.1", true, false),
            ("2.45.0", false, false),
            ("2.45.1", false, true),
            ("2.46", false, true),
            ("3.0.0", false, true),
            ("develop", false, true),
            ("", false, true),
        ] {
            assert_eq!(pulls_missing_only(version), missing_only, "{version}");
            assert_eq!(takes_failed_stack_down(version), takes_down, "{version}");
        }
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
        check(&[BEGUN, LAYER, both], Err("toomanyrequests:\nwait"));
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
