//! `stackhook trigger`: the sender of a pipeline or a cron job. Signs a delivery, sends it to a running stackhook, follows it to its
//! end in short waits, because proxies cut long ones, and ends as it did.

mod address;
mod sender;

use std::path::Path;
use std::time::Instant;

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::report::words;
use super::{Exit, Stop, Voice, load, worst};
use crate::cli;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{ConfigScope, ProcessEnv, Trust};
use crate::fetch::Fetch;
use crate::hook::HookName;
use crate::limits;
use crate::redact::escape_json;
use crate::secret::{random, to_hex};
use crate::stack::outcome::StackReport;
use crate::terminal;
use address::hook_url;
use sender::{Said, Sender, Trouble, WAIT};

/// Sends one delivery a stack, and ends as the worst of them did.
pub(super) fn run(file: Option<&Path>, asked: cli::Trigger) -> Result<Exit, Stop> {
    let config = load(ConfigScope::Sender, file, Voice::of(asked.output))?.config;
    let secret = config
        .hooks
        .iter()
        .find(|hook| hook.name.as_str() == HookName::DEFAULT)
        .and_then(|hook| hook.secrets.first());
    let Some(secret) = secret else {
        return Err(Stop::Configuration(
            "there is no secret to sign with: set PORTAINER_WEBHOOK_SECRET".to_owned(),
        ));
    };
    let given = asked.url.clone().or_else(|| {
        ProcessEnv::of_process()
            .text("STACKHOOK_URL")
            .map(str::to_owned)
    });
    let Some(url) = given.filter(|url| !url.is_empty()) else {
        return Err(Stop::Configuration(
            "the address of stackhook is missing: set STACKHOOK_URL, or use --url".to_owned(),
        ));
    };
    let sender = Sender {
        fetch: Fetch::new(&Trust::PublicRoots).map_err(Stop::Failed)?,
        url: hook_url(&url).map_err(Stop::Configuration)?,
        secret,
        until: Instant::now() + limits::TRIGGER,
    };
    // Several are all accepted before the first is waited for.
    let several = asked.stacks.len() > 1;
    let prefer = match asked.no_wait || several {
        true => "respond-async",
        false => WAIT,
    };
    let stacks: Vec<Option<&str>> = match asked.stacks.is_empty() {
        true => vec![None],
        false => asked
            .stacks
            .iter()
            .map(|stack| Some(stack.as_str()))
            .collect(),
    };
    let sent: Vec<_> = stacks
        .iter()
        .map(|stack| {
            let body = body(&asked, *stack).map_err(|why| Trouble::new(Exit::Failed, why))?;
            sender.post(&body, prefer)
        })
        .collect();
    let mut exits = Vec::new();
    for (stack, sent) in stacks.iter().zip(sent) {
        let end = match sent {
            Ok(said) if said.status == 202 && !asked.no_wait => sender.follow(said),
            sent => sent,
        };
        exits.push(tell(&asked, stack.unwrap_or("the delivery"), end)?);
    }
    Ok(worst(exits.into_iter()))
}

/// The server does not reveal the reason to a client that it cannot authenticate.
const REJECTED: &str = "rejected (401): wrong secret, or the clocks differ by more than 5 minutes; the server's log says which";

/// 200 and accepted: fine; 409 and 502: it ran and failed; too slow, too often, other 5xx: later; the rest is a matter of the set-up.
fn exit(status: u16) -> Exit {
    match status {
        200 | 202 => Exit::Fine,
        409 | 502 => Exit::Failed,
        408 | 429 | 500.. => Exit::TryLater,
        _ => Exit::Configuration,
    }
}

/// Says how one delivery ended.
fn tell(asked: &cli::Trigger, stack: &str, end: Result<Said, Trouble>) -> Result<Exit, Stop> {
    let said = match end {
        Ok(said) => said,
        Err(trouble) => {
            terminal::complain(&format!("{stack}: {}", trouble.why));
            return Ok(trouble.exit);
        }
    };
    let exit = exit(said.status);
    let is_trouble = exit != Exit::Fine;
    if asked.output.json && (is_trouble || !asked.output.quiet) {
        terminal::print(&format!("{}\n", escape_json(said.body.to_string())))?;
    }
    if is_trouble {
        let message = match said.status {
            401 => REJECTED.to_owned(),
            _ => said.message(),
        };
        terminal::complain(&format!("{stack}: {message}"));
    }
    if !asked.output.json && !asked.output.quiet {
        let reports = said.body.get("stacks").and_then(Value::as_array);
        let reports = reports.into_iter().flatten();
        let mut reports = reports
            .filter_map(|one| StackReport::deserialize(one).ok())
            .peekable();
        if reports.peek().is_none() && !is_trouble {
            terminal::print(&format!("{stack}: {}\n", said.message()))?;
        }
        for report in reports {
            terminal::print(&words(&report, is_trouble))?;
        }
    }
    Ok(exit)
}

fn body(asked: &cli::Trigger, stack: Option<&str>) -> Result<Vec<u8>, String> {
    let id = random::<16>().map_err(|why| format!("cannot make an id: {why}"))?;
    let mut body = Map::new();
    body.insert("event".to_owned(), json!("stack_update"));
    body.insert("id".to_owned(), json!(to_hex(&id)));
    body.insert("time".to_owned(), json!(SystemClock.unix()));
    if let Some(stack) = stack {
        body.insert("stack".to_owned(), json!(stack));
    }
    if !asked.images.is_empty() {
        let images: Vec<String> = asked.images.iter().map(ToString::to_string).collect();
        body.insert("image".to_owned(), json!(images));
    }
    if !asked.set.is_empty() {
        body.insert("env".to_owned(), json!(asked.set));
    }
    if asked.force {
        body.insert("force".to_owned(), json!(true));
    }
    serde_json::to_vec(&Value::Object(body)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides_the_exit_code() {
        for (status, expected) in [
            (200, Exit::Fine),
            (202, Exit::Fine),
            (409, Exit::Failed),
            (502, Exit::Failed),
            (408, Exit::TryLater),
            (429, Exit::TryLater),
            (503, Exit::TryLater),
            (504, Exit::TryLater),
            (400, Exit::Configuration),
            (401, Exit::Configuration),
            (404, Exit::Configuration),
        ] {
            assert_eq!(exit(status), expected, "{status}");
        }
    }
}
