//! `stackhook sign`: the headers that prove a body to a hook, ready for curl, or the set-up text for the hook's sender.

use std::fmt::Display;
use std::fs::File;
use std::io::{ErrorKind, Read as _, stdin};
use std::path::Path;

use super::{Exit, Stop, Voice, load, print};
use crate::cli;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, ConfigScope};
use crate::hook::{Hook, HookName, setup};
use crate::limits;
use crate::secret::{random, to_hex};
use crate::signature::{self, Proof};
use crate::terminal::complain;
use crate::text::io_error_message;

/// Prints the header lines, or the set-up text of a hook.
pub(super) fn run(file: Option<&Path>, asked: cli::Sign) -> Result<Exit, Stop> {
    let config = load(ConfigScope::Sender, file, Voice::Quiet)?.config;
    let hook = hook(&config, asked.hook.as_deref())?;
    if asked.setup {
        let url = setup::url(&base_url(&config), hook);
        return print(&setup::format_text(&setup::describe(hook, &url)));
    }
    let Some(secret) = hook.secrets.first() else {
        return Err(Stop::Configuration(format!(
            "hook {:?} has no secret",
            hook.name.as_str()
        )));
    };
    let scheme = match asked.scheme {
        Some(name) => hook.sender.scheme(name),
        None => hook.scheme.clone(),
    };
    let body = read(asked.body.as_deref())?;
    let id = random::<16>().map_err(|why| Stop::Failed(format!("cannot make an id: {why}")))?;
    let id = to_hex(&id);
    match signature::sign(&scheme, secret, &body, &id, SystemClock.unix()) {
        Some(Proof::Headers(lines)) => {
            let lines = lines.iter().fold(String::new(), |text, (name, value)| {
                format!("{text}{name}: {value}\n")
            });
            print(&lines)
        }
        Some(Proof::InUrl) => Err(Stop::Failed(
            "scheme url-token has no header: the secret is in the URL, as ?token=SECRET".to_owned(),
        )),
        None => Err(Stop::Configuration(format!(
            "the secret of hook {:?} is not base64, so it cannot sign by scheme {}",
            hook.name.as_str(),
            scheme.name.name()
        ))),
    }
}

fn hook<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Hook, Stop> {
    let name = name.unwrap_or(HookName::DEFAULT);
    config
        .hooks
        .iter()
        .find(|hook| hook.name.as_str() == name)
        .ok_or_else(|| {
            let names: Vec<&str> = config.hooks.iter().map(|hook| hook.name.as_str()).collect();
            let names = names.join(", ");
            Stop::Usage(format!("there is no hook {name:?}; configured: {names}"))
        })
}

/// The address that senders reach, or a placeholder: the address that the server listens on is of no use to another system.
fn base_url(config: &Config) -> String {
    config.public_url.clone().unwrap_or_else(|| {
        complain(
            "warning: public_url is not set, so the URL below has a placeholder; set public_url or STACKHOOK_PUBLIC_URL to the \
             address under which senders reach this server",
        );
        PLACEHOLDER.to_owned()
    })
}

const PLACEHOLDER: &str = "https://stackhook.example.com";

/// Reads the whole body: the signature of a part of it would prove nothing.
fn read(file: Option<&Path>) -> Result<Vec<u8>, Stop> {
    let place = file.map_or_else(|| "stdin".to_owned(), |path| format!("{path:?}"));
    let cannot = |why: &dyn Display| Stop::Failed(format!("cannot read {place}: {why}"));
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
