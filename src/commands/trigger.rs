//! `stackhook trigger`: the sender of a pipeline or a cron job. Signs a delivery, sends it to a running stackhook, follows it to its
//! end in short waits, because proxies cut long ones, and ends as it did.

use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::redeploy::{words, worst};
use super::{Exit, Stop, Voice, load};
use crate::cli;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Need, Surroundings, Trust};
use crate::fetch::{Error, Fetch, Method, Request};
use crate::hook::HookName;
use crate::limits;
use crate::secret::{Secret, random, to_hex};
use crate::stack::outcome::StackReport;
use crate::terminal::{self, Progress};

/// Sends one delivery a stack, and ends as the worst of them did.
pub(super) fn run(file: Option<&Path>, asked: cli::Trigger) -> Result<Exit, Stop> {
    let voice = if asked.quiet {
        Voice::Quiet
    } else {
        Voice::Command
    };
    let config = load(Need::Sender, file, voice)?.config;
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
        Surroundings::of_process()
            .text("STACKHOOK_URL")
            .map(str::to_owned)
    });
    let Some(url) = given.filter(|url| !url.is_empty()) else {
        return Err(Stop::Configuration(
            "where does stackhook run? set STACKHOOK_URL, or use --url".to_owned(),
        ));
    };
    let sender = Sender {
        fetch: Fetch::new(&Trust::PublicRoots).map_err(Stop::Failed)?,
        url: hook_url(&url).map_err(Stop::Configuration)?,
        secret,
        until: Instant::now() + limits::TRIGGER,
        progress: Progress::new(),
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
        sender.progress.show(String::new());
        exits.push(tell(&asked, stack.unwrap_or("the delivery"), end)?);
    }
    Ok(worst(exits.into_iter()))
}

/// Short enough for every proxy.
const WAIT: &str = "wait=20";

struct Sender<'a> {
    fetch: Fetch,
    url: String,
    secret: &'a Secret,
    until: Instant,
    progress: Progress,
}

/// What stackhook answered.
struct Said {
    status: u16,
    body: Value,
}

/// Why there is no answer of stackhook that says how it ended.
struct Trouble {
    exit: Exit,
    why: String,
}

impl Trouble {
    fn new(exit: Exit, why: impl Into<String>) -> Trouble {
        let why = why.into();
        Trouble { exit, why }
    }
}

/// What is to be made of one exchange.
enum Heard {
    Said(Said),
    /// Trying again may help.
    Again(Trouble),
    /// It does not.
    Over(Trouble),
}

impl Sender<'_> {
    /// The id and the time in the body make it safe to send it again: it runs once.
    fn post(&self, body: &[u8], prefer: &str) -> Result<Said, Trouble> {
        let signature = format!("sha256={}", to_hex(&self.secret.sign(&[body])));
        let headers = [
            ("X-Portainer-Signature", signature.as_str()),
            ("Prefer", prefer),
        ];
        let request = Request {
            headers: &headers,
            body: Some(("application/json", body)),
            answer_within: limits::TRIGGER_ANSWER,
            body_max: limits::TRIGGER_BODY,
            ..Request::new(Method::Post, &self.url)
        };
        self.until_said(&request, true)
    }

    fn follow(&self, mut said: Said) -> Result<Said, Trouble> {
        while said.status == 202 {
            if Instant::now() >= self.until {
                let why = "it has not ended yet; its status is still kept over there";
                return Err(Trouble::new(Exit::TryLater, why));
            }
            self.progress.show(steps(&said.body));
            let Some(path) = said.body.get("status_url").and_then(Value::as_str) else {
                return Err(Trouble::new(
                    Exit::TryLater,
                    "the reply names no status_url",
                ));
            };
            let url = beside(&self.url, path);
            let headers = [("Prefer", WAIT)];
            let request = Request {
                headers: &headers,
                answer_within: limits::TRIGGER_ANSWER,
                body_max: limits::TRIGGER_BODY,
                ..Request::new(Method::Get, &url)
            };
            said = self.until_said(&request, false)?;
        }
        Ok(said)
    }

    /// Tries again for a while what may be a restart of stackhook or of a proxy.
    fn until_said(&self, request: &Request<'_>, first: bool) -> Result<Said, Trouble> {
        let patience = Instant::now() + limits::TRIGGER_PATIENCE;
        loop {
            let trouble = match self.ask(request, first) {
                Heard::Said(said) => return Ok(said),
                Heard::Over(trouble) => return Err(trouble),
                Heard::Again(trouble) => trouble,
            };
            let now = Instant::now();
            if now >= patience || now >= self.until {
                return Err(trouble);
            }
            self.progress.show(format!("{}; trying again", trouble.why));
            SystemClock.sleep(limits::TRIGGER_PAUSE);
        }
    }

    fn ask(&self, request: &Request<'_>, first: bool) -> Heard {
        let answer = match self.fetch.exchange(request) {
            Ok(answer) => answer,
            Err(error) => {
                let trouble = Trouble::new(Exit::TryLater, format!("{}: {error}", self.url));
                // Nobody is waited for who was never there.
                let never_there = first && error.nothing_was_sent();
                return match (&error, never_there) {
                    (Error::Untrusted(_) | Error::Garbled(_), _) | (_, true) => {
                        Heard::Over(trouble)
                    }
                    _ => Heard::Again(trouble),
                };
            }
        };
        let status = answer.head.status;
        let ours = serde_json::from_slice::<Value>(&answer.body)
            .ok()
            .filter(is_ours);
        let unclear = |exit| {
            let why = format!(
                "{} answered {status}, but not in the words of stackhook; is the address right?",
                self.url
            );
            Trouble::new(exit, why)
        };
        match (status, ours) {
            (503, Some(body)) if body.get("status").is_none() => {
                let why = message(&body);
                Heard::Again(Trouble::new(Exit::TryLater, why))
            }
            (404, _) if !first => {
                let why = "this delivery is not known over there any more";
                Heard::Over(Trouble::new(Exit::TryLater, why))
            }
            (_, Some(body)) => Heard::Said(Said { status, body }),
            (502..=504, None) => Heard::Again(unclear(Exit::TryLater)),
            (500.., None) => Heard::Over(unclear(Exit::TryLater)),
            (_, None) => Heard::Over(unclear(Exit::Configuration)),
        }
    }
}

/// The three keys that every reply has.
fn is_ours(body: &Value) -> bool {
    body.get("success").is_some_and(Value::is_boolean)
        && body.get("message").is_some_and(Value::is_string)
        && body.get("update_result").is_some()
}

fn message(body: &Value) -> String {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let said = text("update_result").or(text("message"));
    said.unwrap_or_default().to_owned()
}

/// 200 and accepted: fine; 409 and 502: it ran and failed; other 5xx: later; the rest is a matter of the set-up.
fn exit(status: u16) -> Exit {
    match status {
        200 | 202 => Exit::Fine,
        409 | 502 => Exit::Failed,
        500.. => Exit::TryLater,
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
    if asked.json && (is_trouble || !asked.quiet) {
        terminal::print(&format!("{}\n", said.body))?;
    }
    if is_trouble {
        terminal::complain(&format!("{stack}: {}", message(&said.body)));
    }
    if !asked.json && !asked.quiet {
        let reports = said.body.get("stacks").and_then(Value::as_array);
        let reports = reports.into_iter().flatten();
        let mut reports = reports
            .filter_map(|one| serde_json::from_value::<StackReport>(one.clone()).ok())
            .peekable();
        if reports.peek().is_none() && !is_trouble {
            terminal::print(&format!("{stack}: {}\n", message(&said.body)))?;
        }
        for report in reports {
            terminal::print(&words(&report, is_trouble))?;
        }
    }
    Ok(exit)
}

/// `app-stack: pulling ghcr.io/acme/web:1`
fn steps(body: &Value) -> String {
    let text = |one: &Value, key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
    let stacks = body.get("stacks").and_then(Value::as_array);
    let step = |one: &Value| Some(format!("{}: {}", text(one, "name")?, text(one, "step")?));
    let steps: Vec<String> = stacks.into_iter().flatten().filter_map(step).collect();
    steps.join(", ")
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

/// The hook's address: as given, or where the given one has no path, that of the default hook.
fn hook_url(url: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        Err(format!(
            "the address of stackhook {why}: https://hooks.example.com"
        ))
    };
    let url = match url.contains("://") {
        true => url.to_owned(),
        false => format!("https://{url}"),
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return wrong("is no URL");
    };
    if !matches!(scheme, "http" | "https") {
        return wrong("must begin with http:// or https://");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || host.contains('@') {
        return wrong("must have a host, and no user in front of it");
    }
    match path {
        "" => Ok(format!("{scheme}://{host}/webhook/update/")),
        _ => Ok(url),
    }
}

/// A path on the same host.
fn beside(url: &str, path: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url
        .get(after_scheme..)
        .and_then(|rest| rest.find('/'))
        .map_or(url.len(), |at| after_scheme + at);
    format!("{}{path}", url.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_host_is_the_default_hook() {
        #[track_caller]
        fn check(given: &str, expected: Option<&str>) {
            assert_eq!(hook_url(given).ok().as_deref(), expected, "{given}");
        }
        let default = Some("https://hooks.example.com/webhook/update/");
        check("https://hooks.example.com", default);
        check("https://hooks.example.com/", default);
        check("hooks.example.com", default);
        check(
            "http://[::1]:8484",
            Some("http://[::1]:8484/webhook/update/"),
        );
        check(
            "https://example.com/hooks/webhook/update/app/",
            Some("https://example.com/hooks/webhook/update/app/"),
        );
        check("ftp://example.com", None);
        check("https://user:hush@example.com", None);
        check("https://", None);
    }

    #[test]
    fn the_status_is_asked_on_the_same_host() {
        let url = "https://example.com:8443/hooks/webhook/update/";
        assert_eq!(
            beside(url, "/hooks/webhook/deliveries/1/"),
            "https://example.com:8443/hooks/webhook/deliveries/1/"
        );
        assert_eq!(beside("http://example.com", "/a"), "http://example.com/a");
    }

    #[test]
    fn the_status_decides_the_exit_code() {
        for (status, expected) in [
            (200, Exit::Fine),
            (202, Exit::Fine),
            (409, Exit::Failed),
            (502, Exit::Failed),
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
