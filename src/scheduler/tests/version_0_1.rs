//! A state directory of version 0.1: everything in it is used.

use super::*;
use crate::redeploy::record::Memory as _;
use crate::secret;

const SUCCEEDED: &str = "11111111111111111111111111111111";
const FAILED: &str = "22222222222222222222222222222222";
const RUNNING: &str = "33333333333333333333333333333333";
const WAITING: &str = "44444444444444444444444444444444";

const ORDER: &str =
    r#"{"images":"All","set":{},"force":false,"cause":"Asked","staff":false,"back":false}"#;
const SUCCESS: &str = r#"{"report":{"stack":"a","name":"a","environment":"local","outcome":"updated","verified":true,"message":"updated","seconds":1.9,"services":[{"service":"web","image":"web:1","new_image":true,"recreated":true,"state":"healthy"}]}}"#;
const FAILURE: &str = r#"{"report":{"stack":"a","name":"a","environment":"local","outcome":"failed","verified":true,"message":"web is unhealthy","seconds":3.1,"services":[]},"fault":"refused","logs":[{"service":"web","text":"starting"}]}"#;
const SUBMISSION: &str = r#"{"before":{"compose":{"containers":[{"exit_code":0,"health":"healthy","health_takes":{"nanos":600000000,"secs":90},"id":"7261","image_id":"sha256:01","reference":"web:1","restart_policy":"always","restarts":0,"service":"web","started_at":"2026-11-30T21:25:13.579Z","state":"running","waits_for":[]}],"date":1796073996}},"checkout":null,"environment":1,"expected":["web"],"forced":{},"has_way_back":true,"id":1,"images":{"web:1":"sha256:02"},"images_before":{"web:1":"sha256:01"},"project":"a","status":"active","update_date":1796073913,"variables_before":{},"way":"forward"}"#;

fn accepted_entry(id: &str, replay: &str, duplicate: &str) -> String {
    format!(
        r#"{{"accepted":{{"accepted":{{"id":"{id}","hook":"update","strict":true,"wait":{{"secs":600,"nanos":0}},"time":null,"orders":[{{"stack":"a","name":"a","order":{ORDER}}}],"replay":{replay},"duplicate":"{duplicate}","event":"stack_update"}},"unix":{NOW}}}}}"#
    )
}

/// A time at which the journal was written.
const NOW: u64 = 1_700_000_000;

/// The entries in the order in which version 0.1 writes them while it runs.
fn entries_while_running() -> Vec<String> {
    let pulling = r#"{"pulling":{"stack":"a","before":{"web:1":"sha256:01"}}}"#;
    let ended =
        |report: &str| format!(r#"{{"ended":{{"stack":"a","report":{report},"unix":{NOW}}}}}"#);
    let started = r#"{"started":"a"}"#.to_owned();
    vec![
        accepted_entry(SUCCEEDED, r#""eb075d04174e3c2f18e4f426fdd60cb7""#, "d1"),
        started.clone(),
        pulling.to_owned(),
        format!(r#"{{"submitting":{{"stack":"a","submission":{SUBMISSION}}}}}"#),
        r#"{"not_sent":"a"}"#.to_owned(),
        ended(SUCCESS),
        accepted_entry(FAILED, "null", "d2"),
        started.clone(),
        ended(FAILURE),
        accepted_entry(RUNNING, "null", "d3"),
        started,
        pulling.to_owned(),
        format!(r#"{{"submitting":{{"stack":"a","submission":{SUBMISSION}}}}}"#),
        accepted_entry(WAITING, "null", "d4"),
    ]
}

/// The entries for the same state after version 0.1 has rewritten its journal.
fn entries_after_a_rewrite() -> Vec<String> {
    let delivery = |id: &str, ended: &str, duplicate: &str, progress: &str| {
        format!(
            r#"{{"delivery":{{"id":"{id}","hook":"update","strict":true,"wait":{{"secs":600,"nanos":0}},"at":{NOW},"ended":{ended},"duplicate":"{duplicate}","event":"stack_update","parts":[{{"stack":"a","name":"a","progress":{progress}}}]}}}}"#
        )
    };
    let job = |id: &str| {
        format!(r#"{{"order":{ORDER},"deliveries":["{id}"],"setters":{{}},"joined":1}}"#)
    };
    let (running, waiting) = (job(RUNNING), job(WAITING));
    let now = NOW.to_string();
    vec![
        delivery(SUCCEEDED, &now, "d1", &format!(r#"{{"ended":{SUCCESS}}}"#)),
        delivery(FAILED, &now, "d2", &format!(r#"{{"ended":{FAILURE}}}"#)),
        delivery(RUNNING, "null", "d3", r#"{"running":"submitting"}"#),
        delivery(WAITING, "null", "d4", r#""waiting""#),
        format!(
            r#"{{"lane":{{"stack":"a","lane":{{"running":{{"job":{running},"before":{{"web:1":"sha256:01"}},"submission":{SUBMISSION}}},"waiting":{waiting}}}}}}}"#
        ),
        format!(
            r#"{{"replay":{{"print":"eb075d04174e3c2f18e4f426fdd60cb7","delivery":"{SUCCEEDED}","unix":{NOW}}}}}"#
        ),
        format!(r#"{{"failure":{{"stack":"a","unix":{NOW},"report":{FAILURE}}}}}"#),
    ]
}

fn journal_text(entries: &[String]) -> String {
    let lines = entries.iter().map(|entry| {
        let sum = secret::to_hex(&secret::sha256(&[entry.as_bytes()]));
        format!("{{\"sum\":\"{}\",\"entry\":{entry}}}\n", &sum[..8])
    });
    let lines: String = lines.collect();
    format!("{{\"journal\":\"stackhook\",\"version\":1}}\n{lines}")
}

fn id(text: &str) -> DeliveryId {
    DeliveryId::parse(text).unwrap()
}

fn print(text: &str) -> Option<Fingerprint> {
    Some(serde_json::from_value(Value::from(text)).unwrap())
}

#[test]
fn a_journal_of_version_0_1_is_used_completely() {
    for entries in [entries_while_running(), entries_after_a_rewrite()] {
        let stacks = [stack("a")];
        let dir = TempDir::new();
        fs::write(dir.path().join("journal"), journal_text(&entries)).unwrap();
        let (journal, read) = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
        assert_eq!(read.len(), entries.len(), "every entry is understood");
        assert!(!journal.is_behind(), "nothing is damaged");
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        let redeploy = move |task: &RedeployTask, _: &dyn Observer| {
            let attempt = (task.before.clone(), task.submission.clone());
            sender.lock().unwrap().send(attempt).unwrap();
            updated(&task.stack)
        };
        let clock = Arc::new(SkippingClock::new(Arc::default()));
        let persistence = persistence(None, Some((journal, read)));
        let (scheduler, _) = start(&stacks, clock, persistence, redeploy);
        // The running redeploy follows its submission, the waiting one starts afterwards.
        let (before, submission) = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(
            before,
            Images::from([(image("web:1"), Some("sha256:01".to_owned()))])
        );
        let submission: Submission = serde_json::from_value(submission.unwrap()).unwrap();
        assert_eq!(submission.direction, Direction::Update);
        assert!(submission.can_roll_back && submission.before.is_some());
        let attempt = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(attempt, (Images::new(), None));
        for (delivery, status) in [
            (SUCCEEDED, DeliveryStatus::Succeeded),
            (FAILED, DeliveryStatus::Failed),
            (RUNNING, DeliveryStatus::Succeeded),
            (WAITING, DeliveryStatus::Succeeded),
        ] {
            let end = scheduler.wait(&id(delivery), soon()).unwrap();
            assert_eq!(end.status(), status, "{delivery}");
        }
        let failures = scheduler.failures();
        let texts: Vec<_> = failures[0]
            .report
            .logs
            .iter()
            .map(|log| log.text.as_str())
            .collect();
        assert_eq!(texts, ["starting"]);
        assert_eq!(failures[0].report.fault, Some(Fault::Refused));
        // Replays and duplicates are recognised.
        let replay = Accepted {
            replay: print("eb075d04174e3c2f18e4f426fdd60cb7"),
            ..accepted(9, &stacks)
        };
        let ledger = &scheduler.lock().ledger;
        assert_eq!(
            ledger.recognize(&replay, NOW),
            Acceptance::Repeated(id(SUCCEEDED))
        );
        for (duplicate, expected) in [
            ("d1", Acceptance::Repeated(id(SUCCEEDED))),
            ("d2", Acceptance::New),
            ("d4", Acceptance::Repeated(id(WAITING))),
        ] {
            let accepted = Accepted {
                duplicate: print(duplicate),
                ..accepted(9, &stacks)
            };
            assert_eq!(ledger.recognize(&accepted, NOW), expected, "{duplicate}");
        }
    }
}

#[test]
fn pauses_blocked_images_and_notification_states_of_version_0_1_are_used() {
    let configured = [
        stack("a"),
        Stack {
            name: "a".to_owned(),
            ..stack("alias")
        },
    ];
    let dir = TempDir::new();
    fs::create_dir(dir.path().join("stacks")).unwrap();
    let record = format!(
        r#"{{"bad":["web"],"held":{{"web:1":{{"back_to":"sha256:01","id":"sha256:02","unix":{NOW}}}}},"previous":{{"web:1":"sha256:00"}},"previous_variables":{{"TAG":"1","NEW":null}},"replaced":["sha256:03"]}}"#
    );
    for (name, text) in [
        ("1.json", record.as_str()),
        ("1.paused", "1700000000\n"),
        ("told.json", "{\"a\":true,\"b\":false}\n"),
    ] {
        fs::write(dir.path().join("stacks").join(name), text).unwrap();
    }
    let store = StackStore::new(Some(dir.path()))
        .unwrap()
        .with_stacks(&configured);
    let record = store.recall(StackId(1));
    assert_eq!(record.blocked[&image("web:1")].id, "sha256:02");
    assert_eq!(record.previous[&image("web:1")], "sha256:00");
    assert_eq!(record.previous_variables["NEW"], None);
    assert!(record.bad.contains("web") && record.replaced.contains("sha256:03"));
    let states = Value::Object(store.notified_states());
    assert_eq!(states, serde_json::json!({"a": true, "b": false}));
    // A redeploy learns the number of its stack, and with it the pause, under either key.
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let redeploy = move |task: &RedeployTask, observer: &dyn Observer| {
        let since = observer.pause(Some(StackId(1))).map(|pause| pause.since);
        sender.lock().unwrap().send(since).unwrap();
        updated(&task.stack)
    };
    let scheduler = scheduler(&configured, Some(dir.path()), redeploy);
    for (number, stack) in (0..).zip(&configured) {
        let accepted = accepted(number, std::slice::from_ref(stack));
        scheduler.accept(accepted).unwrap();
        let since = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(since, Some(1_700_000_000), "{}", stack.key);
    }
    store.resume(&configured[1].key).unwrap();
    assert_eq!(store.pause_of(&configured[0].key, NOW), None);
}
