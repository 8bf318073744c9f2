//! Notices against a server that answers by script.

use serde_json::Value;

use super::*;
use crate::clock::skipping::SkippingClock;
use crate::delivery::ledger::report;
use crate::fetch::scripted::{Script, ScriptStep, json};
use crate::secret::{Secret, from_base64};
use crate::stack::StackKey;
use crate::stack::outcome::{ServiceReport, ServiceState, Stage};

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

fn ended(outcome: Outcome, message: &str) -> Finished {
    let key = StackKey::parse("app").unwrap();
    Finished {
        report: StackReport {
            environment: Some("local".to_owned()),
            ..report(&key, "app-stack", outcome, message.to_owned())
        },
        is_rollback: false,
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
        .requests()
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
fn the_notification_state_outlives_the_process_and_a_lost_notice_is_sent_next_time() {
    let store = StackStore::new(None).unwrap();
    let broken = Script::start((0..4).map(|_| json(500, "{}")).collect());
    let url = broken.url();
    messenger(&url, NotifyFormat::Json, None, &store).ended(&ended(Outcome::Failed, "one"));
    assert_eq!(
        broken.requests().len(),
        limits::NOTICE_PAUSES.len() + 1,
        "attempts are bounded"
    );
    let receiver = fine(10);
    let url = receiver.url();
    messenger(&url, NotifyFormat::Json, None, &store).ended(&ended(Outcome::Failed, "two"));
    messenger(&url, NotifyFormat::Json, None, &store).ended(&ended(Outcome::Failed, "three"));
    messenger(&url, NotifyFormat::Json, None, &store).ended(&ended(Outcome::Updated, "four"));
    let messages: Vec<Value> = receiver
        .requests()
        .iter()
        .map(|asked| body(asked)["data"]["message"].clone())
        .collect();
    assert_eq!(messages, ["two", "four"]);
}

#[test]
fn every_attempt_of_a_signed_notice_has_the_same_id_and_a_valid_signature() {
    let steps = vec![ScriptStep::Send(Vec::new()), json(503, "{}"), json(204, "")];
    let (receiver, store) = (Script::start(steps), StackStore::new(None).unwrap());
    let url = receiver.url();
    messenger(&url, NotifyFormat::Json, Some(SECRET), &store)
        .ended(&ended(Outcome::Failed, "web is unhealthy"));
    let asked = receiver.requests();
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
        // Computed again from the published description alone.
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
        let asked = receiver.requests();
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
fn a_receiver_that_never_answers_delays_no_redeploy() {
    let silent = Script::start(vec![ScriptStep::Silent]);
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
        notifier.ended(&ended(Outcome::Failed, "again").report, false);
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
    let mut updated = ended(Outcome::Updated, "wanted");
    updated.report.services = vec![ServiceReport {
        image_id: Some("sha256:2222222222222222".to_owned()),
        previous_image_id: Some("sha256:1111111111111111".to_owned()),
        ..ServiceReport::missing("web", "ghcr.io/acme/web:1")
    }];
    messenger.ended(&updated);
    let asked = receiver.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let body = body(&asked[0]);
    let text = text(&updated);
    assert!(text.contains("web: ghcr.io/acme/web:1 1111"), "{text}");
    assert!(text.contains(" → 2222"), "{text}");
    assert_eq!(
        (&body["type"], &body["title"]),
        (&"stack.updated".into(), &"app-stack: updated".into())
    );
    let link = "https://hooks.example.com/settings/webhooks/#stack-app";
    assert_eq!(body["url"], link);
    assert_eq!(code_block("a ``` b"), "```\na \u{27}\u{27}\u{27} b\n```");
    assert_eq!(inline("*x* @all"), " x  @\u{200b}all");
}

#[test]
fn titles_tell_rollbacks_and_restored_updates_from_plain_updates() {
    let restored = |outcome| {
        let mut report = ended(outcome, "x").report;
        report.stage = Some(Stage::RollBack);
        let mut service = ServiceReport::missing("web", "web:1");
        service.state = ServiceState::Healthy;
        report.services.push(service);
        report
    };
    let plain = |outcome| ended(outcome, "x").report;
    for (news, report, is_rollback, expected) in [
        (News::Failed, plain(Outcome::Failed), false, "update failed"),
        (
            News::Failed,
            plain(Outcome::Failed),
            true,
            "rollback failed",
        ),
        (
            News::Failed,
            restored(Outcome::Failed),
            false,
            "update failed, previous images restored",
        ),
        (
            News::Failed,
            plain(Outcome::Unknown),
            false,
            "result of the update unknown",
        ),
        (
            News::Failed,
            plain(Outcome::Unknown),
            true,
            "result of the rollback unknown",
        ),
        (
            News::Recovered,
            plain(Outcome::Unchanged),
            false,
            "healthy again",
        ),
        (
            News::Recovered,
            plain(Outcome::Updated),
            true,
            "rolled back, healthy again",
        ),
        (News::Updated, plain(Outcome::Updated), false, "updated"),
        (News::Updated, plain(Outcome::Updated), true, "rolled back"),
    ] {
        let finished = Finished {
            report,
            is_rollback,
        };
        assert_eq!(news.title(&finished), format!("app-stack: {expected}"));
    }
    let finished = Finished {
        report: plain(Outcome::Updated),
        is_rollback: true,
    };
    assert_eq!(text(&finished), "app-stack on local: rolled back: x");
}

#[test]
fn foreign_text_is_escaped_for_every_format() {
    // Everything that a stack's name or a message could contain: mentions, links, formatting, code fences, line and header breaks.
    const HOSTILE: &str =
        "<!channel> @everyone [a](https://evil.example) *b* `c` ```d``` <@U1>\r\nX-Evil: 1\n# e ä";
    let sent = |format| {
        let (receiver, store) = (fine(1), StackStore::new(None).unwrap());
        let url = receiver.url();
        let mut finished = ended(Outcome::Failed, HOSTILE);
        finished.report.name = HOSTILE.to_owned();
        messenger(&url, format, None, &store).ended(&finished);
        receiver.requests()[0].clone()
    };
    let slack = body(&sent(NotifyFormat::Slack));
    let slack = slack["text"].as_str().unwrap();
    assert!(!slack.contains(['<', '>']), "{slack}");
    let discord = body(&sent(NotifyFormat::Discord));
    assert_eq!(
        discord["allowed_mentions"],
        serde_json::json!({"parse": []})
    );
    for text in [slack, discord["content"].as_str().unwrap()] {
        let (title, block) = text.split_once("\n```\n").unwrap();
        assert!(
            !title
                .trim_matches('*')
                .contains(['*', '`', '[', ']', '_', '\n', '\r']),
            "{title}"
        );
        assert!(!title.contains("@e"), "{title}");
        assert_eq!(
            block.matches('`').count(),
            3,
            "the block is left only at its end: {block}"
        );
    }
    let ntfy = sent(NotifyFormat::Ntfy);
    let (head, _) = ntfy.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("X-Evil"), "{head}");
    let title = header(&ntfy, "title").unwrap();
    let coded = title
        .strip_prefix("=?UTF-8?B?")
        .unwrap()
        .strip_suffix("?=")
        .unwrap();
    let title = String::from_utf8(from_base64(coded).unwrap()).unwrap();
    assert_eq!(title, format!("{HOSTILE}: update failed"));
    for format in [
        NotifyFormat::Json,
        NotifyFormat::Gotify,
        NotifyFormat::Apprise,
    ] {
        let body = body(&sent(format));
        assert_eq!(body["title"], format!("{HOSTILE}: update failed"));
    }
    assert_eq!(body(&sent(NotifyFormat::Apprise))["format"], "text");
}

#[test]
fn each_receiver_has_its_own_notification_state() {
    let store = StackStore::new(None).unwrap();
    let broken = Script::start((0..8).map(|_| json(500, "{}")).collect());
    let receiver = fine(2);
    let of = |index: usize, url: &str| Messenger {
        index,
        ..messenger(url, NotifyFormat::Json, None, &store)
    };
    let (first, second) = (of(0, &receiver.url()), of(1, &broken.url()));
    for messenger in [&first, &second, &first] {
        messenger.ended(&ended(Outcome::Failed, "web is unhealthy"));
    }
    let states = Value::Object(store.notified_states());
    assert_eq!(states, serde_json::json!({"app": true}));
    assert_eq!(receiver.requests().len(), 1, "sent once");
}

#[test]
fn a_finished_redeploy_is_queued_for_every_receiver() {
    let (queues, waiting): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::sync_channel(1)).unzip();
    let report = ended(Outcome::Updated, "over").report;
    Notifier(queues).ended(&report, true);
    for queue in waiting {
        let finished = queue.try_recv().unwrap();
        assert_eq!(
            (finished.report, finished.is_rollback),
            (report.clone(), true)
        );
    }
}
