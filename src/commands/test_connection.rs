//! `stackhook test-connection`: everything that can go wrong before the first delivery, found out without changing anything.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::table::columns;
use super::{Exit, Stop, Voice, connect, load, worst};
use crate::clock::SystemClock;
use crate::config::{self, Config, ConfigScope, Trust};
use crate::portainer::{Environment, Error, Kind, Me, Origin, Record, Status};
use crate::redact::Redactor;
use crate::redeploy::{self, Context, Unobserved};
use crate::scheduler::notify::Messenger;
use crate::secret::to_hex;
use crate::stack::Stack;
use crate::stack::outcome::{Fault, StackReport};
use crate::store::stacks::StackStore;
use crate::terminal;

/// Prints what is visible in Portainer, and for each configured stack how it would be redeployed.
pub(super) fn run(file: Option<&Path>, notify: bool, json: bool) -> Result<Exit, Stop> {
    let config = load(ConfigScope::Portainer, file, Voice::Command)?.config;
    let (portainer, timeout) = connect(&config, Arc::new(SystemClock))?;
    let report = Report { json };
    report.line(&address(&config))?;
    let version = portainer.version().map_err(stop)?;
    report.line(&format!("Version    {version}\n"))?;
    let me = portainer.me().map_err(stop)?;
    report.line(&format!("User       {}\n", who(me.as_ref())))?;
    let environments = portainer.environments().map_err(stop)?;
    let records = portainer.stacks().map_err(stop)?;
    report.line(&overview(&environments, &records))?;
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
    report.line("\nConfigured stacks\n")?;
    if config.stacks.is_empty() {
        report.line("  none; set PORTAINER_STACK_NAME to the name of one of the stacks above\n")?;
    }
    let (mut exits, mut checked) = (Vec::new(), Vec::new());
    for stack in &config.stacks {
        let (exit, value) = check(&report, &context, stack)?;
        exits.push(exit);
        checked.push(value);
    }
    let notices = notices(&report, &config, notify)?;
    let (exit, notices) = notices.unzip();
    exits.extend(exit);
    if json {
        let user = me.as_ref();
        let value = json!({
            "url": config.portainer.as_ref().map(|portainer| portainer.url.as_str()),
            "version": version.to_string(),
            "user": user.map(|me| me.name.as_str()),
            "administrator": user.map(|me| me.administrator),
            "environments": environments.iter().map(|environment| json!({
                "id": environment.id.to_string(), "name": environment.name,
            })).collect::<Vec<_>>(),
            "stacks": records.iter().map(|record| json!({
                "id": record.id.to_string(), "name": record.name, "environment": record.environment.to_string(),
                "kind": kind(record.kind), "status": status(record.status),
            })).collect::<Vec<_>>(),
            "configured": checked,
            "notify": notices,
        });
        terminal::print(&format!("{value}\n"))?;
    }
    Ok(worst(exits.into_iter()))
}

/// The lines for people, which are left out if JSON is wanted.
struct Report {
    json: bool,
}

impl Report {
    fn line(&self, text: &str) -> Result<(), Stop> {
        if !self.json {
            terminal::print(text)?;
        }
        Ok(())
    }
}

/// Checks the receiver of notices, with `notify` by a test notice; `None` if there is none.
fn notices(report: &Report, config: &Config, notify: bool) -> Result<Option<(Exit, Value)>, Stop> {
    let Some(settings) = config.notify.first() else {
        return match notify {
            true => Err(Stop::Configuration(
                "notifications are not configured: set STACKHOOK_NOTIFY_URL, or [notify] in the file"
                    .to_owned(),
            )),
            false => Ok(None),
        };
    };
    let format = settings.format.name();
    let store = StackStore::new(None).map_err(Stop::Configuration)?;
    let messenger = Messenger::new(settings, Arc::new(SystemClock), store).map_err(Stop::Failed)?;
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
        Ok(()) => (Exit::Fine, good),
        Err(_) => (Exit::Failed, bad),
    };
    report.line(&format!("\nNotices    format {format}; {text}\n"))?;
    if let Err(why) = &sent {
        terminal::complain(&format!("notices: {bad}: {why}"));
    }
    let value = json!({"format": format, "ok": sent.is_ok(), "message": text});
    Ok(Some((exit, value)))
}

fn check(report: &Report, context: &Context<'_>, stack: &Stack) -> Result<(Exit, Value), Stop> {
    let title = match stack.key.as_str() == stack.name {
        true => stack.name.clone(),
        false => format!("{} ({})", stack.key, stack.name),
    };
    let (key, name) = (stack.key.as_str(), stack.name.as_str());
    match redeploy::check(context, stack) {
        Ok(checked) => {
            let facts = checked.facts.iter().map(|fact| format!("    {fact}\n"));
            let doubts = checked
                .doubts
                .iter()
                .map(|doubt| format!("    but {doubt}\n"));
            let lines: String = facts.chain(doubts).collect();
            report.line(&format!("  {title}: ready\n{lines}"))?;
            let value = json!({
                "stack": key, "name": name, "ready": true,
                "facts": checked.facts.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "warnings": checked.doubts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            });
            Ok((Exit::Fine, value))
        }
        Err(failed) => {
            report.line(&format!("  {title}: not ready\n"))?;
            terminal::complain(&format!("{title}: {}", failed.message));
            let value =
                json!({"stack": key, "name": name, "ready": false, "message": failed.message});
            Ok((exit(&failed), value))
        }
    }
}

fn exit(report: &StackReport) -> Exit {
    match report.fault {
        Some(Fault::NotReached | Fault::NotWritten) => Exit::TryLater,
        Some(Fault::Refused) | None => Exit::Failed,
    }
}

/// How an error that ends everything ends the program.
fn stop(error: Error) -> Stop {
    let words = error.to_string();
    match error {
        Error::Unreachable(_) | Error::Busy(_) => Stop::TryLater(words),
        Error::Unusable(_) => Stop::Configuration(words),
        Error::Untrusted(_)
        | Error::Interrupted(_)
        | Error::Login(_)
        | Error::Denied(_)
        | Error::NotFound(_)
        | Error::Conflict(_)
        | Error::Refused(_)
        | Error::NotPortainer(_)
        | Error::Locked(_) => Stop::Failed(words),
    }
}

fn address(config: &Config) -> String {
    let Some(config::Portainer { url, trust, .. }) = &config.portainer else {
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

fn who(me: Option<&Me>) -> String {
    match me {
        Some(Me {
            name,
            administrator: true,
            ..
        }) => format!("{name}, an administrator"),
        Some(Me { name, .. }) => {
            format!("{name}, not an administrator: sees what is shared with this user")
        }
        None => "unknown: this release of Portainer does not tell".to_owned(),
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
        let found = environments.iter().find(|one| one.id == record.environment);
        found.map_or_else(
            || format!("{} (gone)", record.environment),
            |one| one.name.clone(),
        )
    };
    let mut rows = vec![heading(&["ID", "NAME"])];
    rows.extend(
        environments
            .iter()
            .map(|one| vec![one.id.to_string(), one.name.clone()]),
    );
    let environments = match rows.len() {
        1 => "  none can be seen by this user\n".to_owned(),
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
        1 => "  none can be seen by this user; in Portainer a stack is shared under its access control\n".to_owned(),
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

fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Inactive => "stopped",
        Status::Deploying => "deploying",
        Status::Error => "failed",
        Status::Unsaid => "unknown",
    }
}
