//! Notices against a server that answers by script.

use serde_json::Value;

use super::*;
use crate::clock::skipping::SkippingClock;
use crate::delivery::ledger::report;
use crate::fetch::scripted::{Script, Step, json};
use crate::secret::{Secret, from_base64};
use crate::stack::StackKey;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

fn messenger(
    url: &str,
    format: NotifyFormat,
    secret: Option<&str>,
    store: &StackStore,
) -> Messenger {
    let settings = Notify {
        url: Secret::new(url).unwrap(),
        format,
        secret: secret.map(|secret| Secret::new(secret).unwrap()),
        on: vec![NotifyEvent::Failed, NotifyEvent::Recovered],
    };
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    Messenger::new(&settings, clock, store.clone()).unwrap()
}

fn ended(outcome: Outcome, message: &str) -> StackReport {
    let key = StackKey::parse("app").unwrap();
    StackReport {
        environment: Some("local".to_owned()),
        ..report(&key, "app-stack", outcome, message.to_owned())
    }
}

fn fine(count: usize) -> Script {
    Script::start((0..count).map(|_| json(200, "{}")).collect())
}

/// Head and JSON body of what was asked.
fn body(asked: &str) -> Value {
    serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn header<'a>(asked: &'a str, name: &str) -> Option<&'a str> {
    asked.lines().find_map(|line| {
        let (own, value) = line.split_once(": ")?;
        own.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[test]
fn one_notice_when_a_stack_starts_to_fail_and_one_when_it_recovers() {
    let (receiver, store) = (fine(10), StackStore::new(None).unwrap());
    let url = receiver.url();
    let messenger = messenger(&url, NotifyFormat::Json, None, &store);
    for outcome in [
        Outcome::Updated,
        Outcome::Failed,
        Outcome::Failed,
        Outcome::Unknown,
        Outcome::Skipped,
        Outcome::Unchanged,
        Outcome::Updated,
        Outcome::Unknown,
    ] {
        messenger.ended(&ended(outcome, "so it went"));
    }
    let said: Vec<String> = receiver
        .asked()
        .iter()
        .map(|asked| {
            let body = body(asked);
            format!(
                "{} {}",
                body["type"].as_str().unwrap(),
                body["data"]["outcome"]
            )
        })
        .collect();
    let expected = [
        "stack.failed \"failed\"",
        "stack.recovered \"unchanged\"",
        "stack.failed \"unknown\"",
    ];
    assert_eq!(said, expected);
}

#[test]
fn what_people_were_told_outlives_the_process_and_what_they_were_not_told_is_told_next_time() {
    let store = StackStore::new(None).unwrap();
    let deaf = Script::start((0..4).map(|_| json(500, "{}")).collect());
    let url = deaf.url();
    messenger(&url, NotifyFormat::Json, None, &store).ended(&ended(Outcome::Failed, "one"));
    assert_eq!(
        deaf.asked().len(),
        limits::NOTICE_PAUSES.len() + 1,
        "the tries are bounded"
    );
    let receiver = fine(10);
    let url = receiver.url();
    messenger(&url, NotifyFormat::Json, None, &store).ended(&ended(Outcome::Failed, "two"));
    messenger(&url, NotifyFormat::Json, None, &store).ended(&ended(Outcome::Failed, "three"));
    messenger(&url, NotifyFormat::Json, None, &store).ended(&ended(Outcome::Updated, "four"));
    let messages: Vec<Value> = receiver
        .asked()
        .iter()
        .map(|asked| body(asked)["data"]["message"].clone())
        .collect();
    assert_eq!(messages, ["two", "four"]);
}

#[test]
fn every_try_of_a_signed_notice_is_the_same_message_with_a_right_signature() {
    let steps = vec![Step::Say(Vec::new()), json(503, "{}"), json(204, "")];
    let (receiver, store) = (Script::start(steps), StackStore::new(None).unwrap());
    let url = receiver.url();
    messenger(&url, NotifyFormat::Json, Some(SECRET), &store)
        .ended(&ended(Outcome::Failed, "web is unhealthy"));
    let asked = receiver.asked();
    assert_eq!(asked.len(), 3);
    let ids: Vec<_> = asked
        .iter()
        .map(|asked| header(asked, "webhook-id").unwrap())
        .collect();
    assert!(
        ids.iter().all(|id| *id == ids[0] && id.starts_with("msg_")),
        "{ids:?}"
    );
    for asked in &asked {
        let (time, text) = (
            header(asked, "webhook-timestamp").unwrap(),
            asked.split_once("\r\n\r\n").unwrap().1,
        );
        // Reckoned anew, from the published description alone.
        let key = from_base64(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
        let key = Secret::new(String::from_utf8(key).unwrap()).unwrap();
        let signed = format!("{}.{time}.{text}", ids[0]);
        let expected = format!("v1,{}", to_base64(&key.sign(&[signed.as_bytes()])));
        assert_eq!(header(asked, "webhook-signature"), Some(expected.as_str()));
    }
    let data = &body(&asked[2])["data"];
    assert_eq!(
        (&data["stack"], &data["environment"]),
        (&"app".into(), &"local".into())
    );
}

#[test]
fn every_format_is_what_its_receiver_reads() {
    let hostile = "<!channel> @everyone & \"web\"";
    #[track_caller]
    fn asked(format: NotifyFormat, message: &str) -> String {
        let (receiver, store) = (fine(1), StackStore::new(None).unwrap());
        let url = receiver.url();
        messenger(&url, format, None, &store).ended(&ended(Outcome::Failed, message));
        let asked = receiver.asked();
        assert!(asked[0].starts_with("POST / HTTP/1.1\r\n"), "{}", asked[0]);
        asked[0].clone()
    }
    let slack = body(&asked(NotifyFormat::Slack, hostile));
    let text = slack["text"].as_str().unwrap();
    assert!(
        text.contains("app-stack on local: failed: &lt;!channel&gt;"),
        "{text}"
    );
    let discord = body(&asked(NotifyFormat::Discord, hostile));
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    assert!(
        discord["content"]
            .as_str()
            .unwrap()
            .contains("**app-stack: update failed**\n```\n")
    );
    let long = body(&asked(NotifyFormat::Discord, &"é".repeat(5000)));
    assert!(long["content"].as_str().unwrap().chars().count() <= 2000);
    let gotify = body(&asked(NotifyFormat::Gotify, hostile));
    assert_eq!(
        (&gotify["title"], &gotify["priority"]),
        (&"app-stack: update failed".into(), &8.into())
    );
    let ntfy = asked(NotifyFormat::Ntfy, hostile);
    assert_eq!(header(&ntfy, "title"), Some("app-stack: update failed"));
    assert_eq!(header(&ntfy, "priority"), Some("high"));
    assert!(
        ntfy.ends_with(&format!("app-stack on local: failed: {hostile}")),
        "{ntfy}"
    );
}

#[test]
fn a_receiver_that_never_answers_holds_up_nobody() {
    let silent = Script::start(vec![Step::Silent]);
    let settings = Notify {
        url: Secret::new(silent.url()).unwrap(),
        format: NotifyFormat::Json,
        secret: None,
        on: vec![NotifyEvent::Failed],
    };
    let clock: Arc<dyn Clock> = Arc::new(SkippingClock::new(Arc::default()));
    let store = StackStore::new(None).unwrap();
    let notifier = Notifier::start(&[settings], None, &clock, &store).unwrap();
    let began = std::time::Instant::now();
    for _ in 0..10 * limits::NOTICES_WAITING {
        notifier.ended(&ended(Outcome::Failed, "again"));
    }
    assert!(began.elapsed() < limits::NOTICE);
}

#[test]
fn reports_wanted_events_with_link_and_images() {
    let (receiver, store) = (fine(2), StackStore::new(None).unwrap());
    let url = receiver.url();
    let mut messenger = messenger(&url, NotifyFormat::Json, None, &store);
    messenger.public_url = Some("https://hooks.example.com".to_owned());
    messenger.settings.on = vec![NotifyEvent::Updated];
    messenger.ended(&ended(Outcome::Failed, "not wanted"));
    messenger.ended(&ended(Outcome::Updated, "a recovery, not wanted"));
    messenger.ended(&ended(Outcome::Updated, "wanted"));
    let asked = receiver.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let body = body(&asked[0]);
    assert_eq!(
        (&body["type"], &body["title"]),
        (&"stack.updated".into(), &"app-stack: updated".into())
    );
    let link = "https://hooks.example.com/settings/webhooks/#stack-app";
    assert_eq!(body["url"], link);
    assert_eq!(code_block("a ``` b"), "```\na \u{27}\u{27}\u{27} b\n```");
    assert_eq!(inline("*x* @all"), " x  @\u{200b}all");
}
