//! `stackhook sign`: the headers that authenticate a body, in curl's format, or the set-up text for the hook's sender.

use std::fmt::Display;
use std::fs::File;
use std::io::{ErrorKind, Read as _, stdin};
use std::path::Path;

use super::{CommandError, Exit, Verbosity, load, print};
use crate::cli;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, ConfigScope};
use crate::hook::{Hook, HookName, setup};
use crate::limits;
use crate::secret::{random, to_hex};
use crate::signature::{self, Proof};
use crate::terminal::print_error;
use crate::text::io_error_message;

/// Prints the header lines, or the set-up text of a hook.
pub(super) fn run(file: Option<&Path>, args: cli::SignArgs) -> Result<Exit, CommandError> {
    let config = load(ConfigScope::Sender, file, Verbosity::Quiet)?.config;
    let hook = find_hook(&config, args.hook.as_deref())?;
    if args.setup {
        let url = setup::url(&base_url(&config), hook);
        return print(&setup::format_text(&setup::describe(hook, &url)));
    }
    let Some(secret) = hook.secrets.first() else {
        return Err(CommandError::Configuration(format!(
            "hook {:?} has no secret",
            hook.name.as_str()
        )));
    };
    let scheme = match args.scheme {
        Some(name) => hook.sender.scheme(name),
        None => hook.scheme.clone(),
    };
    let body = read_body(args.body.as_deref())?;
    let id = random::<16>()
        .map_err(|why| CommandError::Failed(format!("cannot generate an id: {why}")))?;
    let id = to_hex(&id);
    match signature::sign(&scheme, secret, &body, &id, SystemClock.unix()) {
        Some(Proof::Headers(lines)) => {
            let lines = lines.iter().fold(String::new(), |text, (name, value)| {
                format!("{text}{name}: {value}\n")
            });
            print(&lines)
        }
        Some(Proof::InUrl) => Err(CommandError::Failed(
            "scheme url-token has no header: the secret is in the URL, as ?token=SECRET".to_owned(),
        )),
        None => Err(CommandError::Configuration(format!(
            "the secret of hook {:?} is not base64, so scheme {} cannot sign with it",
            hook.name.as_str(),
            scheme.name.name()
        ))),
    }
}

fn find_hook<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Hook, CommandError> {
    let name = name.unwrap_or(HookName::DEFAULT);
    config
        .hooks
        .iter()
        .find(|hook| hook.name.as_str() == name)
        .ok_or_else(|| {
            let names: Vec<&str> = config.hooks.iter().map(|hook| hook.name.as_str()).collect();
            let names = names.join(", ");
            CommandError::Usage(format!(
                "hook {name:?} is not configured; configured: {names}"
            ))
        })
}

/// The public address, or a placeholder: the address on which the server listens is useless to another system.
fn base_url(config: &Config) -> String {
    config.public_url.clone().unwrap_or_else(|| {
        print_error(
            "warning: public_url is not set, so the URL below has a placeholder; set public_url or STACKHOOK_PUBLIC_URL to the \
             address under which senders reach this server",
        );
        PLACEHOLDER.to_owned()
    })
}

const PLACEHOLDER: &str = "https://stackhook.example.com";

/// Reads the whole body. A signature of only a part would be rejected.
fn read_body(file: Option<&Path>) -> Result<Vec<u8>, CommandError> {
    let place = file.map_or_else(|| "stdin".to_owned(), |path| format!("{path:?}"));
    let cannot = |why: &dyn Display| CommandError::Failed(format!("cannot read {place}: {why}"));
    let most = u64::try_from(limits::BODY_MAX).unwrap_or(u64::MAX);
    let mut body = Vec::new();
    let read = match file {
        None => stdin().take(most.saturating_add(1)).read_to_end(&mut body),
        Some(path) => File::open(path)
            .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut body)),
    };
    match read {
        Ok(length) if length > limits::BODY_MAX => Err(cannot(&format!(
            "it is larger than {} MiB, which no hook accepts",
            limits::BODY_MAX / (1024 * 1024)
        ))),
        Ok(_) => Ok(body),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(cannot(&"there is no such file")),
        Err(error) => Err(cannot(&io_error_message(&error))),
    }
}
