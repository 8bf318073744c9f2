//! The client of a running stackhook: posts a delivery and polls its status, with retries.

use std::time::Instant;

use serde_json::Value;

use super::address::beside;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::Exit;
use crate::fetch::{Fetch, FetchError, Method, OutgoingRequest};
use crate::limits;
use crate::secret::{Secret, to_hex};
use crate::terminal::ProgressLine;

/// Short enough for every proxy.
pub(super) const WAIT: &str = "wait=20";

/// Sends deliveries to one hook. Progress is shown while it works and erased before results are printed.
pub(super) struct TriggerClient<'a> {
    pub(super) fetch: Fetch,
    /// The URL of the hook.
    pub(super) url: String,
    pub(super) secret: &'a Secret,
    /// Deadline of all waiting.
    pub(super) until: Instant,
}

/// A reply of stackhook.
pub(super) struct TriggerReply {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl TriggerReply {
    /// The result as text.
    pub(super) fn message(&self) -> String {
        message(&self.body)
    }
}

/// An error that prevents a conclusive reply.
pub(super) struct TriggerError {
    pub(super) exit: Exit,
    pub(super) why: String,
}

impl TriggerError {
    pub(super) fn new(exit: Exit, why: impl Into<String>) -> TriggerError {
        let why = why.into();
        TriggerError { exit, why }
    }
}

/// The result of one HTTP exchange.
enum ExchangeResult {
    Reply(TriggerReply),
    /// An error that may be temporary.
    Retry(TriggerError),
    /// An error that another attempt would not change.
    GiveUp(TriggerError),
}

fn outgoing(method: Method, url: &str, prefer: &str) -> OutgoingRequest {
    let mut request = OutgoingRequest::new(method, url);
    request.set_header("Prefer", prefer);
    request.answer_within = limits::TRIGGER_ANSWER;
    request.body_max = limits::TRIGGER_BODY;
    request
}

impl TriggerClient<'_> {
    /// Sends a body. Retries are safe, because the id and the time in the body make the delivery run only once.
    pub(super) fn post(&self, body: &[u8], prefer: &str) -> Result<TriggerReply, TriggerError> {
        let signature = format!("sha256={}", to_hex(&self.secret.sign(&[body])));
        let mut request = outgoing(Method::Post, &self.url, prefer);
        request.set_header("X-Portainer-Signature", &signature);
        request.body = Some(("application/json", body.to_vec()));
        self.request_with_retries(&request, true, &ProgressLine::new())
    }

    /// Polls the status until the delivery has ended.
    pub(super) fn follow(&self, mut reply: TriggerReply) -> Result<TriggerReply, TriggerError> {
        let progress = ProgressLine::new();
        while reply.status == 202 {
            if Instant::now() >= self.until {
                let why = "the delivery has not finished; the server still keeps its status";
                return Err(TriggerError::new(Exit::Temporary, why));
            }
            progress.show(steps(&reply.body));
            let Some(path) = reply.body.get("status_url").and_then(Value::as_str) else {
                return Err(TriggerError::new(
                    Exit::Temporary,
                    "the reply names no status_url",
                ));
            };
            let Some(url) = beside(&self.url, path) else {
                let why = format!("the reply's status_url {path:?} is not a path on the same host");
                return Err(TriggerError::new(Exit::Temporary, why));
            };
            let request = outgoing(Method::Get, &url, WAIT);
            reply = self.request_with_retries(&request, false, &progress)?;
        }
        Ok(reply)
    }

    /// Retries errors that a restart of stackhook or of a proxy may cause, for a limited time.
    fn request_with_retries(
        &self,
        request: &OutgoingRequest,
        first: bool,
        progress: &ProgressLine,
    ) -> Result<TriggerReply, TriggerError> {
        let patience = Instant::now() + limits::TRIGGER_PATIENCE;
        loop {
            let error = match self.exchange(request, first) {
                ExchangeResult::Reply(reply) => return Ok(reply),
                ExchangeResult::GiveUp(error) => return Err(error),
                ExchangeResult::Retry(error) => error,
            };
            let now = Instant::now();
            if now >= patience || now >= self.until {
                return Err(error);
            }
            progress.show(format!("{}; trying again", error.why));
            SystemClock.sleep(limits::TRIGGER_PAUSE);
        }
    }

    fn exchange(&self, request: &OutgoingRequest, first: bool) -> ExchangeResult {
        let answer = match self.fetch.exchange(request) {
            Ok(answer) => answer,
            Err(error) => {
                let failure = TriggerError::new(Exit::Temporary, format!("{}: {error}", self.url));
                // A server that was never reached is not waited for.
                let never_reached = first && error.nothing_was_sent();
                return match (&error, never_reached) {
                    (FetchError::Untrusted(_) | FetchError::Garbled(_), _) | (_, true) => {
                        ExchangeResult::GiveUp(failure)
                    }
                    _ => ExchangeResult::Retry(failure),
                };
            }
        };
        let status = answer.head.status;
        let ours = serde_json::from_slice::<Value>(&answer.body)
            .ok()
            .filter(is_ours);
        let unclear = |exit| {
            let why = format!(
                "{} responded with {status}, but not like stackhook; check the address",
                self.url
            );
            TriggerError::new(exit, why)
        };
        match (status, ours) {
            (503, Some(body)) if body.get("status").is_none() => {
                let why = message(&body);
                ExchangeResult::Retry(TriggerError::new(Exit::Temporary, why))
            }
            (404, _) if !first => {
                let why = "the server no longer knows this delivery";
                ExchangeResult::GiveUp(TriggerError::new(Exit::Temporary, why))
            }
            (_, Some(body)) => ExchangeResult::Reply(TriggerReply { status, body }),
            (408 | 429 | 502..=504, None) => ExchangeResult::Retry(unclear(Exit::Temporary)),
            (500.., None) => ExchangeResult::GiveUp(unclear(Exit::Temporary)),
            (_, None) => ExchangeResult::GiveUp(unclear(Exit::Configuration)),
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
    let message = text("update_result").or(text("message"));
    message.unwrap_or_default().to_owned()
}

/// `app-stack: pulling ghcr.io/acme/web:1`
fn steps(body: &Value) -> String {
    let text = |stack: &Value, key: &str| stack.get(key).and_then(Value::as_str).map(str::to_owned);
    let stacks = body.get("stacks").and_then(Value::as_array);
    let step = |stack: &Value| {
        Some(format!(
            "{}: {}",
            text(stack, "name")?,
            text(stack, "step")?
        ))
    };
    let steps: Vec<String> = stacks.into_iter().flatten().filter_map(step).collect();
    steps.join(", ")
}
