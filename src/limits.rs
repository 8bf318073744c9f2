//! Every limit in one place, a sentence each; what reads a limit acts on it before anything else.

use std::time::Duration;

/// A webhook secret shorter than this can be guessed; the configuration refuses it (bytes).
pub(crate) const WEBHOOK_SECRET_MIN: usize = 16;
/// A staff password shorter than this can be guessed; the configuration refuses it (bytes).
pub(crate) const STAFF_PASSWORD_MIN: usize = 8;
/// A secret file larger than this is not one (bytes).
pub(crate) const SECRET_FILE_MAX: usize = 64 * 1024;
/// A configuration file larger than this is not one (bytes).
pub(crate) const CONFIG_FILE_MAX: usize = 1024 * 1024;
/// A lower `max_body` is warned of (bytes): a small JSON with an id and a time has some hundred.
pub(crate) const BODY_LITTLE: usize = 1024;
/// `max_body` may not be set higher (bytes); GitHub stops at 25 MB.
pub(crate) const BODY_MAX: usize = 32 * 1024 * 1024;

/// A signed time may be off by this much in either direction.
pub(crate) const SIGNED_TIME_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// How long a delivery of sender `generic` waits for its outcome when nothing is configured.
pub(crate) const WAIT_GENERIC: Duration = Duration::from_secs(10 * 60);
/// The longest wait that `Prefer: wait=N` or a hook's `wait` may ask for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30 * 60);
/// Deliveries that may be open (accepted, not ended); one hook may have half of them. A further one gets 503.
pub(crate) const OPEN_DELIVERIES: usize = 4096;
/// Ended deliveries whose status URL still answers (a count, oldest go first).
pub(crate) const ENDED_DELIVERIES: usize = 8192;
/// Redeploys that may run side by side.
pub(crate) const RUNNERS: usize = 16;
/// Redeploys of one environment among them: all but one of these are being verified, and other environments find a place.
pub(crate) const RUNNERS_OF_ONE: usize = 12;
/// A stop waits so long for an update to leave that is on record as sent: one that left later than that was waiting for a connection.
pub(crate) const LEAVING: Duration = Duration::from_secs(3);
/// Levels of a body's JSON; the deepest of a known sender, Bitbucket's, has ten.
pub(crate) const NESTING: usize = 32;
/// Read as JSON, a body may take so much memory (bytes), or so many times its size if that is more; those of known senders take four
/// to twelve times theirs.
pub(crate) const TREE: (usize, usize) = (2 * 1024 * 1024, 16);

/// Images or variables that one delivery may name.
pub(crate) const NAMED_MAX: usize = 64;
/// A value of a variable set by a delivery (characters).
pub(crate) const VARIABLE_VALUE_MAX: usize = 256;
/// A delivery id given by a sender (bytes).
pub(crate) const DELIVERY_ID_MAX: usize = 200;
/// A name or key of a stack, hook or environment (bytes).
pub(crate) const NAME_MAX: usize = 128;

/// Time for a TCP connection to Portainer, and again for TLS on it.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// Time for sending a request to Portainer.
pub(crate) const SEND: Duration = Duration::from_secs(30);
/// Time for an ordinary answer of Portainer to begin.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);
/// Time for Portainer to prove that it still runs although it has not answered another call.
pub(crate) const STILL_RUNNING: Duration = Duration::from_secs(5);
/// Time for the body of an answer of Portainer.
pub(crate) const ANSWER_BODY: Duration = Duration::from_secs(30);
/// An answer of Portainer larger than this is refused (bytes); hosts with thousands of containers stay below it.
pub(crate) const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// An answer of Portainer with more list entries is refused: parsed, an entry of a few bytes takes some hundred.
pub(crate) const ANSWER_ENTRIES: usize = 50_000;
/// Answers of Portainer up to this size are read side by side; only one larger one is in memory at a time (bytes).
pub(crate) const SMALL_ANSWER: u64 = 256 * 1024;
/// Each of the two buffers of a connection to Portainer (bytes).
pub(crate) const HTTP_BUFFER: usize = 16 * 1024;
/// The largest head of an answer (bytes); it must fit into the buffer.
pub(crate) const HTTP_HEAD: usize = 12 * 1024;
/// One line of the progress of a pull (bytes); Docker's are a few hundred.
pub(crate) const PULL_LINE: usize = 64 * 1024;
/// The progress of one pull (bytes): some 20 minutes of a large image.
pub(crate) const PULL_PROGRESS: usize = 256 * 1024 * 1024;
/// What is read of a container's log before its end is kept (bytes).
pub(crate) const LOG_READ: usize = 1024 * 1024;
/// A refused login is not tried again for this long: Portainer bans an address after ten in a second.
pub(crate) const LOGIN_PAUSE: Duration = Duration::from_secs(60);
/// How long a delivery keeps trying to reach Portainer before anything was sent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Time for one image to be pulled through Portainer's Docker proxy.
pub(crate) const PULL: Duration = Duration::from_secs(20 * 60);
/// The container log kept of a bad service (bytes).
pub(crate) const LOG_KEPT: usize = 4 * 1024;
/// Free text that came from Portainer is cut here (bytes).
pub(crate) const FOREIGN_TEXT: usize = 2 * 1024;

/// A shorter `portainer.timeout` is warned of: the time to settle alone is a third of it.
pub(crate) const REDEPLOY_LITTLE: Duration = Duration::from_secs(30);
/// How long a container without a health check must run without a restart to count as running.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);
/// The pause between two looks at the containers.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// The first and the longest pause between two looks at a stack that is still being deployed.
pub(crate) const FOLLOW_PAUSE: (Duration, Duration) =
    (Duration::from_secs(2), Duration::from_secs(5));
/// The first pause between two looks at an update whose end is not known: a Portainer that restarts is away for a second or two.
pub(crate) const FOLLOW_FIRST_PAUSE: Duration = Duration::from_millis(250);
/// After an update was sent, a look at an engine or Portainer that cannot be reached is repeated for this long.
pub(crate) const LOOK_PATIENCE: Duration = Duration::from_secs(120);
/// A deployment that somebody else seems to have under way is waited for as long as something changes this often.
pub(crate) const UNDER_WAY_QUIET: Duration = Duration::from_secs(60);
/// How often a swarm service that was still being written is looked at before the update is sent once more.
pub(crate) const SETTLING_LOOKS: usize = 15;
/// How often a redeploy starts again because somebody changed the stack meanwhile.
pub(crate) const RESTARTS_BY_EDIT: usize = 3;
/// How long a stop waits for running redeploys when nothing is kept on disk.
pub(crate) const STOP: Duration = Duration::from_secs(8);

/// A repository's name on its registry; Docker's own limit (bytes).
pub(crate) const REPOSITORY_MAX: usize = 255;
/// An image reference or a pattern for some; the longest real one has a host, tag and digest beside its name (bytes).
pub(crate) const REFERENCE_MAX: usize = 1024;

/// A compose file larger than this is not read (bytes).
pub(crate) const COMPOSE_FILE_MAX: usize = 1024 * 1024;
/// Lists and maps within each other in a compose file; real ones have about eight.
pub(crate) const COMPOSE_DEPTH: usize = 64;
/// Values in a compose file, aliases counted in full; a stack of a hundred services has a few thousand.
pub(crate) const COMPOSE_NODES: usize = 100_000;
/// A key of a compose file (bytes); YAML itself allows no longer ones without a special sign.
pub(crate) const COMPOSE_KEY_MAX: usize = 1024;
/// A value of a compose file that is read, with its variables filled in (bytes).
pub(crate) const COMPOSE_VALUE_MAX: usize = 4 * 1024;
/// Text with variables in a compose file, aliases expanded (bytes): interpolating this much takes a few milliseconds.
pub(crate) const COMPOSE_TEXT_MAX: usize = 4 * 1024 * 1024;
/// Defaults within defaults of a variable in a compose file.
pub(crate) const VARIABLE_NESTING: usize = 8;

/// A variable's value shorter than this is not taken out of texts, even if its name looks secret: `on`, `1` and `yes`
/// would blot every other word, and so short a secret is none (bytes).
pub(crate) const SECRET_VALUE_MIN: usize = 4;
/// A variable's value this long may be a secret whatever it is called (characters).
pub(crate) const LONG_VALUE: usize = 16;
/// How often a text is looked through for secrets that show up once others are gone.
pub(crate) const REDACT_ROUNDS: usize = 16;

/// Time for `healthcheck` to connect, and again for the whole answer: less than the time-out of Docker's examples.
pub(crate) const HEALTHCHECK: Duration = Duration::from_secs(2);
/// An answer of `/healthz` that is longer is not ours (bytes).
pub(crate) const HEALTH_ANSWER: usize = 4 * 1024;

/// The journal is rewritten when it is so many times longer than after it was last rewritten.
pub(crate) const JOURNAL_GROWTH: u64 = 4;
/// A journal shorter than this is not rewritten because of its length (bytes).
pub(crate) const JOURNAL_MIN: u64 = 4 * 1024 * 1024;
/// How long a server waits for another one to leave the state directory.
pub(crate) const SERVER_LOCK: Duration = Duration::from_secs(15);
/// The pause between two tries to get a lock that another process has.
pub(crate) const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// What is read of the name that whoever holds a lock has left in it (bytes).
pub(crate) const LOCK_NAME: u64 = 200;
/// A replay of a signed request is known for this long: then its signed time has become too old, whatever it was.
pub(crate) const REPLAY: Duration = Duration::from_secs(10 * 60);
/// A clock that steps back by less than this needs no correction of saved times.
pub(crate) const CLOCK_STEP: Duration = Duration::from_secs(60);
/// Signed requests that are remembered, some 300 bytes each; one hook may use half. A further one is refused, because its replay could
/// not be recognised.
pub(crate) const REPLAYS: usize = 32 * 1024;
/// After it succeeded, a delivery that comes again is answered as the first one for this long.
pub(crate) const DUPLICATE: Duration = Duration::from_secs(15 * 60);
/// Ended deliveries that are neither among the last ones nor younger than this are forgotten.
pub(crate) const ENDED_KEPT: Duration = Duration::from_secs(60 * 60);
/// Ended deliveries that are kept however old they are, for the page.
pub(crate) const HISTORY: usize = 200;
/// Rejections that are kept for the page.
pub(crate) const REJECTIONS_KEPT: usize = 50;

/// After a crash, containers that have been as they are for this long are not going to change any more.
pub(crate) const RESUME_QUIET: Duration = Duration::from_secs(60);
/// After a crash, an update that was sent and is not under way is watched for this long.
pub(crate) const RESUME: Duration = Duration::from_secs(5 * 60);

/// How long `trigger` follows a delivery in all.
pub(crate) const TRIGGER: Duration = Duration::from_secs(45 * 60);
/// How long `trigger` tries again what may be a restart.
pub(crate) const TRIGGER_PATIENCE: Duration = Duration::from_secs(2 * 60);
/// The pause between two tries of `trigger`.
pub(crate) const TRIGGER_PAUSE: Duration = Duration::from_secs(2);
/// Time for an answer to `trigger` to begin: it asks for 20 s at most.
pub(crate) const TRIGGER_ANSWER: Duration = Duration::from_secs(50);
/// A reply to a delivery that is larger is none of stackhook (bytes).
pub(crate) const TRIGGER_BODY: usize = 4 * 1024 * 1024;
/// How often Portainer is asked whether it answers.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(60);
/// What was seen of Portainer longer ago than this is looked at again when somebody opens the settings page.
pub(crate) const LOOK_FRESH: Duration = Duration::from_secs(15);
/// How long the settings page waits for its first look at Portainer.
pub(crate) const LOOK_WAIT: Duration = Duration::from_secs(5);
/// How long a test or a dry run on the settings page is waited for.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(60);
/// Deliveries that the settings page shows as a table.
pub(crate) const DELIVERIES_SHOWN: usize = 25;
/// Rejections that the settings page shows as a table.
pub(crate) const REJECTIONS_SHOWN: usize = 20;
/// A dry run is confirmed at the earliest this long after it was shown, so that a double tap does not do it.
pub(crate) const CONFIRM_AFTER: Duration = Duration::from_millis(700);
/// Outcomes of one stack that the settings page draws.
pub(crate) const OUTCOMES_DRAWN: usize = 20;
/// Lines of a bad container's log that are kept for the settings page.
pub(crate) const LOG_LINES: usize = 20;
/// Bad services whose logs are kept.
pub(crate) const LOGS_KEPT: usize = 5;

/// Time for the receiver of a notice to answer.
pub(crate) const NOTICE: Duration = Duration::from_secs(15);
/// An answer to a notice that is longer is not read (bytes).
pub(crate) const NOTICE_ANSWER: usize = 64 * 1024;
/// The pauses between the tries to send one notice; after the last it is given up.
pub(crate) const NOTICE_PAUSES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(15),
    Duration::from_secs(60),
];
/// Ends that wait for the notices before them; more are dropped with a log line.
pub(crate) const NOTICES_WAITING: usize = 64;
/// The text of a notice (characters): the shortest limit among the receivers is Discord's 2,000.
pub(crate) const NOTICE_TEXT: usize = 1_500;
