//! The reasons for which an engine or a registry refuses a pull, recognized by their messages, each with a next step.

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

    /// Whether other credentials for the same registry may succeed.
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
