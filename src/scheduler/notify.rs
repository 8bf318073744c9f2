//! Notices: one when a stack starts to fail, one when it is healthy again and, if configured, one for each update. Every receiver has
//! a thread of its own, so a slow or broken one delays neither redeploys nor other receivers.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use serde_json::{Value, json};

use crate::calendar::rfc3339;
use crate::clock::Clock;
use crate::config::{Notify, NotifyEvent, NotifyFormat, Trust};
use crate::fetch::{Fetch, Method, OutgoingRequest};
use crate::image::short_id;
use crate::limits;
use crate::redact::Redactor;
use crate::secret::{self, to_base64, to_hex};
use crate::stack::outcome::{Outcome, StackReport};
use crate::store::stacks::StackStore;

/// Queues finished redeploys for the threads of all receivers.
#[derive(Debug, Clone)]
pub(crate) struct Notifier(Vec<SyncSender<Finished>>);

/// A finished redeploy.
#[derive(Debug, Clone)]
struct Finished {
    report: StackReport,
    is_rollback: bool,
}

impl Notifier {
    /// Starts a thread for each receiver, so that a slow one does not delay the others.
    ///
    /// Errors: the system has no thread, or TLS cannot be used.
    pub(crate) fn start(
        receivers: &[Notify],
        public_url: Option<&str>,
        clock: &Arc<dyn Clock>,
        store: &StackStore,
    ) -> Result<Notifier, String> {
        let mut queues = Vec::new();
        for (index, settings) in receivers.iter().enumerate() {
            let messenger = Messenger {
                index,
                public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
                ..Messenger::new(settings, Arc::clone(clock), store.clone())?
            };
            let (queue, waiting) = mpsc::sync_channel(limits::NOTICES_WAITING);
            thread::Builder::new()
                .name("notify".to_owned())
                .spawn(move || messenger.run(&waiting))
                .map_err(|error| format!("cannot start the thread that sends notices: {error}"))?;
            queues.push(queue);
        }
        Ok(Notifier(queues))
    }

    /// Queues a finished redeploy. Returns at once.
    pub(crate) fn ended(&self, report: &StackReport, is_rollback: bool) {
        for queue in &self.0 {
            let finished = Finished {
                report: report.clone(),
                is_rollback,
            };
            if queue.try_send(finished).is_err() {
                log::error!(
                    stack = report.stack.as_str();
                    "too many notices are queued; none is sent about this redeploy"
                );
            }
        }
    }
}

/// The event that a message reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Failed,
    Recovered,
    Updated,
}

impl News {
    /// The event of an outcome; `None` if it is not worth a message.
    fn of(outcome: Outcome, was_failing: bool) -> Option<News> {
        match (outcome, was_failing) {
            (Outcome::Failed | Outcome::Unknown, false) => Some(News::Failed),
            (Outcome::Updated | Outcome::Unchanged, true) => Some(News::Recovered),
            (Outcome::Updated, false) => Some(News::Updated),
            (Outcome::Failed | Outcome::Unknown, true)
            | (Outcome::Unchanged, false)
            | (Outcome::Skipped, _) => None,
        }
    }

    fn event(self) -> NotifyEvent {
        match self {
            News::Failed => NotifyEvent::Failed,
            News::Recovered => NotifyEvent::Recovered,
            News::Updated => NotifyEvent::Updated,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            News::Failed => "stack.failed",
            News::Recovered => "stack.recovered",
            News::Updated => "stack.updated",
        }
    }

    fn title(self, finished: &Finished) -> String {
        let report = &finished.report;
        let action = match finished.is_rollback {
            true => "rollback",
            false => "update",
        };
        let words = match (self, report.outcome) {
            (News::Failed, Outcome::Unknown) => format!("result of the {action} unknown"),
            (News::Failed, _) if report.is_restored() => {
                format!("{action} failed, previous images restored")
            }
            (News::Failed, _) => format!("{action} failed"),
            (News::Recovered, _) if finished.is_rollback => "rolled back, healthy again".to_owned(),
            (News::Recovered, _) => "healthy again".to_owned(),
            (News::Updated, _) => report.word(finished.is_rollback).to_owned(),
        };
        format!("{}: {words}", report.name)
    }
}

/// A notice before it takes the form of its receiver.
struct Notice<'m> {
    kind: &'m str,
    title: &'m str,
    text: &'m str,
    /// The stack on the settings page.
    link: Option<&'m str>,
    data: &'m Value,
}

/// Sends the notices of one receiver.
pub(crate) struct Messenger {
    fetch: Fetch,
    settings: Notify,
    /// The position among the receivers.
    index: usize,
    /// Without a trailing slash.
    public_url: Option<String>,
    /// Hides the address, which counts as a secret.
    redactor: Redactor,
    clock: Arc<dyn Clock>,
    /// Keeps the last notification state of each stack.
    store: StackStore,
}

impl Messenger {
    /// Prepares a receiver; nothing is sent yet.
    ///
    /// Errors: TLS cannot be used.
    pub(crate) fn new(
        settings: &Notify,
        clock: Arc<dyn Clock>,
        store: StackStore,
    ) -> Result<Messenger, String> {
        let secrets = settings.secret.iter().chain([&settings.url]);
        Ok(Messenger {
            fetch: Fetch::new(&Trust::PublicRoots)?,
            settings: settings.clone(),
            index: 0,
            public_url: None,
            redactor: Redactor::new(secrets.map(|secret| secret.expose().to_owned())),
            clock,
            store,
        })
    }

    fn run(&self, waiting: &Receiver<Finished>) {
        while let Ok(finished) = waiting.recv() {
            self.ended(&finished);
        }
    }

    fn ended(&self, finished: &Finished) {
        let report = &finished.report;
        let stack = report.stack.as_str();
        // Each receiver has a state of its own; the first keeps the name that version 0.1 wrote.
        let state = match self.index {
            0 => stack.to_owned(),
            index => format!("{stack}#{index}"),
        };
        let was_failing = self.store.notified_states().get(&state) == Some(&Value::Bool(true));
        let Some(news) = News::of(report.outcome, was_failing) else {
            return;
        };
        let is_wanted = self.settings.on.contains(&news.event());
        if is_wanted && let Err(why) = self.send(news, finished) {
            // Not reported, so the next outcome of this kind is news again.
            log::error!(stack = stack, kind = news.kind(); "notice not sent: {why}");
            return;
        }
        if news != News::Updated
            && let Err(why) = self.store.set_notified(&state, news == News::Failed)
        {
            log::error!(stack = stack; "cannot save the notification state: {why}");
        }
        // Logged last: after this line, a restart does not send the notice again.
        if is_wanted {
            log::info!(stack = stack, kind = news.kind(); "notice sent");
        }
    }

    /// Checks that the receiver can be reached, without sending a notice.
    ///
    /// Errors: the receiver does not answer, or answers with a server error.
    pub(crate) fn ping(&self) -> Result<(), String> {
        self.fetched(OutgoingRequest::new(
            Method::Options,
            self.settings.url.expose(),
        ))
        .and_then(|status| match status {
            // Receivers answer OPTIONS differently; any answer proves the address.
            ..500 => Ok(()),
            _ => Err(format!("the receiver answered {status}")),
        })
    }

    /// Sends a test notice.
    ///
    /// Errors: the receiver cannot be reached or rejects the notice.
    pub(crate) fn test(&self) -> Result<(), String> {
        let text = "this is a test of stackhook's notices; nothing happened";
        let data = json!({"message": text});
        let notice = Notice {
            kind: "stack.test",
            title: "Test notice",
            text,
            link: None,
            data: &data,
        };
        self.post(&id()?, &notice)
    }

    /// Sends a notice, in a few attempts with pauses.
    fn send(&self, news: News, finished: &Finished) -> Result<(), String> {
        let report = &finished.report;
        let data = serde_json::to_value(report)
            .map_err(|error| format!("the report cannot be serialised: {error}"))?;
        let text = text(finished);
        // The same for every attempt, so that a receiver recognises a repeated notice.
        let id = id()?;
        let title = news.title(finished);
        let link = self.public_url.as_ref();
        let link = link.map(|url| format!("{url}/settings/webhooks/#stack-{}", report.stack));
        let notice = Notice {
            kind: news.kind(),
            title: &title,
            text: &text,
            link: link.as_deref(),
            data: &data,
        };
        let mut why = String::new();
        for pause in limits::NOTICE_PAUSES.map(Some).into_iter().chain([None]) {
            match self.post(&id, &notice) {
                Ok(()) => return Ok(()),
                Err(reason) => why = reason,
            }
            if let Some(pause) = pause {
                log::warn!(stack = report.stack.as_str(); "notice not sent, next attempt in {} s: {why}", pause.as_secs());
                self.clock.sleep(pause);
            }
        }
        Err(why)
    }

    fn post(&self, id: &str, notice: &Notice<'_>) -> Result<(), String> {
        let Notice {
            kind,
            title,
            text,
            link,
            data,
        } = *notice;
        let unix = self.clock.unix();
        let mut headers: Vec<(&str, String)> = Vec::new();
        let mut content = "application/json";
        let is_failure = kind == "stack.failed";
        let link_line = link.map_or_else(String::new, |link| format!("\n{link}"));
        let body = match self.settings.format {
            NotifyFormat::Json => {
                let body = json!({"type": kind, "timestamp": rfc3339(unix), "title": title, "url": link, "data": data});
                let body = body.to_string().into_bytes();
                headers = self.signed(id, unix, &body)?;
                body
            }
            NotifyFormat::Slack => {
                let (title, text) = (for_slack(&inline(title)), for_slack(&code_block(text)));
                let text = format!("*{title}*\n{text}{link_line}");
                json!({"text": text}).to_string().into_bytes()
            }
            NotifyFormat::Discord => json!({
                "content": format!("**{}**\n{}{link_line}", inline(title), code_block(text)),
                "allowed_mentions": {"parse": []},
            })
            .to_string()
            .into_bytes(),
            NotifyFormat::Ntfy => {
                let (priority, tag) = match is_failure {
                    true => ("high", "rotating_light"),
                    false => ("default", "white_check_mark"),
                };
                headers.push(("Title", encoded_word(title)));
                headers.push(("Priority", priority.to_owned()));
                headers.push(("Tags", tag.to_owned()));
                headers.extend(link.map(|link| ("Click", link.to_owned())));
                content = "text/plain; charset=utf-8";
                text.as_bytes().to_vec()
            }
            NotifyFormat::Gotify => {
                let priority = if is_failure { 8 } else { 4 };
                let mut body = json!({"title": title, "message": text, "priority": priority});
                if let (Some(link), Some(body)) = (link, body.as_object_mut()) {
                    let click = json!({"client::notification": {"click": {"url": link}}});
                    body.insert("extras".to_owned(), click);
                }
                body.to_string().into_bytes()
            }
            NotifyFormat::Apprise => {
                let kind = if is_failure { "failure" } else { "success" };
                json!({"title": title, "body": format!("{text}{link_line}"), "type": kind, "format": "text"})
                    .to_string()
                    .into_bytes()
            }
        };
        let mut request = OutgoingRequest::new(Method::Post, self.settings.url.expose());
        for (name, value) in &headers {
            request.set_header(name, value);
        }
        request.body = Some((content, body));
        match self.fetched(request)? {
            200..300 => Ok(()),
            status => Err(format!("the receiver answered {status}")),
        }
    }

    /// The status of the reply.
    fn fetched(&self, mut request: OutgoingRequest) -> Result<u16, String> {
        request.answer_within = limits::NOTICE;
        request.body_within = limits::NOTICE;
        request.body_max = limits::NOTICE_ANSWER;
        match self.fetch.exchange(&request) {
            Ok(answer) => Ok(answer.head.status),
            Err(error) => Err(self.redactor.show(&error.to_string())),
        }
    }

    /// The headers of Standard Webhooks; none without a secret.
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
            .ok_or("the secret is not valid base64")?;
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

/// The outcome in words, with the images from → to. Everything in it was redacted when the report was made.
fn text(finished: &Finished) -> String {
    let report = &finished.report;
    let place = match &report.environment {
        Some(environment) => format!("{} on {environment}", report.name),
        None => report.name.clone(),
    };
    let mut text = format!(
        "{place}: {}: {}",
        report.word(finished.is_rollback),
        report.message
    );
    for service in report.services.iter().take(CHANGES_SHOWN) {
        if let (Some(old), Some(new)) = (&service.previous_image_id, &service.image_id) {
            let (name, image) = (&service.service, &service.image);
            let (old, new) = (short_id(old), short_id(new));
            text.push_str(&format!("\n{name}: {image} {old} → {new}"));
        }
    }
    if let Some((end, _)) = text.char_indices().nth(limits::NOTICE_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// At most this many services are listed with their change.
const CHANGES_SHOWN: usize = 10;

/// Text that a chat shows unchanged: within a code block nothing is formatted, linked or mentioned.
fn code_block(text: &str) -> String {
    format!("```\n{}\n```", text.replace('`', "'"))
}

/// Removes formatting characters and mentions from a title.
fn inline(text: &str) -> String {
    text.replace(['*', '_', '~', '`', '|', '[', ']', '\n', '\r'], " ")
        .replace('@', "@\u{200b}")
}

/// Escapes the characters that begin and end links and mentions in Slack.
fn for_slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Encodes a header value that is not ASCII (RFC 2047).
fn encoded_word(text: &str) -> String {
    match text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => text.to_owned(),
        false => format!("=?UTF-8?B?{}?=", to_base64(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests;
