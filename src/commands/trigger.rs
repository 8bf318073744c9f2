//! `stackhook trigger`, for pipelines and cron: signs a delivery, sends it to a running stackhook and follows it to its end in short
//! waits, because proxies cut long ones.

mod address;
mod client;

use std::path::Path;
use std::time::Instant;

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::report::describe;
use super::{CommandError, Exit, Verbosity, load, worst};
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
use client::{TriggerClient, TriggerError, TriggerReply, WAIT};

/// Sends one delivery per stack. The worst result decides the exit code.
pub(super) fn run(file: Option<&Path>, args: cli::TriggerArgs) -> Result<Exit, CommandError> {
    let config = load(ConfigScope::Sender, file, Verbosity::of_output(args.output))?.config;
    let secret = config
        .hooks
        .iter()
        .find(|hook| hook.name.as_str() == HookName::DEFAULT)
        .and_then(|hook| hook.secrets.first());
    let Some(secret) = secret else {
        return Err(CommandError::Configuration(
            "the secret to sign with is missing: set PORTAINER_WEBHOOK_SECRET".to_owned(),
        ));
    };
    let given = args.url.clone().or_else(|| {
        ProcessEnv::of_process()
            .text("STACKHOOK_URL")
            .map(str::to_owned)
    });
    let Some(url) = given.filter(|url| !url.is_empty()) else {
        return Err(CommandError::Configuration(
            "the address of stackhook is missing: set STACKHOOK_URL, or use --url".to_owned(),
        ));
    };
    let client = TriggerClient {
        fetch: Fetch::new(&Trust::PublicRoots).map_err(CommandError::Failed)?,
        url: hook_url(&url).map_err(CommandError::Configuration)?,
        secret,
        until: Instant::now() + limits::TRIGGER,
    };
    // Of several, all are accepted before the first wait.
    let several = args.stacks.len() > 1;
    let prefer = match args.no_wait || several {
        true => "respond-async",
        false => WAIT,
    };
    let stacks: Vec<Option<&str>> = match args.stacks.is_empty() {
        true => vec![None],
        false => args
            .stacks
            .iter()
            .map(|stack| Some(stack.as_str()))
            .collect(),
    };
    let sent: Vec<_> = stacks
        .iter()
        .map(|stack| {
            let body =
                build_body(&args, *stack).map_err(|why| TriggerError::new(Exit::Failed, why))?;
            client.post(&body, prefer)
        })
        .collect();
    let mut exits = Vec::new();
    for (stack, sent) in stacks.iter().zip(sent) {
        let result = match sent {
            Ok(reply) if reply.status == 202 && !args.no_wait => client.follow(reply),
            sent => sent,
        };
        exits.push(print_result(
            &args,
            stack.unwrap_or("the delivery"),
            result,
        )?);
    }
    Ok(worst(exits.into_iter()))
}

/// The server does not reveal the reason to a client that it cannot authenticate.
const REJECTED: &str = "rejected (401): wrong secret, or the clocks differ by more than 5 minutes; the server's log says which";

/// Maps a status to an exit code: 409 and 502 mean that the redeploy ran and failed; time-outs, rate limits and other 5xx are temporary;
/// the rest is a matter of configuration.
fn exit_of_status(status: u16) -> Exit {
    match status {
        200 | 202 => Exit::Success,
        409 | 502 => Exit::Failed,
        408 | 429 | 500.. => Exit::Temporary,
        _ => Exit::Configuration,
    }
}

/// Prints the result of one delivery.
fn print_result(
    args: &cli::TriggerArgs,
    stack: &str,
    result: Result<TriggerReply, TriggerError>,
) -> Result<Exit, CommandError> {
    let reply = match result {
        Ok(reply) => reply,
        Err(error) => {
            terminal::print_error(&format!("{stack}: {}", error.why));
            return Ok(error.exit);
        }
    };
    let exit = exit_of_status(reply.status);
    let has_failed = exit != Exit::Success;
    if args.output.json && (has_failed || !args.output.quiet) {
        terminal::print(&format!("{}\n", escape_json(reply.body.to_string())))?;
    }
    if has_failed {
        let message = match reply.status {
            401 => REJECTED.to_owned(),
            _ => reply.message(),
        };
        terminal::print_error(&format!("{stack}: {message}"));
    }
    if !args.output.json && !args.output.quiet {
        let reports = reply.body.get("stacks").and_then(Value::as_array);
        let reports = reports.into_iter().flatten();
        let mut reports = reports
            .filter_map(|report| StackReport::deserialize(report).ok())
            .peekable();
        if reports.peek().is_none() && !has_failed {
            terminal::print(&format!("{stack}: {}\n", reply.message()))?;
        }
        for report in reports {
            terminal::print(&describe(&report, has_failed))?;
        }
    }
    Ok(exit)
}

fn build_body(args: &cli::TriggerArgs, stack: Option<&str>) -> Result<Vec<u8>, String> {
    let id = random::<16>().map_err(|why| format!("cannot generate an id: {why}"))?;
    let mut body = Map::new();
    body.insert("event".to_owned(), json!("stack_update"));
    body.insert("id".to_owned(), json!(to_hex(&id)));
    body.insert("time".to_owned(), json!(SystemClock.unix()));
    if let Some(stack) = stack {
        body.insert("stack".to_owned(), json!(stack));
    }
    if !args.images.is_empty() {
        let images: Vec<String> = args.images.iter().map(ToString::to_string).collect();
        body.insert("image".to_owned(), json!(images));
    }
    if !args.env.is_empty() {
        body.insert("env".to_owned(), json!(args.env));
    }
    if args.force {
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
            (200, Exit::Success),
            (202, Exit::Success),
            (409, Exit::Failed),
            (502, Exit::Failed),
            (408, Exit::Temporary),
            (429, Exit::Temporary),
            (503, Exit::Temporary),
            (504, Exit::Temporary),
            (400, Exit::Configuration),
            (401, Exit::Configuration),
            (404, Exit::Configuration),
        ] {
            assert_eq!(exit_of_status(status), expected, "{status}");
        }
    }
}
