//! `stackhook test-connection`: checks everything that could make the first delivery fail, without changing anything.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::table::columns;
use super::{CommandError, Exit, Verbosity, connect, load, worst};
use crate::clock::SystemClock;
use crate::config::{self, Config, ConfigScope, Trust};
use crate::portainer::{Environment, Kind, Me, Origin, PortainerError, Record, StackStatus};
use crate::redact::Redactor;
use crate::redeploy::{self, Assessment, Context, Depth, Unobserved};
use crate::scheduler::notify::Messenger;
use crate::secret::to_hex;
use crate::stack::Stack;
use crate::stack::outcome::{Fault, StackReport};
use crate::store::stacks::StackStore;
use crate::terminal;

/// Prints what is visible in Portainer, and for each configured stack how it would be redeployed.
pub(super) fn run(file: Option<&Path>, notify: bool, json: bool) -> Result<Exit, CommandError> {
    let config = load(ConfigScope::Portainer, file, Verbosity::Command)?.config;
    let (portainer, timeout) = connect(&config, Arc::new(SystemClock))?;
    let output = TextOutput { is_off: json };
    output.line(&describe_address(&config))?;
    let version = portainer.version().map_err(command_error)?;
    output.line(&format!("Version    {version}\n"))?;
    let me = portainer.me().map_err(command_error)?;
    output.line(&format!("User       {}\n", describe_user(me.as_ref())))?;
    let environments = portainer.environments().map_err(command_error)?;
    let records = portainer.stacks().map_err(command_error)?;
    output.line(&overview(&environments, &records))?;
    let redactor = Redactor::new(config.secrets());
    let context = Context {
        portainer: &portainer,
        clock: &SystemClock,
        observer: &Unobserved,
        memory: &StackStore::read_only(None),
        redactor: &redactor,
        timeout,
        patience: Duration::ZERO,
    };
    output.line("\nConfigured stacks\n")?;
    if config.stacks.is_empty() {
        output.line("  none; set PORTAINER_STACK_NAME to the name of one of the stacks above\n")?;
    }
    let (mut exits, mut checked) = (Vec::new(), Vec::new());
    for stack in &config.stacks {
        let (exit, value) = check_stack(&output, &context, stack)?;
        exits.push(exit);
        checked.push(value);
    }
    if notify && config.notify.is_empty() {
        let text = "notifications are not configured; set STACKHOOK_NOTIFY_URL, or add [[notify]] to the file";
        return Err(CommandError::Configuration(text.to_owned()));
    }
    let mut receivers = Vec::new();
    for receiver in &config.notify {
        let (exit, value) = check_receiver(&output, receiver, notify)?;
        exits.push(exit);
        receivers.push(value);
    }
    if json {
        let user = me.as_ref();
        let value = json!({
            "url": config.portainer.as_ref().map(|portainer| portainer.url.as_str()),
            "version": version.to_string(),
            "user": user.map(|me| me.name.as_str()),
            "administrator": user.map(|me| me.administrator),
            "environments": environments.iter().map(|environment| json!({
                "id": environment.id.to_string(), "name": environment.name, "down": environment.is_down(),
            })).collect::<Vec<_>>(),
            "stacks": records.iter().map(|record| json!({
                "id": record.id.to_string(), "name": record.name, "environment": record.environment.to_string(),
                "kind": kind(record.kind), "status": status(record.status),
            })).collect::<Vec<_>>(),
            "configured": checked,
            "notify": receivers,
        });
        terminal::print(&format!("{value}\n"))?;
    }
    Ok(worst(exits.into_iter()))
}

/// The text output, which JSON replaces.
struct TextOutput {
    is_off: bool,
}

impl TextOutput {
    fn line(&self, text: &str) -> Result<(), CommandError> {
        if !self.is_off {
            terminal::print(text)?;
        }
        Ok(())
    }
}

/// Checks that a receiver of notices is reachable or, with `notify`, accepts a test notice.
fn check_receiver(
    output: &TextOutput,
    receiver: &config::Notify,
    notify: bool,
) -> Result<(Exit, Value), CommandError> {
    let format = receiver.format.name();
    let store = StackStore::new(None).map_err(CommandError::Configuration)?;
    let clock = Arc::new(SystemClock);
    let messenger = Messenger::new(receiver, clock, store).map_err(CommandError::Failed)?;
    let (sent, good, bad) = match notify {
        true => (
            messenger.test(),
            "the test notice was accepted",
            "the test notice was not accepted",
        ),
        false => (
            messenger.ping(),
            "the address answers; --notify sends a test notice",
            "the address does not answer",
        ),
    };
    let (exit, text) = match &sent {
        Ok(()) => (Exit::Success, good),
        Err(_) => (Exit::Failed, bad),
    };
    output.line(&format!("\nNotices    format {format}; {text}\n"))?;
    if let Err(why) = &sent {
        terminal::print_error(&format!("notices, format {format}: {bad}: {why}"));
    }
    let value = json!({"format": format, "ok": sent.is_ok(), "message": text});
    Ok((exit, value))
}

fn check_stack(
    output: &TextOutput,
    context: &Context<'_>,
    stack: &Stack,
) -> Result<(Exit, Value), CommandError> {
    let title = match stack.key.as_str() == stack.name {
        true => stack.name.clone(),
        false => format!("{} ({})", stack.key, stack.name),
    };
    let (key, name) = (stack.key.as_str(), stack.name.as_str());
    match readiness(redeploy::assess(context, stack, Depth::Origins)) {
        Ok((facts, warnings)) => {
            let lines = facts.iter().map(|fact| format!("    {fact}\n"));
            let warned = warnings
                .iter()
                .map(|warning| format!("    but {warning}\n"));
            let lines: String = lines.chain(warned).collect();
            output.line(&format!("  {title}: ready\n{lines}"))?;
            let value = json!({
                "stack": key, "name": name, "ready": true, "facts": facts, "warnings": warnings,
            });
            Ok((Exit::Success, value))
        }
        Err((exit, message)) => {
            output.line(&format!("  {title}: not ready\n"))?;
            terminal::print_error(&format!("{title}: {message}"));
            let value = json!({"stack": key, "name": name, "ready": false, "message": message});
            Ok((exit, value))
        }
    }
}

/// Facts and warnings about a stack that can be redeployed and verified, or the reason for which it cannot.
fn readiness(
    assessed: Result<Assessment, StackReport>,
) -> Result<(Vec<String>, Vec<String>), (Exit, String)> {
    let refused = |report: StackReport| (exit_of(&report), report.message);
    let assessment = assessed.map_err(refused)?;
    let facts = assessment.ready.map_err(refused)?;
    match assessment.services {
        Ok(_) => Ok((facts, assessment.warnings)),
        Err(why) => {
            let why = format!("{why}; without that no redeploy can be verified");
            Err((Exit::Failed, why))
        }
    }
}

fn exit_of(report: &StackReport) -> Exit {
    match report.fault {
        Some(Fault::NotReached | Fault::NotWritten) => Exit::Temporary,
        Some(Fault::Refused) | None => Exit::Failed,
    }
}

/// Maps an error that ends the command to its exit code.
fn command_error(error: PortainerError) -> CommandError {
    let text = error.to_string();
    match error {
        PortainerError::Unreachable(_) | PortainerError::Busy(_) => CommandError::Temporary(text),
        PortainerError::Unusable(_) => CommandError::Configuration(text),
        PortainerError::Untrusted(_)
        | PortainerError::Interrupted(_)
        | PortainerError::Login(_)
        | PortainerError::Denied(_)
        | PortainerError::NotFound(_)
        | PortainerError::Conflict(_)
        | PortainerError::Refused(_)
        | PortainerError::NotPortainer(_)
        | PortainerError::Locked(_) => CommandError::Failed(text),
    }
}

fn describe_address(config: &Config) -> String {
    let Some(config::PortainerSettings { url, trust, .. }) = &config.portainer else {
        return String::new();
    };
    let tls = match trust {
        _ if url.starts_with("http://") => {
            "none: anyone on the network path can read the credentials".to_owned()
        }
        Trust::PublicRoots => "by the public certificate authorities".to_owned(),
        Trust::Roots { file, .. } => format!("by the certificates in {}", file.display()),
        Trust::Certificate(digest) => {
            format!("only the certificate with SHA-256 {}", to_hex(digest))
        }
        Trust::Insecure => {
            "not at all (insecure): anyone on the network path can read and change everything"
                .to_owned()
        }
    };
    format!("Portainer  {url}\nTLS        {tls}\n")
}

fn describe_user(me: Option<&Me>) -> String {
    match me {
        Some(Me {
            name,
            administrator: true,
            ..
        }) => format!("{name}, an administrator"),
        Some(Me { name, .. }) => {
            format!("{name}, not an administrator: sees what is shared with this user")
        }
        None => "unknown: this release of Portainer does not report it".to_owned(),
    }
}

fn overview(environments: &[Environment], records: &[Record]) -> String {
    let heading = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let name_of = |record: &Record| {
        let found = environments
            .iter()
            .find(|environment| environment.id == record.environment);
        found.map_or_else(
            || format!("{} (gone)", record.environment),
            |environment| environment.name.clone(),
        )
    };
    let mut rows = vec![heading(&["ID", "NAME", "STATUS"])];
    rows.extend(environments.iter().map(|one| {
        let status = if one.is_down() { "down" } else { "up" };
        vec![one.id.to_string(), one.name.clone(), status.to_owned()]
    }));
    let environments = match rows.len() {
        1 => "  none is visible to this user\n".to_owned(),
        _ => columns(2, &rows),
    };
    let mut rows = vec![heading(&[
        "ID",
        "NAME",
        "ENVIRONMENT",
        "KIND",
        "FROM",
        "STATUS",
    ])];
    rows.extend(records.iter().map(|record| {
        let from = match record.origin() {
            Origin::File => "file",
            Origin::Git { .. } => "git",
        };
        let (kind, status) = (kind(record.kind), status(record.status));
        vec![
            record.id.to_string(),
            record.name.clone(),
            name_of(record),
            kind,
            from.to_owned(),
            status.to_owned(),
        ]
    }));
    let stacks = match rows.len() {
        1 => "  none is visible to this user; to share a stack, change its access control in Portainer\n".to_owned(),
        _ => columns(2, &rows),
    };
    format!("\nEnvironments\n{environments}\nStacks\n{stacks}")
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Compose => "compose".to_owned(),
        Kind::Swarm => "swarm".to_owned(),
        Kind::Kubernetes => "kubernetes".to_owned(),
        Kind::Other(number) => format!("type {number}"),
    }
}

fn status(status: StackStatus) -> &'static str {
    match status {
        StackStatus::Active => "active",
        StackStatus::Inactive => "stopped",
        StackStatus::Deploying => "deploying",
        StackStatus::Error => "failed",
        StackStatus::Unspecified => "unknown",
    }
}
