//! Posts a delivery and asks how it stands, again and again where that may help.

use std::time::Instant;

use serde_json::Value;

use super::address::beside;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::Exit;
use crate::fetch::{Error, Fetch, Method, Request};
use crate::limits;
use crate::secret::{Secret, to_hex};
use crate::terminal::Progress;

/// Short enough for every proxy.
pub(super) const WAIT: &str = "wait=20";

/// Who posts and asks. What is going on is shown while it does so, and gone afterwards: the terminal is free for results.
pub(super) struct Sender<'a> {
    pub(super) fetch: Fetch,
    /// Of the hook.
    pub(super) url: String,
    pub(super) secret: &'a Secret,
    /// Nothing is followed for longer.
    pub(super) until: Instant,
}

/// What stackhook answered.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Said {
    /// What it says for a person.
    pub(super) fn message(&self) -> String {
        message(&self.body)
    }
}

/// Why there is no answer of stackhook that says how it ended.
pub(super) struct Trouble {
    pub(super) exit: Exit,
    pub(super) why: String,
}

impl Trouble {
    pub(super) fn new(exit: Exit, why: impl Into<String>) -> Trouble {
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
    pub(super) fn post(&self, body: &[u8], prefer: &str) -> Result<Said, Trouble> {
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
        self.until_said(&request, true, &Progress::new())
    }

    /// Asks how it stands until it has ended.
    pub(super) fn follow(&self, mut said: Said) -> Result<Said, Trouble> {
        let progress = Progress::new();
        while said.status == 202 {
            if Instant::now() >= self.until {
                let why = "it has not ended yet; its status is still kept over there";
                return Err(Trouble::new(Exit::TryLater, why));
            }
            progress.show(steps(&said.body));
            let Some(path) = said.body.get("status_url").and_then(Value::as_str) else {
                return Err(Trouble::new(
                    Exit::TryLater,
                    "the reply names no status_url",
                ));
            };
            let Some(url) = beside(&self.url, path) else {
                let why = format!("the reply's status_url {path:?} is not a path on the same host");
                return Err(Trouble::new(Exit::TryLater, why));
            };
            let headers = [("Prefer", WAIT)];
            let request = Request {
                headers: &headers,
                answer_within: limits::TRIGGER_ANSWER,
                body_max: limits::TRIGGER_BODY,
                ..Request::new(Method::Get, &url)
            };
            said = self.until_said(&request, false, &progress)?;
        }
        Ok(said)
    }

    /// Tries again for a while what may be a restart of stackhook or of a proxy.
    fn until_said(
        &self,
        request: &Request<'_>,
        first: bool,
        progress: &Progress,
    ) -> Result<Said, Trouble> {
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
            progress.show(format!("{}; trying again", trouble.why));
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
            (408 | 429 | 502..=504, None) => Heard::Again(unclear(Exit::TryLater)),
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

/// `app-stack: pulling ghcr.io/acme/web:1`
fn steps(body: &Value) -> String {
    let text = |one: &Value, key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
    let stacks = body.get("stacks").and_then(Value::as_array);
    let step = |one: &Value| Some(format!("{}: {}", text(one, "name")?, text(one, "step")?));
    let steps: Vec<String> = stacks.into_iter().flatten().filter_map(step).collect();
    steps.join(", ")
}
