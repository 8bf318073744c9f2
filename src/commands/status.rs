//! `pause`, `resume` and `status`: commands that use the state directory beside a running server, without locking it and without
//! depending on Portainer.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::choose::{choose, find_stack};
use super::table::columns;
use super::{CommandError, Exit, Verbosity, connect, load, print};
use crate::calendar::rfc3339;
use crate::cli::StackChoice;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, ConfigScope};
use crate::delivery::Delivery;
use crate::delivery::ledger::{Ledger, StackFailure};
use crate::portainer::{Portainer, StackId};
use crate::redact::Redactor;
use crate::redeploy::record::{Memory as _, StackRecord};
use crate::redeploy::{self, Assessment, Context, Depth, Unobserved};
use crate::stack::Stack;
use crate::store::Journal;
use crate::store::stacks::{Pause, StackStore};
use crate::terminal;

/// Deliveries that `status` shows of each stack.
const DELIVERIES_SHOWN: usize = 5;

/// Pauses a stack: deliveries for it are skipped until it is resumed.
pub(super) fn pause(
    file: Option<&Path>,
    stack: &str,
    length: Option<&str>,
) -> Result<Exit, CommandError> {
    let length = length.map(parse_length).transpose()?;
    let config = load(ConfigScope::Portainer, file, Verbosity::Command)?.config;
    let stack = find_stack(stack, &config)?;
    let now = SystemClock.unix();
    let until = length.map(|length| now.saturating_add(length.as_secs()));
    let pause = open_store(&config)?
        .pause(&stack.key, now, until)
        .map_err(CommandError::Failed)?;
    let (name, key) = (&stack.name, &stack.key);
    print(&format!(
        "{name}: {}; to resume it, run: stackhook resume {key}\n",
        describe_pause(pause, now)
    ))
}

/// Resumes updates of a stack.
pub(super) fn resume(file: Option<&Path>, stack: &str) -> Result<Exit, CommandError> {
    let config = load(ConfigScope::Portainer, file, Verbosity::Command)?.config;
    let stack = find_stack(stack, &config)?;
    let store = open_store(&config)?;
    let was_paused = || store.pause_of(&stack.key, SystemClock.unix()).is_some();
    let mut paused = was_paused();
    if let Err(message) = store.resume(&stack.key) {
        // A pause of version 0.1 is stored by Portainer's number, which may not be known yet.
        let portainer = Inspector::new(&config)?;
        let view = portainer.view(&store, stack);
        let view = view.map_err(|_| CommandError::Failed(message))?;
        store.set_id(&stack.key, view.id.0);
        paused = was_paused();
        store.resume(&stack.key).map_err(CommandError::Failed)?;
    }
    print(&match paused {
        true => format!(
            "{}: resumed; deliveries that were skipped during the pause are not replayed\n",
            stack.name
        ),
        false => format!("{}: was not paused\n", stack.name),
    })
}

/// Prints the state of stacks. Portainer is asked only for what runs now.
pub(super) fn status(
    file: Option<&Path>,
    stacks: Vec<String>,
    json: bool,
) -> Result<Exit, CommandError> {
    let config = load(ConfigScope::Portainer, file, Verbosity::Command)?.config;
    let choice = match stacks.is_empty() {
        true => StackChoice::All,
        false => StackChoice::Named(stacks),
    };
    let stacks = choose(&choice, &config)?;
    let dir = config.state_dir.as_deref();
    let store = StackStore::read_only(dir).with_stacks(&config.stacks);
    let entries = dir
        .map(Journal::read)
        .transpose()
        .map_err(CommandError::Failed)?;
    let mut ledger = Ledger::default();
    let entries = entries.into_iter().flatten();
    entries.for_each(|entry| ledger.apply(entry));
    let inspector = Inspector::new(&config)?;
    let reports: Vec<StackStatus<'_>> = stacks
        .into_iter()
        .map(|stack| StackStatus::new(stack, &store, &ledger, &inspector))
        .collect();
    let text = match json {
        true => {
            let stacks: Vec<Value> = reports.iter().map(StackStatus::to_json).collect();
            format!("{}\n", json!({ "stacks": stacks }))
        }
        false => reports.iter().map(StackStatus::to_text).collect(),
    };
    terminal::print(&text)?;
    Ok(Exit::Success)
}

fn open_store(config: &Config) -> Result<StackStore, CommandError> {
    let Some(dir) = config.state_dir.as_deref() else {
        return Err(CommandError::Configuration(
            "\"state_dir\" is not set, so a pause cannot reach the server; set it for both, or use the settings page".to_owned(),
        ));
    };
    let store = StackStore::new(Some(dir)).map_err(CommandError::Configuration)?;
    Ok(store.with_stacks(&config.stacks))
}

/// Parses the length of a pause: a number and a unit.
fn parse_length(text: &str) -> Result<Duration, CommandError> {
    let wrong = || {
        CommandError::Usage(format!(
            "--for {text:?} is not a time span; write a number and a unit, such as 30m, 2h or 3d"
        ))
    };
    let at = text.find(|character: char| !character.is_ascii_digit());
    let (number, unit) = text.split_at(at.ok_or_else(wrong)?);
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    // Ten years; a longer one is meant to be endless.
    match number.checked_mul(seconds) {
        Some(length @ 1..=315_360_000) => Ok(Duration::from_secs(length)),
        _ => Err(wrong()),
    }
}

fn describe_pause(pause: Pause, now: u64) -> String {
    let since = match pause.since {
        0 => String::new(),
        // It is not shortened: the clock could just as well be behind now.
        since if since > now => " while the clock was ahead".to_owned(),
        since => format!(" since {}", rfc3339(since)),
    };
    let until = pause
        .until
        .map(|until| format!(" until {}", rfc3339(until)));
    format!("paused by staff{since}{}", until.unwrap_or_default())
}

/// Read-only access to Portainer. It is tried once: if it is not reachable, every stack would wait for the same time limit.
struct Inspector {
    portainer: Portainer,
    redactor: Redactor,
    timeout: Duration,
    unreachable: Option<String>,
}

impl Inspector {
    fn new(config: &Config) -> Result<Inspector, CommandError> {
        let (portainer, timeout) = connect(config, Arc::new(SystemClock))?;
        let redactor = Redactor::new(config.secrets());
        let unreachable = portainer.version().err();
        let unreachable = unreachable.map(|error| redactor.show(&error.to_string()));
        Ok(Inspector {
            portainer,
            redactor,
            timeout,
            unreachable,
        })
    }

    fn view(&self, store: &StackStore, stack: &Stack) -> Result<Assessment, String> {
        if let Some(message) = &self.unreachable {
            return Err(message.clone());
        }
        let context = Context {
            portainer: &self.portainer,
            clock: &SystemClock,
            observer: &Unobserved,
            memory: store,
            redactor: &self.redactor,
            timeout: self.timeout,
            patience: Duration::ZERO,
        };
        redeploy::assess(&context, stack, Depth::Containers).map_err(|report| report.message)
    }
}

/// The state of a stack, from the state directory and Portainer.
struct StackStatus<'a> {
    stack: &'a Stack,
    pause: Option<Pause>,
    record: StackRecord,
    view: Result<Assessment, String>,
    /// A redeploy runs or waits.
    is_updating: bool,
    deliveries: Vec<&'a Delivery>,
    /// The last failure, if nothing succeeded since.
    failure: Option<&'a StackFailure>,
}

impl<'a> StackStatus<'a> {
    fn new(
        stack: &'a Stack,
        store: &StackStore,
        ledger: &'a Ledger,
        inspector: &Inspector,
    ) -> StackStatus<'a> {
        let view = inspector.view(store, stack);
        let id = view.as_ref().ok().map(|view| view.id);
        let id = id.or_else(|| store.id_of(&stack.key).map(StackId));
        let is_of =
            |delivery: &&Delivery| delivery.parts.iter().any(|part| part.stack == stack.key);
        let deliveries: Vec<&Delivery> = ledger.history().filter(is_of).collect();
        let succeeded = deliveries.iter().filter_map(|delivery| {
            let mut reports = delivery.reports();
            let good = reports
                .any(|report| report.stack == stack.key.as_str() && report.outcome.is_good());
            delivery.ended.filter(|_| good)
        });
        let succeeded = succeeded.max();
        let failure = ledger.failures().find(|failure| failure.stack == stack.key);
        StackStatus {
            stack,
            pause: store.pause_of(&stack.key, SystemClock.unix()),
            record: id.map(|id| store.recall(id)).unwrap_or_default(),
            view,
            is_updating: !ledger.is_idle(&stack.key),
            failure: failure.filter(|failure| succeeded.is_none_or(|unix| unix < failure.unix)),
            deliveries: deliveries.into_iter().take(DELIVERIES_SHOWN).collect(),
        }
    }

    /// One word for the state of the stack.
    fn state(&self) -> &'static str {
        let services = self
            .view
            .as_ref()
            .ok()
            .and_then(|view| view.services.as_ref().ok());
        let is_healthy = services.map(|services| {
            services.iter().all(|running| {
                matches!(
                    json!(running.service.state).as_str(),
                    Some("healthy" | "running" | "completed")
                )
            })
        });
        match (self.is_updating, self.pause, self.failure, is_healthy) {
            (true, ..) => "updating",
            (_, Some(_), ..) => "paused",
            (_, _, Some(_), _) => "failed",
            (_, _, None, Some(true)) => "healthy",
            (_, _, None, Some(false)) => "unhealthy",
            (_, _, None, None) => "unknown",
        }
    }

    /// The services as in a reply, and why they are not known.
    fn services(&self) -> (Vec<Value>, Option<&str>) {
        match &self.view {
            Err(message) => (Vec::new(), Some(message)),
            Ok(view) => match &view.services {
                Err(message) => (Vec::new(), Some(message)),
                Ok(services) => {
                    let services = services.iter().map(|running| json!(running.service));
                    (services.collect(), None)
                }
            },
        }
    }

    fn to_json(&self) -> Value {
        let (services, error) = self.services();
        let blocked = self.record.blocked.iter().map(|(reference, blocked)| {
            json!({
                "image": reference.familiar(),
                "image_id": blocked.id,
                "since": rfc3339(blocked.unix),
            })
        });
        let deliveries = self.deliveries.iter().map(|delivery| {
            json!({
                "delivery": delivery.id.as_str(),
                "hook": delivery.hook,
                "event": delivery.event,
                "status": delivery.status().name(),
                "accepted": rfc3339(delivery.at),
                "ended": delivery.ended.map(rfc3339),
                "message": self.message_of(delivery),
            })
        });
        json!({
            "stack": self.stack.key.as_str(),
            "name": self.stack.name,
            "state": self.state(),
            "pause": self.pause.map(|pause| json!({
                "since": rfc3339(pause.since),
                "until": pause.until.map(rfc3339),
            })),
            "blocked": blocked.collect::<Vec<Value>>(),
            "services": services,
            "error": error,
            "failure": self.failure.map(|failure| json!({
                "ended": rfc3339(failure.unix),
                "message": failure.report.message,
            })),
            "deliveries": deliveries.collect::<Vec<Value>>(),
        })
    }

    fn to_text(&self) -> String {
        let mut text = format!("{}: {}\n", self.stack.name, self.state());
        let (services, error) = self.services();
        let rows: Vec<Vec<String>> = services.iter().map(service_row).collect();
        text.push_str(&columns(2, &rows));
        // Writing to a String cannot fail.
        if let Some(error) = error {
            let _ = writeln!(text, "  running images are not known: {error}");
        }
        if let Some(pause) = self.pause {
            let _ = writeln!(text, "  {}", describe_pause(pause, SystemClock.unix()));
        }
        for (reference, blocked) in &self.record.blocked {
            let _ = writeln!(
                text,
                "  blocked since {}: {} {}",
                rfc3339(blocked.unix),
                reference.familiar(),
                short(&blocked.id)
            );
        }
        if let Some(failure) = self.failure {
            let (ended, message) = (rfc3339(failure.unix), &failure.report.message);
            let _ = writeln!(text, "  last failure {ended}: {message}");
        }
        let rows: Vec<Vec<String>> = self
            .deliveries
            .iter()
            .map(|delivery| {
                vec![
                    rfc3339(delivery.at),
                    delivery.status().name().to_owned(),
                    delivery.hook.clone(),
                    delivery.id.as_str().to_owned(),
                    self.message_of(delivery).unwrap_or_default().to_owned(),
                ]
            })
            .collect();
        text.push_str(&columns(2, &rows));
        text
    }

    fn message_of<'d>(&self, delivery: &'d Delivery) -> Option<&'d str> {
        let mut reports = delivery.reports();
        let own = reports.find(|report| report.stack == self.stack.key.as_str());
        own.map(|report| report.message.as_str())
    }
}

fn service_row(service: &Value) -> Vec<String> {
    let text = |name: &str| {
        service
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    vec![
        text("service").to_owned(),
        text("image").to_owned(),
        short(text("image_id")).to_owned(),
        text("state").to_owned(),
    ]
}

/// The first twelve digits of an image id, as Docker shows them.
fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_length_of_a_pause() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            let length = parse_length(text).ok().map(|length| length.as_secs());
            assert_eq!(length, expected, "{text}");
        }
        check("90s", Some(90));
        check("30m", Some(1_800));
        check("30min", Some(1_800));
        check("2h", Some(7_200));
        check("3d", Some(259_200));
        for wrong in [
            "",
            "2",
            "h",
            "0h",
            "-2h",
            "2.5h",
            "2 h",
            "2w",
            "99999999999999999999d",
            "9999999d",
            "2é",
        ] {
            check(wrong, None);
        }
    }
}
