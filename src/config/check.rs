//! What was written becomes what it means: the top of the file, the rest has a module a section.

mod portainer;
mod notify;
mod stacks;
mod hooks;
mod staff;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::problem::Place;
use super::reading::{Reading, Taken};
use super::values::{Section, Written};
use super::{Config, LogFormat, Need, parse, surroundings};
use crate::hook::Network;
use crate::image::Pattern;
use crate::limits;
use crate::secret::{self, Secret};

/// The port that is in no list of well-known ones.
const PORT: u16 = 8484;

/// Everything; what is wrong or missing is a problem in `reading`.
pub(super) fn config(need: Need, written: Written, reading: &mut Reading<'_>) -> Config {
    let Written {
        mut top,
        portainer: mut of_portainer,
        notify: mut of_notify,
        stacks: of_stacks,
        default_stack,
        hooks: of_hooks,
        staff: mut of_staff,
    } = written;
    let everybody_here = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut config = Config {
        listen: reading.setting(
            &mut top,
            ("listen", "listen"),
            (everybody_here, "127.0.0.1:8484"),
            parse::listen,
        ),
        public_url: None,
        state_dir: None,
        trusted_proxies: Vec::new(),
        max_body: limits::BODY_DEFAULT,
        log: log::LevelFilter::Info,
        log_format: LogFormat::Auto,
        portainer: None,
        notify: None,
        stacks: Vec::new(),
        default_stack: None,
        hooks: Vec::new(),
        staff: None,
    };
    if need == Need::Listen {
        return config;
    }
    self::top(need, &mut top, &mut config, reading);
    reading.finish(top);

    let (portainer_read, hooks_read) = match need {
        Need::Portainer => (true, false),
        Need::Serve | Need::Show => (true, true),
        Need::Sender | Need::Listen => (false, true),
    };
    config.portainer = portainer::portainer(need, portainer_read, &mut of_portainer, reading);
    reading.finish(of_portainer);
    config.notify = notify::notify(portainer_read, &mut of_notify, reading);
    reading.finish(of_notify);
    let keys = stacks::stacks(need, of_stacks, default_stack, &mut config, reading);
    config.hooks = hooks::hooks(need, hooks_read, of_hooks, (&config, &keys), reading);
    config.staff = staff::staff(
        matches!(need, Need::Serve | Need::Show),
        &mut of_staff,
        reading,
    );
    reading.finish(of_staff);
    config
}

fn top(need: Need, top: &mut Section, config: &mut Config, reading: &mut Reading<'_>) {
    config.public_url = reading
        .optional(top, ("public_url", "public_url"), "none", parse::plain_url)
        .good();
    config.state_dir = state_dir(need, top, reading);
    let proxies = reading.list(top, "trusted_proxies", network);
    config.trusted_proxies = listed(reading, "trusted_proxies", proxies);
    config.max_body = reading.setting_unless_odd(
        top,
        ("max_body", "max_body"),
        (limits::BODY_DEFAULT, "1MiB"),
        |text| match parse::size(text)? {
            0 => Err("0 would let no delivery in".to_owned()),
            size if size > limits::BODY_MAX => Err("more than 32MiB is never accepted".to_owned()),
            size => Ok(size),
        },
        |size| {
            (*size < limits::BODY_LITTLE).then(|| {
                format!(
                    "most deliveries are larger than that ({size} B), and each of those is turned away with 413; set 64KiB or \
                     more, or leave it out (1MiB)"
                )
            })
        },
    );
    config.log = reading.setting(top, ("log", "log"), (config.log, "info"), |text| {
        let names = ["error", "warn", "info", "debug"];
        parse::choice(text, &names, |name| name.parse().ok())
    });
    config.log_format = reading.setting(
        top,
        ("log_format", "log_format"),
        (LogFormat::Auto, "auto"),
        |text| parse::choice(text, LogFormat::NAMES, LogFormat::parse),
    );
}

fn state_dir(need: Need, top: &mut Section, reading: &mut Reading<'_>) -> Option<PathBuf> {
    match reading.text(top, "state_dir", |text| Ok(text.to_owned())) {
        Taken::Good(text, place) => {
            let path = surroundings::resolve(&text, &place, &reading.folder, reading.surroundings);
            reading.show("state_dir", path.display(), place);
            Some(path)
        }
        Taken::Bad => None,
        Taken::Absent => match reading.surroundings.state_dir() {
            Some(path) => {
                reading.show("state_dir", path, "STATE_DIRECTORY");
                Some(PathBuf::from(path))
            }
            None => {
                reading.show("state_dir", "none", Place::Nowhere);
                if need == Need::Serve {
                    reading.warnings.push(
                        "state_dir is not set: accepted deliveries, pauses and what a rollback needs are \
                         lost when stackhook stops; set STACKHOOK_STATE_DIR"
                            .to_owned(),
                    );
                }
                None
            }
        },
    }
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text)
        .ok_or_else(|| "expected addresses or networks, such as \"10.0.0.0/8\"".to_owned())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

/// What can be a stack's key or a hook's name.
fn key<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    parse(text).ok_or_else(|| {
        format!(
            "expected at most {} letters, digits, \"_\", \"-\" and \".\", not beginning with a dot",
            limits::NAME_MAX
        )
    })
}

/// Shows a list that may be missing, and yields it.
fn listed<T: std::fmt::Display>(
    reading: &mut Reading<'_>,
    label: impl Into<String>,
    taken: Taken<Vec<T>>,
) -> Vec<T> {
    match taken {
        Taken::Good(values, place) => {
            let texts: Vec<String> = values.iter().map(T::to_string).collect();
            let text = match texts.as_slice() {
                [] => "none".to_owned(),
                texts => texts.join(", "),
            };
            reading.show(label, text, place);
            values
        }
        Taken::Absent => {
            reading.show(label, "none", Place::Nowhere);
            Vec::new()
        }
        Taken::Bad => Vec::new(),
    }
}

/// A duration of at most a day.
fn within_a_day(text: &str, positive: bool) -> Result<Duration, String> {
    let duration = parse::duration(text)?;
    match () {
        () if positive && duration.is_zero() => Err("expected more than 0s".to_owned()),
        () if duration > Duration::from_secs(24 * 60 * 60) => {
            Err("expected at most 24h".to_owned())
        }
        () => Ok(duration),
    }
}

/// Takes secrets that this command has no use for, unread.
fn leave(section: &mut Section, key: &str) -> Taken<Secret> {
    let here = [section.take(key), section.take(&format!("{key}_file"))];
    match here.into_iter().flatten().next() {
        Some(_) => Taken::Bad,
        None => Taken::Absent,
    }
}

/// Whether a secret is one of Standard Webhooks.
fn standard_webhooks(secret: &Secret) -> Result<(), String> {
    let key = secret
        .expose()
        .strip_prefix("whsec_")
        .and_then(secret::from_base64);
    match key {
        Some(key) if (24..=64).contains(&key.len()) => Ok(()),
        _ => Err(
            "is no Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \
             \"stackhook generate-secret --format standard-webhooks\" prints it"
                .to_owned(),
        ),
    }
}
