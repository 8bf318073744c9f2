//! The scheduler, with redeploys that are closures.

mod history;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::clock::SystemClock;
use crate::clock::skipping::SkippingClock;
use crate::delivery::{Asked, Fingerprint, Status};
use crate::image::Reference;
use crate::limits;
use crate::portainer::{EnvironmentId, StackId};
use crate::redeploy::{Direction, Step, Submission};
use crate::stack::outcome::Outcome;
use crate::stack::{PullMode, RollBack};
use crate::store::lock::LockKey;
use crate::store::tests::TempDir;

/// With a journal in `dir`, or in memory. Begins at once.
fn scheduler(
    stacks: &[Stack],
    dir: Option<&Path>,
    redeploy: impl Fn(&Task, &dyn Observer) -> StackReport + Send + std::marker::Sync + 'static,
) -> Arc<Scheduler> {
    let lasting = Persistence {
        journal: dir.map(|dir| Journal::open(dir, 1, Duration::from_secs(20)).unwrap()),
        store: StackStore::new(dir).unwrap(),
        locks: LockManager::new(dir, "serve").unwrap(),
    };
    let scheduler = Scheduler::new(
        stacks,
        Arc::new(SystemClock),
        lasting,
        Observers::default(),
        Box::new(redeploy),
    )
    .unwrap();
    scheduler.begin();
    scheduler
}

fn stack(key: &str) -> Stack {
    Stack {
        key: StackKey::parse(key).unwrap(),
        name: key.to_owned(),
        environment: None,
        pull: PullMode::First,
        except: Vec::new(),
        env: Vec::new(),
        healthy_within: Duration::ZERO,
        rollback: RollBack::Never,
        cleanup: false,
    }
}

fn accepted(number: u16, stacks: &[Stack]) -> Accepted {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let asked = |stack: &Stack| Asked {
        stack: stack.key.clone(),
        name: stack.name.clone(),
        order: Order::default(),
    };
    Accepted {
        id: DeliveryId::new(id),
        hook: "update".to_owned(),
        strict: true,
        wait: Duration::ZERO,
        time: None,
        orders: stacks.iter().map(asked).collect(),
        replay: None,
        signed_at: None,
        duplicate: None,
        event: String::new(),
    }
}

fn updated(stack: &Stack) -> StackReport {
    StackReport {
        stack: stack.key.to_string(),
        name: stack.name.clone(),
        environment: None,
        outcome: Outcome::Updated,
        verified: Some(true),
        message: "1 of 1 services updated, all healthy".to_owned(),
        seconds: 1.0,
        services: Vec::new(),
        fault: None,
        stage: None,
        logs: Vec::new(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn covers_a_burst_with_two_redeploys_per_stack() {
    let stacks = [stack("a"), stack("b")];
    let runs = Arc::new(AtomicUsize::new(0));
    let (open, gate) = mpsc::channel::<()>();
    let (counter, gate) = (Arc::clone(&runs), Mutex::new(gate));
    let redeploy = move |task: &Task, _: &dyn Observer| {
        counter.fetch_add(1, Ordering::SeqCst);
        gate.lock().unwrap().recv().unwrap();
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, None, redeploy);
    for number in 0..100 {
        scheduler.accept(accepted(number, &stacks)).unwrap();
    }
    (0..4).for_each(|_| open.send(()).unwrap());
    for number in 0..100 {
        let delivery = scheduler.wait(&accepted(number, &[]).id, soon()).unwrap();
        assert_eq!(delivery.status(), Status::Succeeded);
    }
    assert!(runs.load(Ordering::SeqCst) <= 4);
    assert!(scheduler.stop(Duration::from_secs(20)));
    assert_eq!(
        scheduler.accept(accepted(101, &stacks)),
        Err(NotAccepted::Stopping)
    );
}

#[test]
fn stacks_are_redeployed_side_by_side() {
    let stacks = [stack("a"), stack("b"), stack("c")];
    let all_there = std::sync::Barrier::new(stacks.len());
    let redeploy = move |task: &Task, _: &dyn Observer| {
        all_there.wait();
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, None, redeploy);
    scheduler.accept(accepted(0, &stacks)).unwrap();
    let delivery = scheduler.wait(&accepted(0, &[]).id, soon()).unwrap();
    assert_eq!(delivery.status(), Status::Succeeded);
}

#[test]
fn a_panic_is_an_unknown_end_and_the_next_redeploy_runs() {
    let stacks = [stack("a")];
    let first = AtomicUsize::new(0);
    let redeploy = move |task: &Task, _: &dyn Observer| match first.fetch_add(1, Ordering::SeqCst) {
        0 => panic!("planted"),
        _ => updated(&task.stack),
    };
    let scheduler = scheduler(&stacks, None, redeploy);
    scheduler.accept(accepted(0, &stacks)).unwrap();
    assert_eq!(
        scheduler
            .wait(&accepted(0, &[]).id, soon())
            .unwrap()
            .status(),
        Status::Unknown
    );
    scheduler.accept(accepted(1, &stacks)).unwrap();
    assert_eq!(
        scheduler
            .wait(&accepted(1, &[]).id, soon())
            .unwrap()
            .status(),
        Status::Succeeded
    );
}

#[test]
fn one_hook_fills_half_of_the_table_and_a_wait_ends_in_time() {
    let stacks = [stack("a")];
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let redeploy = move |task: &Task, observer: &dyn Observer| {
        observer.step(&Step::Finding);
        gate.lock().unwrap().recv().unwrap_or_default();
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, None, redeploy);
    let half = u16::try_from(limits::OPEN_DELIVERIES / 2).unwrap();
    for number in 0..half {
        scheduler.accept(accepted(number, &stacks)).unwrap();
    }
    assert_eq!(
        scheduler.accept(accepted(5000, &stacks)),
        Err(NotAccepted::Full)
    );
    let of_hook = |number: u16, hook: &str| Accepted {
        hook: hook.to_owned(),
        ..accepted(number, &stacks)
    };
    for number in half..2 * half {
        scheduler.accept(of_hook(number, "other")).unwrap();
    }
    assert_eq!(
        scheduler.accept(of_hook(5001, "third")),
        Err(NotAccepted::Full),
        "the whole table is full"
    );
    let open_still = scheduler
        .wait(
            &accepted(0, &[]).id,
            Instant::now() + Duration::from_millis(5),
        )
        .unwrap();
    assert!(!open_still.has_ended());
    assert!(scheduler.wait(&accepted(5000, &[]).id, soon()).is_none());
    drop(open);
    assert!(
        scheduler
            .wait(&accepted(4095, &[]).id, soon())
            .unwrap()
            .has_ended()
    );
}

fn submission() -> Submission {
    Submission {
        id: StackId(7),
        environment: EnvironmentId(1),
        project: "a".to_owned(),
        direction: Direction::Update,
        can_roll_back: true,
        update_date: 1,
        status: None,
        before: None,
        expected: Default::default(),
        images_before: Images::new(),
        images: Default::default(),
        forced: Default::default(),
        checkout: None,
        variables_before: Default::default(),
        roles: Default::default(),
        blame: Default::default(),
    }
}

fn image(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// What a server killed at this moment would leave behind.
fn copy(from: &Path) -> TempDir {
    let to = TempDir::new();
    fs::copy(from.join("journal"), to.path().join("journal")).unwrap();
    to
}

#[test]
fn resumes_after_a_crash_at_every_point() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let (left, crashes) = mpsc::channel();
    let left = Mutex::new(left);
    let path = dir.path().to_owned();
    let redeploy = move |task: &Task, observer: &dyn Observer| {
        let crash = || left.lock().unwrap().send(copy(&path)).unwrap();
        crash();
        let images = |id: &str| Images::from([(image("web:1"), Some(id.to_owned()))]);
        observer.pulling(&images("old")).unwrap();
        // Somebody edited the stack meanwhile, so it begins again and sees what it pulled itself.
        observer.pulling(&images("new")).unwrap();
        crash();
        observer.submitting(&submission()).unwrap();
        crash();
        observer.not_sent();
        observer.pulling(&images("newer")).unwrap();
        crash();
        updated(&task.stack)
    };
    let first = scheduler(&stacks, Some(dir.path()), redeploy);
    assert_eq!(first.accept(accepted(0, &stacks)), Ok(Taken::New));
    assert_eq!(
        first.wait(&accepted(0, &[]).id, soon()).unwrap().status(),
        Status::Succeeded
    );
    let old = Images::from([(image("web:1"), Some("old".to_owned()))]);
    let sent = serde_json::to_value(submission()).unwrap();
    for (before, submission) in [
        (Images::new(), None),
        (old.clone(), None),
        (old.clone(), Some(sent)),
        (old, None),
    ] {
        let crashed = crashes.recv().unwrap();
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let again = scheduler(&stacks, Some(crashed.path()), move |task, observer| {
            let seen = (task.before.clone(), task.submission.clone());
            assert_eq!(observer.earlier(), task.before);
            tell.lock().unwrap().send(seen).unwrap();
            updated(&task.stack)
        });
        let end = again.wait(&accepted(0, &[]).id, soon()).unwrap();
        assert_eq!(end.status(), Status::Succeeded);
        assert_eq!(told.recv().unwrap(), (before, submission));
        assert!(told.try_recv().is_err(), "it ran once");
        assert!(again.stop(Duration::ZERO));
    }
    // And what ended before the crash is not taken up at all.
    let ended = copy(dir.path());
    let idle = scheduler(&stacks, Some(ended.path()), |_, _| {
        panic!("nothing is open")
    });
    assert_eq!(
        idle.find(&accepted(0, &[]).id).unwrap().status(),
        Status::Succeeded
    );
}

#[test]
fn every_beginning_of_a_journal_is_a_state_that_holds() {
    let stacks = [stack("a"), stack("b")];
    let dir = TempDir::new();
    let redeploy = |task: &Task, observer: &dyn Observer| {
        observer
            .pulling(&Images::from([(image("web:1"), None)]))
            .unwrap();
        observer.submitting(&submission()).unwrap();
        updated(&task.stack)
    };
    let recorder = scheduler(&stacks, Some(dir.path()), redeploy);
    for number in 0..3_u16 {
        let print = |what: &str| Some(Fingerprint::of(&[what.as_bytes(), &number.to_be_bytes()]));
        let accepted = Accepted {
            replay: print("replay"),
            duplicate: print("duplicate"),
            ..accepted(number, &stacks)
        };
        recorder.accept(accepted).unwrap();
    }
    for number in 0..3 {
        recorder.wait(&accepted(number, &[]).id, soon()).unwrap();
    }
    let bytes = fs::read(dir.path().join("journal")).unwrap();
    let (mut accepted_so_far, mut ended_so_far) = (0, 0);
    for length in 0..=bytes.len() {
        let entries = store::journal::entries(&bytes[..length]);
        let accepted = entries
            .iter()
            .filter(|entry| matches!(entry, Entry::Accepted { .. }))
            .count();
        let mut ledger = Ledger::default();
        entries.into_iter().for_each(|entry| ledger.apply(entry));
        ledger.check();
        assert_eq!(
            ledger.fail_orphaned(1),
            0,
            "every open delivery is covered: {length}"
        );
        let ended = accepted - ledger.open();
        assert!(
            accepted >= accepted_so_far && ended >= ended_so_far,
            "{length}"
        );
        (accepted_so_far, ended_so_far) = (accepted, ended);
        // What it amounts to amounts to the same.
        let mut again = Ledger::default();
        ledger
            .state()
            .into_iter()
            .for_each(|entry| again.apply(entry));
        assert!(again.same(&ledger), "{length}");
    }
    assert_eq!((accepted_so_far, ended_so_far), (3, 3));
}

#[test]
fn replays_and_duplicates_are_known_after_a_restart() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let with = |number: u16, replay: &str, duplicate: &str| Accepted {
        replay: (!replay.is_empty()).then(|| Fingerprint::of(&[replay.as_bytes()])),
        duplicate: (!duplicate.is_empty()).then(|| Fingerprint::of(&[duplicate.as_bytes()])),
        ..accepted(number, &stacks)
    };
    let outcomes = Mutex::new(vec![Outcome::Failed, Outcome::Updated]);
    let redeploy = move |task: &Task, _: &dyn Observer| StackReport {
        outcome: outcomes.lock().unwrap().pop().unwrap(),
        ..updated(&task.stack)
    };
    let first = scheduler(&stacks, Some(dir.path()), redeploy);
    let end = |scheduler: &Arc<Scheduler>, number: u16| {
        scheduler
            .wait(&accepted(number, &[]).id, soon())
            .unwrap()
            .status()
    };
    first.accept(with(0, "r0", "d0")).unwrap();
    assert_eq!(end(&first, 0), Status::Succeeded);
    first.accept(with(1, "r1", "d1")).unwrap();
    assert_eq!(end(&first, 1), Status::Failed);
    let crashed = copy(dir.path());
    let second = scheduler(&stacks, Some(crashed.path()), |task, _| {
        updated(&task.stack)
    });
    let again = |number: u16| Ok(Taken::Again(accepted(number, &[]).id));
    assert_eq!(second.accept(with(2, "r0", "")), again(0));
    assert_eq!(second.accept(with(2, "", "d0")), again(0));
    assert_eq!(
        second.accept(with(2, "r1", "")),
        again(1),
        "whatever its outcome was"
    );
    assert_eq!(
        second.accept(with(2, "", "d1")),
        Ok(Taken::New),
        "it failed, so it may run again"
    );
}

#[test]
fn refuses_a_signed_request_that_could_not_be_remembered() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let now = SystemClock.unix();
    let signed = |number: usize, unix: u64| Entry::Replay {
        fingerprint: Fingerprint::of(&[b"signed", &number.to_be_bytes()]),
        delivery: accepted(0, &[]).id,
        unix,
        hook: String::new(),
        until: None,
    };
    // The first one is about to be forgotten, the others are not.
    let old = now - limits::REPLAY.as_secs() + 300;
    let entries =
        (0..limits::REPLAYS).map(|number| signed(number, if number == 0 { old } else { now }));
    let (journal, _) = Journal::open(dir.path(), 1, Duration::from_secs(20)).unwrap();
    let lasting = Persistence {
        journal: Some((journal, entries.collect())),
        store: StackStore::new(None).unwrap(),
        locks: LockManager::new(None, "serve").unwrap(),
    };
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    let time: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let redeploy = Box::new(|task: &Task, _: &dyn Observer| updated(&task.stack));
    let scheduler = Scheduler::new(&stacks, time, lasting, Observers::default(), redeploy).unwrap();
    scheduler.begin();
    let with = |number: u16, replay: &str| Accepted {
        replay: Some(Fingerprint::of(&[replay.as_bytes()])),
        ..accepted(number, &stacks)
    };
    assert_eq!(
        scheduler.accept(with(1, "one")),
        Err(NotAccepted::Unremembered)
    );
    assert_eq!(
        scheduler.accept(accepted(2, &stacks)),
        Ok(Taken::New),
        "without a time"
    );
    clock.sleep(Duration::from_secs(301));
    assert_eq!(scheduler.accept(with(3, "one")), Ok(Taken::New));
    assert_eq!(
        scheduler.accept(with(4, "one")),
        Ok(Taken::Again(accepted(3, &[]).id))
    );
    assert_eq!(
        scheduler.accept(with(5, "five")),
        Err(NotAccepted::Unremembered)
    );
}

#[test]
fn fails_deliveries_for_a_stack_that_is_no_longer_configured() {
    let stacks = [stack("a"), stack("gone")];
    let dir = TempDir::new();
    let (_keep, never) = mpsc::channel::<()>();
    let never = Mutex::new(never);
    let first = scheduler(&stacks, Some(dir.path()), move |task, _| {
        never.lock().unwrap().recv().unwrap_or_default();
        updated(&task.stack)
    });
    first.accept(accepted(0, &stacks[1..])).unwrap();
    let crashed = copy(dir.path());
    let second = scheduler(&stacks[..1], Some(crashed.path()), |task, _| {
        updated(&task.stack)
    });
    let gone = second.wait(&accepted(0, &[]).id, soon()).unwrap();
    assert_eq!(gone.status(), Status::Failed);
    second.accept(accepted(1, &stacks[..1])).unwrap();
    assert_eq!(
        second.wait(&accepted(1, &[]).id, soon()).unwrap().status(),
        Status::Succeeded
    );
}

#[test]
fn a_stop_leaves_running_redeploys_to_the_journal_and_releases_waiting_clients() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let (_keep, never) = mpsc::channel::<()>();
    let never = Mutex::new(never);
    let scheduler = scheduler(&stacks, Some(dir.path()), move |task, _| {
        never.lock().unwrap().recv().unwrap_or_default();
        updated(&task.stack)
    });
    scheduler.accept(accepted(0, &stacks)).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| scheduler.wait(&accepted(0, &[]).id, soon()).unwrap());
        assert!(scheduler.stop(Duration::from_secs(8)), "nothing is lost");
        assert!(!waiter.join().unwrap().has_ended());
    });
    assert_eq!(
        scheduler.accept(accepted(1, &stacks)),
        Err(NotAccepted::Stopping)
    );
}

#[test]
fn stacks_that_wait_for_one_environment_do_not_delay_others() {
    // More than there are runners, in keys before and after the other one's.
    let crowd: Vec<Stack> = (0..30)
        .map(|number| stack(&format!("crowd{number}")))
        .collect();
    let elsewhere = stack("elsewhere");
    let all: Vec<Stack> = crowd.iter().chain([&elsewhere]).cloned().collect();
    let dir = TempDir::new();
    let (open, gate) = mpsc::channel::<()>();
    let (began, begins) = mpsc::channel();
    let (gate, began) = (Mutex::new(gate), Mutex::new(began));
    let there = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counted, seen) = (Arc::clone(&there), Arc::clone(&most));
    let redeploy = move |task: &Task, observer: &dyn Observer| {
        let crowd = task.stack.key.as_str() != "elsewhere";
        let environment = LockKey::Environment(if crowd { 1 } else { 2 });
        let Ok(turn) = observer.acquire_lock(environment, Duration::from_secs(60)) else {
            // What the redeploy makes of having to wait is nobody's end.
            return StackReport {
                outcome: Outcome::Failed,
                ..updated(&task.stack)
            };
        };
        if crowd {
            seen.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            began.lock().unwrap().send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
            counted.fetch_sub(1, Ordering::SeqCst);
        }
        drop(turn);
        updated(&task.stack)
    };
    let scheduler = scheduler(&all, Some(dir.path()), redeploy);
    let end = |number: u16| scheduler.wait(&accepted(number, &[]).id, soon()).unwrap();
    scheduler.accept(accepted(0, &crowd)).unwrap();
    begins.recv_timeout(Duration::from_secs(20)).unwrap();
    // Nobody knows yet where any of them is; then it is known of some, and later of all.
    for number in 1..4 {
        scheduler
            .accept(accepted(number, std::slice::from_ref(&elsewhere)))
            .unwrap();
        assert_eq!(end(number).status(), Status::Succeeded);
        open.send(()).unwrap();
        begins.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    (3..30).for_each(|_| open.send(()).unwrap());
    assert_eq!(end(0).status(), Status::Succeeded);
    assert_eq!(most.load(Ordering::SeqCst), 1, "one at a time");
}

#[test]
fn a_stop_waits_for_recorded_submissions_and_records_no_more() {
    let stacks = [stack("a"), stack("b")];
    let dir = TempDir::new();
    let (recorded, records) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (go_late, late) = mpsc::channel::<()>();
    let (recorded, gone, late) = (Mutex::new(recorded), Mutex::new(gone), Mutex::new(late));
    let left = Arc::new(AtomicUsize::new(0));
    let leaves = Arc::clone(&left);
    let redeploy = move |task: &Task, observer: &dyn Observer| {
        let tell = |words: String| recorded.lock().unwrap().send(words).unwrap();
        let wait =
            |gone: &Mutex<mpsc::Receiver<()>>| gone.lock().unwrap().recv().unwrap_or_default();
        let key = task.stack.key.as_str();
        match key {
            "b" => {
                tell("b begins".to_owned());
                wait(&late);
                observer.submitting(&submission()).unwrap();
                tell("b is on record".to_owned());
            }
            _ => {
                observer.submitting(&submission()).unwrap();
                tell("a is on record".to_owned());
                wait(&gone);
                leaves.fetch_add(1, Ordering::SeqCst);
                observer.step(&Step::Following);
                wait(&gone);
            }
        }
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, Some(dir.path()), redeploy);
    scheduler.accept(accepted(0, &stacks)).unwrap();
    let mut begun = [(); 2].map(|()| records.recv_timeout(Duration::from_secs(20)).unwrap());
    begun.sort();
    assert_eq!(begun, ["a is on record", "b begins"]);
    let began = Instant::now();
    thread::scope(|scope| {
        let stop = scope.spawn(|| {
            assert!(scheduler.stop(Duration::ZERO), "nothing is lost");
            (left.load(Ordering::SeqCst), began.elapsed())
        });
        while !scheduler.lock().stopping {
            assert!(began.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
        go.send(()).unwrap();
        let (left, took) = stop.join().unwrap();
        assert!(left == 1 || took >= limits::LEAVING, "{took:?}");
    });
    go_late.send(()).unwrap();
    let more = records.recv_timeout(Duration::from_millis(300));
    assert!(more.is_err(), "{more:?}");
    let text = fs::read_to_string(dir.path().join("journal")).unwrap();
    assert_eq!(text.matches("\"submitting\"").count(), 1);
}

#[test]
fn acknowledged_entries_survive_a_power_cut() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let there = Arc::new(Mutex::new(None::<Arc<Scheduler>>));
    let engine_of_it = Arc::clone(&there);
    let (tell, told) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (tell, gone) = (Mutex::new(tell), Mutex::new(gone));
    let redeploy = move |task: &Task, observer: &dyn Observer| {
        gone.lock().unwrap().recv().unwrap();
        let scheduler = engine_of_it.lock().unwrap().clone().unwrap();
        let left = || scheduler.tail().as_ref().unwrap().after_a_power_cut();
        let images = Images::from([(image("web:1"), None)]);
        observer.pulling(&images).unwrap();
        tell.lock().unwrap().send(left()).unwrap();
        observer.submitting(&submission()).unwrap();
        tell.lock().unwrap().send(left()).unwrap();
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, Some(dir.path()), redeploy);
    *there.lock().unwrap() = Some(Arc::clone(&scheduler));
    let accepts = accepted(0, &stacks);
    scheduler.accept(accepts.clone()).unwrap();
    let left = scheduler.tail().as_ref().unwrap().after_a_power_cut();
    let is_accepted =
        |entry: &Entry| matches!(entry, Entry::Accepted { accepted, .. } if *accepted == accepts);
    assert!(left.iter().any(is_accepted), "{left:?}");
    go.send(()).unwrap();
    let left: Vec<Entry> = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        matches!(left.last(), Some(Entry::Pulling { .. })),
        "{left:?}"
    );
    let left: Vec<Entry> = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        matches!(left.last(), Some(Entry::Submitting { .. })),
        "{left:?}"
    );
    scheduler.wait(&accepts.id, soon()).unwrap();
    let left = scheduler.tail().as_ref().unwrap().after_a_power_cut();
    assert!(matches!(left.last(), Some(Entry::Ended { .. })), "{left:?}");
}

#[test]
fn corrects_saved_times_after_the_clock_went_back() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let ahead = SystemClock.unix() + 365 * 86_400;
    let signed = |number: usize| Entry::Replay {
        fingerprint: Fingerprint::of(&[b"signed", &number.to_be_bytes()]),
        delivery: accepted(0, &[]).id,
        unix: ahead,
        hook: "update".to_owned(),
        until: Some(ahead + 300),
    };
    let entries = (0..limits::REPLAYS / 2).map(signed);
    let (journal, _) = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
    let lasting = Persistence {
        journal: Some((journal, entries.collect())),
        store: StackStore::new(None).unwrap(),
        locks: LockManager::new(None, "serve").unwrap(),
    };
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    let time: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let redeploy = Box::new(|task: &Task, _: &dyn Observer| updated(&task.stack));
    let scheduler = Scheduler::new(&stacks, time, lasting, Observers::default(), redeploy).unwrap();
    scheduler.begin();
    let with = |number: u16, replay: &str| Accepted {
        replay: Some(Fingerprint::of(&[replay.as_bytes()])),
        signed_at: Some(clock.unix()),
        ..accepted(number, &stacks)
    };
    assert_eq!(
        scheduler.accept(with(1, "one")),
        Err(NotAccepted::Unremembered)
    );
    clock.sleep(limits::REPLAY + Duration::from_secs(1));
    assert_eq!(scheduler.accept(with(2, "two")), Ok(Taken::New));
    // A signed time is only remembered while it would be accepted.
    clock.sleep(limits::SIGNED_TIME_TOLERANCE + Duration::from_secs(2));
    let again = Accepted {
        replay: Some(Fingerprint::of(&[b"two"])),
        ..accepted(3, &stacks)
    };
    let first = scheduler.find(&accepted(2, &[]).id);
    assert!(first.is_some(), "its status is still known");
    assert_eq!(
        scheduler.accept(again),
        Ok(Taken::Again(accepted(2, &[]).id)),
        "and so is its outcome"
    );
}

/// A scheduler on a copy of the journal in `from`, as after a crash, whose redeploys report that they run and never end, except those
/// of the `ending` stacks.
fn restart(
    stacks: &[Stack],
    from: &Path,
    ending: &'static [&'static str],
) -> (Arc<Scheduler>, TempDir, mpsc::Receiver<String>) {
    let dir = copy(from);
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let redeploy = move |task: &Task, _: &dyn Observer| {
        let key = task.stack.key.as_str();
        sender.lock().unwrap().send(key.to_owned()).unwrap();
        while !ending.contains(&key) {
            thread::park();
        }
        updated(&task.stack)
    };
    (scheduler(stacks, Some(dir.path()), redeploy), dir, receiver)
}

fn running(receiver: &mpsc::Receiver<String>, count: usize) -> Vec<String> {
    let next = |_| receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    let mut keys: Vec<String> = (0..count).map(next).collect();
    keys.sort();
    keys
}

#[test]
fn gives_up_a_redeploy_during_which_the_server_ended_five_times() {
    let stacks = [stack("a"), stack("b")];
    let empty = TempDir::new();
    drop(Journal::open(empty.path(), 1, Duration::ZERO).unwrap());
    let (first, mut dir, receiver) = restart(&stacks, empty.path(), &[]);
    first.accept(accepted(0, &stacks[..1])).unwrap();
    first.accept(accepted(1, &stacks[1..])).unwrap();
    assert_eq!(running(&receiver, 2), ["a", "b"]);
    let mut life;
    for _ in 0..2 {
        let (_scheduler, next, receiver) = restart(&stacks, dir.path(), &[]);
        assert_eq!(running(&receiver, 2), ["a", "b"], "both are tried again");
        dir = next;
    }
    for _ in 0..2 {
        life = restart(&stacks, dir.path(), &[]);
        assert_eq!(running(&life.2, 1), ["a"], "alone");
        let other = life.2.recv_timeout(Duration::from_millis(200));
        assert!(other.is_err(), "{other:?} runs beside it");
        dir = life.1;
    }
    let (last, _dir, receiver) = restart(&stacks, dir.path(), &["b"]);
    assert_eq!(running(&receiver, 1), ["b"]);
    let end = |number: u16| last.wait(&accepted(number, &[]).id, soon()).unwrap();
    assert_eq!(end(0).status(), Status::Failed);
    assert!(
        end(0)
            .reports()
            .all(|report| report.message.contains("5 times"))
    );
    assert_eq!(end(1).status(), Status::Succeeded, "it was innocent");
}

#[test]
fn a_redeploy_that_must_run_alone_runs_after_everything_else() {
    let stacks = [stack("a"), stack("b"), stack("c")];
    let empty = TempDir::new();
    drop(Journal::open(empty.path(), 1, Duration::ZERO).unwrap());
    let (first, mut dir, receiver) = restart(&stacks, empty.path(), &[]);
    first.accept(accepted(0, &stacks[..1])).unwrap();
    assert_eq!(running(&receiver, 1), ["a"]);
    for number in 1..=2 {
        let (next, copied, receiver) = restart(&stacks, dir.path(), &[]);
        assert_eq!(running(&receiver, 1), ["a"]);
        if number == 2 {
            next.accept(accepted(1, &stacks[1..])).unwrap();
            assert_eq!(running(&receiver, 2), ["b", "c"]);
        }
        dir = copied;
    }
    let (last, _dir, receiver) = restart(&stacks, dir.path(), &["a", "b", "c"]);
    assert_eq!(running(&receiver, 2), ["b", "c"]);
    assert_eq!(running(&receiver, 1), ["a"], "last");
    let end = last.wait(&accepted(0, &[]).id, soon()).unwrap();
    assert_eq!(end.status(), Status::Succeeded);
}

#[test]
fn ordinary_stops_are_not_counted_against_a_redeploy() {
    let stacks = [stack("a"), stack("b")];
    let empty = TempDir::new();
    drop(Journal::open(empty.path(), 1, Duration::ZERO).unwrap());
    let (first, mut dir, receiver) = restart(&stacks, empty.path(), &[]);
    first.accept(accepted(0, &stacks)).unwrap();
    assert_eq!(running(&receiver, 2), ["a", "b"]);
    assert!(first.stop(Duration::ZERO));
    for _ in 0..6 {
        let (next, copied, receiver) = restart(&stacks, dir.path(), &[]);
        assert_eq!(running(&receiver, 2), ["a", "b"], "side by side");
        assert!(next.stop(Duration::ZERO));
        dir = copied;
    }
}
