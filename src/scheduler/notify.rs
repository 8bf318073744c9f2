//! One message when a stack starts to fail and one when it is well again. Sent after the end by a thread of its own: whatever becomes
//! of a message, no outcome changes and no queue waits.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use serde_json::{Value, json};

use crate::clock::{Clock, rfc3339};
use crate::config::{Notify, NotifyFormat, Trust};
use crate::fetch::{Fetch, Method, Request};
use crate::limits;
use crate::redact::Redactor;
use crate::secret::{self, to_base64, to_hex};
use crate::stack::outcome::{Outcome, StackReport};
use crate::store::stacks::StackStore;

/// Takes ends in.
#[derive(Debug, Clone)]
pub(crate) struct Notifier(SyncSender<StackReport>);

impl Notifier {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says when it has no thread, or TLS cannot be used.
    pub(crate) fn start(
        settings: &Notify,
        clock: Arc<dyn Clock>,
        store: StackStore,
    ) -> Result<Notifier, String> {
        let sender = Messenger::new(settings, clock, store)?;
        let (ends, waiting) = mpsc::sync_channel(limits::NOTICES_WAITING);
        thread::Builder::new()
            .name("notify".to_owned())
            .spawn(move || sender.run(&waiting))
            .map_err(|error| format!("cannot start the thread that sends notices: {error}"))?;
        Ok(Notifier(ends))
    }

    /// A redeploy ended. Returns at once.
    pub(crate) fn ended(&self, report: &StackReport) {
        if self.0.try_send(report.clone()).is_err() {
            log::error!(
                stack = report.stack.as_str();
                "too many notices wait to be sent; none is sent about this end"
            );
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Failed,
    Recovered,
}

impl News {
    /// What an end means to somebody who knows how it stood; `None`: nothing new.
    fn of(outcome: Outcome, was_failing: bool) -> Option<News> {
        match (outcome, was_failing) {
            (Outcome::Failed | Outcome::Unknown, false) => Some(News::Failed),
            (Outcome::Updated | Outcome::Unchanged, true) => Some(News::Recovered),
            (Outcome::Failed | Outcome::Unknown, true)
            | (Outcome::Updated | Outcome::Unchanged, false)
            | (Outcome::Skipped, _) => None,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            News::Failed => "stack.failed",
            News::Recovered => "stack.recovered",
        }
    }

    fn title(self) -> &'static str {
        match self {
            News::Failed => "Stack update failed",
            News::Recovered => "Stack is well again",
        }
    }
}

/// Sends messages.
pub(crate) struct Messenger {
    fetch: Fetch,
    settings: Notify,
    /// Knows the address, which counts as a secret.
    redactor: Redactor,
    clock: Arc<dyn Clock>,
    /// Keeps what people were told.
    store: StackStore,
}

impl Messenger {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// TLS cannot be used.
    pub(crate) fn new(
        settings: &Notify,
        clock: Arc<dyn Clock>,
        store: StackStore,
    ) -> Result<Messenger, String> {
        let secrets = settings.secret.iter().chain([&settings.url]);
        Ok(Messenger {
            fetch: Fetch::new(&Trust::PublicRoots)?,
            settings: settings.clone(),
            redactor: Redactor::new(secrets.map(|secret| secret.expose().to_owned())),
            clock,
            store,
        })
    }

    fn run(&self, waiting: &Receiver<StackReport>) {
        while let Ok(report) = waiting.recv() {
            self.ended(&report);
        }
    }

    fn ended(&self, report: &StackReport) {
        let stack = report.stack.as_str();
        let was_failing = self.store.notified_states().get(stack) == Some(&Value::Bool(true));
        let Some(news) = News::of(report.outcome, was_failing) else {
            return;
        };
        match self.send(news, report) {
            Ok(()) => {
                if let Err(why) = self.store.set_notified(stack, news == News::Failed) {
                    log::error!(stack = stack; "what people were told is not kept: {why}");
                }
                log::info!(stack = stack, kind = news.kind(); "notice sent");
            }
            // Not told, so the next end of this kind is news again.
            Err(why) => log::error!(stack = stack, kind = news.kind(); "notice not sent: {why}"),
        }
    }

    /// Whether somebody answers at the address, found out without sending a message.
    ///
    /// # Errors
    /// Why nobody does.
    pub(crate) fn knock(&self) -> Result<(), String> {
        self.fetched(Request::new(Method::Options, self.settings.url.expose()))
            .and_then(|status| match status {
                // What receivers think of the question differs; that they answer is what counts.
                ..500 => Ok(()),
                _ => Err(format!("the receiver answered {status}")),
            })
    }

    /// A message that means nothing, to see whether it arrives.
    ///
    /// # Errors
    /// Why it did not.
    pub(crate) fn test(&self) -> Result<(), String> {
        let text = "this is a test of stackhook's notices; nothing happened";
        let data = json!({"message": text});
        self.post(&id()?, "stack.test", "Test notice", text, &data)
    }

    /// A few tries, with pauses.
    fn send(&self, news: News, report: &StackReport) -> Result<(), String> {
        let data = serde_json::to_value(report).unwrap_or_default();
        let text = text(report);
        // The same for every try, so that a receiver can tell that it already has the message.
        let id = id()?;
        let mut why = String::new();
        for pause in limits::NOTICE_PAUSES.map(Some).into_iter().chain([None]) {
            match self.post(&id, news.kind(), news.title(), &text, &data) {
                Ok(()) => return Ok(()),
                Err(reason) => why = reason,
            }
            if let Some(pause) = pause {
                log::warn!(stack = report.stack.as_str(); "notice not sent, tried again in {} s: {why}", pause.as_secs());
                self.clock.sleep(pause);
            }
        }
        Err(why)
    }

    fn post(
        &self,
        id: &str,
        kind: &str,
        title: &str,
        text: &str,
        data: &Value,
    ) -> Result<(), String> {
        let unix = self.clock.unix();
        let mut headers: Vec<(&str, String)> = Vec::new();
        let mut content = "application/json";
        let body = match self.settings.format {
            NotifyFormat::Json => {
                let body = json!({"type": kind, "timestamp": rfc3339(unix), "data": data});
                let body = body.to_string().into_bytes();
                headers = self.signed(id, unix, &body)?;
                body
            }
            NotifyFormat::Slack => json!({"text": format!("*{title}*\n{}", for_slack(text))})
                .to_string()
                .into_bytes(),
            NotifyFormat::Discord => json!({
                "content": format!("**{title}**\n{text}"),
                "allowed_mentions": {"parse": []},
            })
            .to_string()
            .into_bytes(),
            NotifyFormat::Ntfy => {
                let (priority, tag) = match kind {
                    "stack.failed" => ("high", "rotating_light"),
                    _ => ("default", "white_check_mark"),
                };
                headers.push(("Title", title.to_owned()));
                headers.push(("Priority", priority.to_owned()));
                headers.push(("Tags", tag.to_owned()));
                content = "text/plain; charset=utf-8";
                text.as_bytes().to_vec()
            }
            NotifyFormat::Gotify => {
                let priority = if kind == "stack.failed" { 8 } else { 4 };
                json!({"title": title, "message": text, "priority": priority})
                    .to_string()
                    .into_bytes()
            }
        };
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let request = Request {
            headers: &headers,
            body: Some((content, &body)),
            ..Request::new(Method::Post, self.settings.url.expose())
        };
        match self.fetched(request)? {
            200..300 => Ok(()),
            status => Err(format!("the receiver answered {status}")),
        }
    }

    /// The status of the answer, or why there is none.
    fn fetched(&self, request: Request<'_>) -> Result<u16, String> {
        let request = Request {
            answer_within: limits::NOTICE,
            body_within: limits::NOTICE,
            body_max: limits::NOTICE_ANSWER,
            ..request
        };
        match self.fetch.exchange(&request) {
            Ok(answer) => Ok(answer.head.status),
            Err(error) => Err(self.redactor.show(&error.to_string())),
        }
    }

    /// The headers of Standard Webhooks, where there is a secret.
    fn signed(
        &self,
        id: &str,
        unix: u64,
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>, String> {
        let Some(secret) = &self.settings.secret else {
            return Ok(Vec::new());
        };
        let time = unix.to_string();
        let signed: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let key = secret.decoded();
        let signature = key
            .map(|key| key.sign(&signed))
            .ok_or("the secret is no base64")?;
        let signature = format!("v1,{}", to_base64(&signature));
        Ok(vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", time),
            ("webhook-signature", signature),
        ])
    }
}

fn id() -> Result<String, String> {
    let random: [u8; 16] = secret::random().map_err(|error| error.to_string())?;
    Ok(format!("msg_{}", to_hex(&random)))
}

/// What happened, in words; everything in it went through the redactor when the report was made.
fn text(report: &StackReport) -> String {
    let place = match &report.environment {
        Some(environment) => format!("{} on {environment}", report.name),
        None => report.name.clone(),
    };
    let text = format!("{place}: {}: {}", report.outcome.name(), report.message);
    match text.char_indices().nth(limits::NOTICE_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Slack reads links and mentions between these signs.
fn for_slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
