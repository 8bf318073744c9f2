//! Limits that several modules share; one that concerns a single module is beside the code that applies it.

use std::time::Duration;

/// The largest accepted configuration file (bytes).
pub(crate) const CONFIG_FILE_MAX: usize = 1024 * 1024;
/// The highest permitted `max_body` (bytes); GitHub stops at 25 MB.
pub(crate) const BODY_MAX: usize = 32 * 1024 * 1024;
/// The permitted difference between a signed time and now, in either direction.
pub(crate) const SIGNED_TIME_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// The longest wait that `Prefer: wait=N` or a hook's `wait` can request.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30 * 60);
/// Open deliveries (accepted, not finished); one hook may have half of them. Above that, deliveries get 503.
pub(crate) const OPEN_DELIVERIES: usize = 4096;
/// Finished deliveries whose status URL still answers; the oldest are removed first.
pub(crate) const ENDED_DELIVERIES: usize = 8192;
/// Concurrent redeploys.
pub(crate) const RUNNERS: usize = 16;
/// On shutdown, the time to wait for an update already journalled as sent to reach Portainer. One that takes longer was still
/// waiting for a connection.
pub(crate) const LEAVING: Duration = Duration::from_secs(3);
/// The memory of a body parsed as JSON: this much (bytes), or this multiple of its size if that is more. Bodies of known senders
/// take four to twelve times their size.
pub(crate) const TREE: (usize, usize) = (2 * 1024 * 1024, 16);
/// Images or variables that one delivery may name.
pub(crate) const NAMED_MAX: usize = 64;
/// A delivery id given by a sender (bytes).
pub(crate) const DELIVERY_ID_MAX: usize = 200;
/// A name or key of a stack, hook or environment (bytes).
pub(crate) const NAME_MAX: usize = 128;
/// Time for a TCP connection to Portainer, and again for TLS on it.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// Time for sending a request to Portainer.
pub(crate) const SEND: Duration = Duration::from_secs(30);
/// Time for an ordinary response of Portainer to begin.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);
/// Time for the body of a response of Portainer.
pub(crate) const ANSWER_BODY: Duration = Duration::from_secs(30);
/// The largest accepted response of Portainer (bytes); hosts with thousands of containers stay below it.
pub(crate) const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// An answer of Portainer with more list entries is refused: parsed, an entry of a few bytes takes some hundred.
pub(crate) const ANSWER_ENTRIES: usize = 50_000;
/// Answers of Portainer up to this size are read side by side; only one larger one is in memory at a time (bytes).
pub(crate) const SMALL_ANSWER: u64 = 256 * 1024;
/// Each of the two buffers of a connection to Portainer (bytes).
pub(crate) const HTTP_BUFFER: usize = 16 * 1024;
/// The largest head of a response (bytes); it must fit into the buffer.
pub(crate) const HTTP_HEAD: usize = 12 * 1024;
/// Time for pulling one image through Portainer's Docker proxy.
pub(crate) const PULL: Duration = Duration::from_secs(20 * 60);
/// The part of an unhealthy container's log that is kept (bytes).
pub(crate) const LOG_KEPT: usize = 4 * 1024;
/// The length to which free text from Portainer is cut (bytes).
pub(crate) const FOREIGN_TEXT: usize = 2 * 1024;
/// The time that a container without a health check must run without a restart to count as running.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);
/// The first and the longest pause between two inspections of a stack that is still being deployed.
pub(crate) const FOLLOW_PAUSE: (Duration, Duration) =
    (Duration::from_secs(2), Duration::from_secs(5));
/// A deployment that was apparently started by another client is followed as long as something changes within this time.
pub(crate) const UNDER_WAY_QUIET: Duration = Duration::from_secs(60);
/// Restarts of a redeploy because the stack was changed meanwhile.
pub(crate) const RESTARTS_BY_EDIT: usize = 3;
/// An image reference or pattern; the longest real one has a host, tag and digest beside its name (bytes).
pub(crate) const REFERENCE_MAX: usize = 1024;
/// The largest compose file that is parsed (bytes).
pub(crate) const COMPOSE_FILE_MAX: usize = 1024 * 1024;
/// Nested lists and maps in a compose file; real ones have about eight levels.
pub(crate) const COMPOSE_DEPTH: usize = 64;
/// A value of a compose file after interpolation (bytes).
pub(crate) const COMPOSE_VALUE_MAX: usize = 4 * 1024;
/// A shorter journal is not rewritten because of its length (bytes).
pub(crate) const JOURNAL_MIN: u64 = 4 * 1024 * 1024;
/// The time for which a replay of a signed request is recognised: afterwards its signed time is too old in any case.
pub(crate) const REPLAY: Duration = Duration::from_secs(10 * 60);
/// A clock that steps back by less than this needs no correction of saved times.
pub(crate) const CLOCK_STEP: Duration = Duration::from_secs(60);
/// Signed requests that are remembered, about 300 bytes each; one hook may use half. Above that, a delivery is refused, because its
/// replay could not be recognised.
pub(crate) const REPLAYS: usize = 32 * 1024;
/// Finished deliveries that are kept at any age, for the page.
pub(crate) const HISTORY: usize = 200;
/// The time for which the settings page waits for a test or a dry run.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(60);
/// The earliest time after a dry run at which it can be confirmed, so that a double tap does not do it.
pub(crate) const CONFIRM_AFTER: Duration = Duration::from_millis(700);
/// Deliveries in the table of the settings page.
pub(crate) const DELIVERIES_SHOWN: usize = 25;
/// A snapshot of Portainer older than this is renewed when the settings page is opened.
pub(crate) const LOOK_FRESH: Duration = Duration::from_secs(15);
/// The time for which the settings page waits for its first snapshot of Portainer.
pub(crate) const LOOK_WAIT: Duration = Duration::from_secs(5);
/// Time for the receiver of a notice to answer.
pub(crate) const NOTICE: Duration = Duration::from_secs(15);
/// Outcomes that wait for earlier notices to be sent; more are dropped with a log line.
pub(crate) const NOTICES_WAITING: usize = 64;
/// The part of a response to a notice that is read (bytes).
pub(crate) const NOTICE_ANSWER: usize = 64 * 1024;
/// The pauses between the attempts to send one notice; after the last it is dropped.
pub(crate) const NOTICE_PAUSES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(15),
    Duration::from_secs(60),
];
/// The text of a notice (characters): the shortest limit among the receivers is Discord's 2,000.
pub(crate) const NOTICE_TEXT: usize = 1_500;
/// Outcomes of one stack that the settings page draws.
pub(crate) const OUTCOMES_DRAWN: usize = 20;
/// Rejections in the table of the settings page.
pub(crate) const REJECTIONS_SHOWN: usize = 20;
/// A lower `max_body` causes a warning (bytes): a small JSON with an id and a time has some hundred.
pub(crate) const BODY_LITTLE: usize = 1024;
/// Time for `healthcheck` to connect, and again for the whole response: less than the timeout in Docker's examples.
pub(crate) const HEALTHCHECK: Duration = Duration::from_secs(2);
/// A longer response of `/healthz` is not from stackhook (bytes).
pub(crate) const HEALTH_ANSWER: usize = 4 * 1024;
/// The time for which a delivery retries to reach Portainer before anything was sent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A shorter `portainer.timeout` causes a warning: the time to settle alone is a third of it.
pub(crate) const REDEPLOY_LITTLE: Duration = Duration::from_secs(30);
/// The time for which a server waits for another one to leave the state directory.
pub(crate) const SERVER_LOCK: Duration = Duration::from_secs(15);
/// A staff password shorter than this can be guessed; the configuration refuses it (bytes).
pub(crate) const STAFF_PASSWORD_MIN: usize = 8;
/// On shutdown without a state directory, the time to wait for running redeploys.
pub(crate) const STOP: Duration = Duration::from_secs(8);
/// The total time for which `trigger` follows a delivery.
pub(crate) const TRIGGER: Duration = Duration::from_secs(45 * 60);
/// Time for a response to `trigger` to begin: it asks to wait 20 s at most.
pub(crate) const TRIGGER_ANSWER: Duration = Duration::from_secs(50);
/// A larger reply to a delivery is not from stackhook (bytes).
pub(crate) const TRIGGER_BODY: usize = 4 * 1024 * 1024;
/// The time for which `trigger` retries errors that may be a restart.
pub(crate) const TRIGGER_PATIENCE: Duration = Duration::from_secs(2 * 60);
/// The pause between two attempts of `trigger`.
pub(crate) const TRIGGER_PAUSE: Duration = Duration::from_secs(2);
