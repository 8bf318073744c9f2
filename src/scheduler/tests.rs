//! The scheduler with closures as redeploys.

mod history;
mod version_0_1;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::clock::SystemClock;
use crate::clock::skipping::SkippingClock;
use crate::delivery::{DeliveryStatus, Fingerprint, RequestedRedeploy};
use crate::image::Reference;
use crate::limits;
use crate::portainer::{EnvironmentId, StackId};
use crate::redeploy::{Direction, Step, Submission};
use crate::stack::outcome::{Fault, Outcome};
use crate::stack::{PullMode, RollBack};
use crate::store;
use crate::store::lock::LockKey;
use crate::store::tests::{TempDir, power_cut};

/// Starts a scheduler with a journal in `dir`, or in memory.
fn scheduler(
    stacks: &[Stack],
    dir: Option<&Path>,
    redeploy: impl Fn(&RedeployTask, &dyn Observer) -> StackReport + Send + std::marker::Sync + 'static,
) -> Arc<Scheduler> {
    let journal = dir.map(|dir| Journal::open(dir, 1, Duration::from_secs(20)).unwrap());
    let clock = Arc::new(SystemClock);
    start(stacks, clock, persistence(dir, journal), redeploy).0
}

fn persistence(dir: Option<&Path>, journal: Option<(Journal, Vec<Entry>)>) -> Persistence {
    Persistence {
        journal,
        store: StackStore::new(dir).unwrap(),
        locks: LockManager::new(dir, "serve").unwrap(),
    }
}

/// Starts a scheduler; returns its metrics too.
fn start(
    stacks: &[Stack],
    clock: Arc<dyn Clock>,
    persistence: Persistence,
    redeploy: impl Fn(&RedeployTask, &dyn Observer) -> StackReport + Send + std::marker::Sync + 'static,
) -> (Arc<Scheduler>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let observers = Observers {
        metrics: Arc::clone(&metrics),
        notifier: None,
    };
    let redeploy = Box::new(redeploy);
    let scheduler = Scheduler::new(stacks, clock, persistence, observers, redeploy).unwrap();
    scheduler.begin();
    (scheduler, metrics)
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
    let asked = |stack: &Stack| RequestedRedeploy {
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
    let redeploy = move |task: &RedeployTask, _: &dyn Observer| {
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
        assert_eq!(delivery.status(), DeliveryStatus::Succeeded);
    }
    assert!(runs.load(Ordering::SeqCst) <= 4);
    assert!(scheduler.stop(Duration::from_secs(20)));
    assert_eq!(
        scheduler.accept(accepted(101, &stacks)),
        Err(NotAccepted::Stopping)
    );
}

#[test]
fn redeploys_stacks_side_by_side() {
    let stacks = [stack("a"), stack("b"), stack("c")];
    let all_there = std::sync::Barrier::new(stacks.len());
    let redeploy = move |task: &RedeployTask, _: &dyn Observer| {
        all_there.wait();
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, None, redeploy);
    scheduler.accept(accepted(0, &stacks)).unwrap();
    let delivery = scheduler.wait(&accepted(0, &[]).id, soon()).unwrap();
    assert_eq!(delivery.status(), DeliveryStatus::Succeeded);
}

#[test]
fn a_panic_makes_the_outcome_unknown_and_the_next_redeploy_runs() {
    let stacks = [stack("a")];
    let first = AtomicUsize::new(0);
    let redeploy =
        move |task: &RedeployTask, _: &dyn Observer| match first.fetch_add(1, Ordering::SeqCst) {
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
        DeliveryStatus::Unknown
    );
    scheduler.accept(accepted(1, &stacks)).unwrap();
    assert_eq!(
        scheduler
            .wait(&accepted(1, &[]).id, soon())
            .unwrap()
            .status(),
        DeliveryStatus::Succeeded
    );
}

#[test]
fn one_hook_fills_half_of_the_table_and_a_wait_ends_in_time() {
    let stacks = [stack("a")];
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let redeploy = move |task: &RedeployTask, observer: &dyn Observer| {
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

/// Copies the journal as a server killed at this moment would leave it.
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
    let redeploy = move |task: &RedeployTask, observer: &dyn Observer| {
        let crash = || left.lock().unwrap().send(copy(&path)).unwrap();
        crash();
        let images = |id: &str| Images::from([(image("web:1"), Some(id.to_owned()))]);
        observer.pulling(&images("old")).unwrap();
        // The stack was edited meanwhile, so the redeploy begins again and sees what it pulled itself.
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
    assert_eq!(first.accept(accepted(0, &stacks)), Ok(Acceptance::New));
    assert_eq!(
        first.wait(&accepted(0, &[]).id, soon()).unwrap().status(),
        DeliveryStatus::Succeeded
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
        assert_eq!(end.status(), DeliveryStatus::Succeeded);
        assert_eq!(told.recv().unwrap(), (before, submission));
        assert!(told.try_recv().is_err(), "it ran once");
        assert!(again.stop(Duration::ZERO));
    }
    // A redeploy that ended before the crash is not resumed.
    let ended = copy(dir.path());
    let idle = scheduler(&stacks, Some(ended.path()), |_, _| {
        panic!("nothing is open")
    });
    assert_eq!(
        idle.find(&accepted(0, &[]).id).unwrap().status(),
        DeliveryStatus::Succeeded
    );
}

#[test]
fn every_prefix_of_a_journal_is_a_consistent_state() {
    let stacks = [stack("a"), stack("b")];
    let dir = TempDir::new();
    let redeploy = |task: &RedeployTask, observer: &dyn Observer| {
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
        // The entries for this state restore it.
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
    let redeploy = move |task: &RedeployTask, _: &dyn Observer| StackReport {
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
    assert_eq!(end(&first, 0), DeliveryStatus::Succeeded);
    first.accept(with(1, "r1", "d1")).unwrap();
    assert_eq!(end(&first, 1), DeliveryStatus::Failed);
    let crashed = copy(dir.path());
    let second = scheduler(&stacks, Some(crashed.path()), |task, _| {
        updated(&task.stack)
    });
    let again = |number: u16| Ok(Acceptance::Repeated(accepted(number, &[]).id));
    assert_eq!(second.accept(with(2, "r0", "")), again(0));
    assert_eq!(second.accept(with(2, "", "d0")), again(0));
    assert_eq!(
        second.accept(with(2, "r1", "")),
        again(1),
        "a replay is answered whatever its outcome was"
    );
    assert_eq!(
        second.accept(with(2, "", "d1")),
        Ok(Acceptance::New),
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
    let persistence = persistence(None, Some((journal, entries.collect())));
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let (scheduler, _) = start(&stacks, time, persistence, |task, _| updated(&task.stack));
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
        Ok(Acceptance::New),
        "without a time"
    );
    clock.sleep(Duration::from_secs(301));
    assert_eq!(scheduler.accept(with(3, "one")), Ok(Acceptance::New));
    assert_eq!(
        scheduler.accept(with(4, "one")),
        Ok(Acceptance::Repeated(accepted(3, &[]).id))
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
    assert_eq!(gone.status(), DeliveryStatus::Failed);
    second.accept(accepted(1, &stacks[..1])).unwrap();
    assert_eq!(
        second.wait(&accepted(1, &[]).id, soon()).unwrap().status(),
        DeliveryStatus::Succeeded
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
    let redeploy = move |task: &RedeployTask, observer: &dyn Observer| {
        let crowd = task.stack.key.as_str() != "elsewhere";
        let environment = LockKey::Environment(if crowd { 1 } else { 2 });
        let Ok(guard) = observer.acquire_lock(environment, Duration::from_secs(60)) else {
            // The report of a redeploy that has to wait is not used.
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
        drop(guard);
        updated(&task.stack)
    };
    let scheduler = scheduler(&all, Some(dir.path()), redeploy);
    let end = |number: u16| scheduler.wait(&accepted(number, &[]).id, soon()).unwrap();
    scheduler.accept(accepted(0, &crowd)).unwrap();
    begins.recv_timeout(Duration::from_secs(20)).unwrap();
    // At first the environment of none is known, then of some, later of all.
    for number in 1..4 {
        scheduler
            .accept(accepted(number, std::slice::from_ref(&elsewhere)))
            .unwrap();
        assert_eq!(end(number).status(), DeliveryStatus::Succeeded);
        open.send(()).unwrap();
        begins.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    (3..30).for_each(|_| open.send(()).unwrap());
    assert_eq!(end(0).status(), DeliveryStatus::Succeeded);
    assert_eq!(most.load(Ordering::SeqCst), 1, "one at a time");
}

#[test]
fn the_next_stack_of_an_environment_starts_as_soon_as_its_lock_is_released() {
    let stacks = [stack("a"), stack("b")];
    let dir = TempDir::new();
    let (began, begins) = mpsc::channel();
    let (deferred, deferrals) = mpsc::channel();
    let (began, deferred, deferrals) = (
        Mutex::new(began),
        Mutex::new(deferred),
        Mutex::new(deferrals),
    );
    let is_first = AtomicUsize::new(1);
    let both_verify = std::sync::Barrier::new(stacks.len());
    let redeploy = move |task: &RedeployTask, observer: &dyn Observer| {
        let environment = LockKey::Environment(1);
        let Ok(guard) = observer.acquire_lock(environment, Duration::from_secs(20)) else {
            // The report of a redeploy that has to wait is not used.
            deferred.lock().unwrap().send(()).unwrap();
            return updated(&task.stack);
        };
        if is_first.swap(0, Ordering::SeqCst) == 1 {
            deferrals.lock().unwrap().recv().unwrap();
            // Until the runner of the other stack has put it back.
            thread::sleep(Duration::from_millis(100));
        }
        drop(guard);
        // Verification goes on without the lock, and here not without the other stack.
        let key = task.stack.key.to_string();
        began.lock().unwrap().send(key).unwrap();
        both_verify.wait();
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, Some(dir.path()), redeploy);
    scheduler.accept(accepted(0, &stacks)).unwrap();
    assert_eq!(running(&begins, 2), ["a", "b"]);
    assert_eq!(
        end_of(&scheduler, 0).status(),
        DeliveryStatus::Succeeded,
        "none waits for the end of the other"
    );
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
    let redeploy = move |task: &RedeployTask, observer: &dyn Observer| {
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
        thread::sleep(Duration::from_millis(100));
        let is_waiting = !stop.is_finished();
        go.send(()).unwrap();
        let (left, took) = stop.join().unwrap();
        assert!(is_waiting || took >= limits::LEAVING, "{took:?}");
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
    let path = dir.path().join("journal");
    let left = move || store::journal::entries(&power_cut::content_after(&path).unwrap());
    let left_in_redeploy = left.clone();
    let (tell, told) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (tell, gone) = (Mutex::new(tell), Mutex::new(gone));
    let redeploy = move |task: &RedeployTask, observer: &dyn Observer| {
        gone.lock().unwrap().recv().unwrap();
        let images = Images::from([(image("web:1"), None)]);
        observer.pulling(&images).unwrap();
        tell.lock().unwrap().send(left_in_redeploy()).unwrap();
        observer.submitting(&submission()).unwrap();
        tell.lock().unwrap().send(left_in_redeploy()).unwrap();
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, Some(dir.path()), redeploy);
    let accepts = accepted(0, &stacks);
    scheduler.accept(accepts.clone()).unwrap();
    let entries = left();
    let is_accepted =
        |entry: &Entry| matches!(entry, Entry::Accepted { accepted, .. } if *accepted == accepts);
    assert!(entries.iter().any(is_accepted), "{entries:?}");
    go.send(()).unwrap();
    let entries: Vec<Entry> = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        matches!(entries.last(), Some(Entry::Pulling { .. })),
        "{entries:?}"
    );
    let entries: Vec<Entry> = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        matches!(entries.last(), Some(Entry::Submitting { .. })),
        "{entries:?}"
    );
    scheduler.wait(&accepts.id, soon()).unwrap();
    let entries = left();
    let has_end = matches!(entries.last(), Some(Entry::Ended { .. }));
    assert!(has_end, "{entries:?}");
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
    let persistence = persistence(None, Some((journal, entries.collect())));
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let (scheduler, _) = start(&stacks, time, persistence, |task, _| updated(&task.stack));
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
    assert_eq!(scheduler.accept(with(2, "two")), Ok(Acceptance::New));
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
        Ok(Acceptance::Repeated(accepted(2, &[]).id)),
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
    let redeploy = move |task: &RedeployTask, _: &dyn Observer| {
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
    assert_eq!(end(0).status(), DeliveryStatus::Failed);
    assert!(
        end(0)
            .reports()
            .all(|report| report.message.contains("5 times"))
    );
    assert_eq!(
        end(1).status(),
        DeliveryStatus::Succeeded,
        "it was innocent"
    );
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
    assert_eq!(end.status(), DeliveryStatus::Succeeded);
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

/// Runs one delivery for each of the stacks to its end.
fn end_of(scheduler: &Arc<Scheduler>, number: u16) -> Delivery {
    scheduler.wait(&accepted(number, &[]).id, soon()).unwrap()
}

#[test]
fn reports_each_end_once_to_metrics_and_to_waiting_clients() {
    let stacks = [stack("a"), stack("b")];
    let dir = TempDir::new();
    let journal = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
    let persistence_of = |journal| persistence(Some(dir.path()), Some(journal));
    let redeploy = |task: &RedeployTask, _: &dyn Observer| updated(&task.stack);
    let clock = Arc::new(SystemClock);
    let (first, metrics) = start(&stacks, clock.clone(), persistence_of(journal), redeploy);
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    first.set_on_end(Box::new(move |id| {
        sender.lock().unwrap().send(id.clone()).unwrap();
    }));
    for number in 0..2 {
        first.accept(accepted(number, &stacks)).unwrap();
        end_of(&first, number);
        assert_eq!(receiver.try_recv().as_ref(), Ok(&accepted(number, &[]).id));
    }
    assert!(receiver.try_recv().is_err(), "each is reported once");
    let text = metrics.render(0, SystemClock.unix());
    for line in [
        "deliveries_total{hook=\"update\",result=\"succeeded\"} 2\n",
        "redeploys_total{stack=\"a\",outcome=\"updated\"} 2\n",
        "success_timestamp_seconds{stack=\"b\"} ",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    // A restart keeps the time of the last success, and counts from zero.
    assert!(first.stop(Duration::ZERO));
    let copy = copy(dir.path());
    let journal = Journal::open(copy.path(), 1, Duration::from_secs(20)).unwrap();
    let (_second, metrics) = start(&stacks, clock, persistence(None, Some(journal)), redeploy);
    let text = metrics.render(0, SystemClock.unix());
    assert!(
        text.contains("success_timestamp_seconds{stack=\"b\"} "),
        "{text}"
    );
    assert!(!text.contains("deliveries_total{"), "{text}");
}

#[test]
fn refuses_a_rollback_while_a_redeploy_of_the_stack_runs_or_waits() {
    let stacks = [stack("a"), stack("b")];
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let scheduler = scheduler(&stacks, None, move |task, _| {
        gate.lock().unwrap().recv().unwrap_or_default();
        updated(&task.stack)
    });
    let rollback = |number: u16, stack: &Stack| {
        let mut accepted = accepted(number, std::slice::from_ref(stack));
        accepted.orders[0].order.rollback = true;
        accepted
    };
    scheduler.accept(accepted(0, &stacks[..1])).unwrap();
    let refused = scheduler.accept(rollback(1, &stacks[0]));
    assert_eq!(refused, Err(NotAccepted::Busy));
    scheduler.accept(rollback(2, &stacks[1])).unwrap();
    drop(open);
    end_of(&scheduler, 0);
    scheduler.accept(rollback(3, &stacks[0])).unwrap();
}

#[test]
fn ends_deliveries_whose_redeploy_was_lost_to_a_damaged_journal() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let mut ledger = Ledger::default();
    let accepted = accepted(0, &stacks);
    ledger.apply(Entry::Accepted { accepted, unix: 1 });
    let mut entries = ledger.state();
    entries.retain(|entry| !matches!(entry, Entry::Queue { .. }));
    let (journal, _) = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
    let persistence = persistence(None, Some((journal, entries)));
    let clock = Arc::new(SystemClock);
    let (scheduler, _) = start(&stacks, clock, persistence, |_, _| {
        panic!("nothing is started")
    });
    assert_eq!(end_of(&scheduler, 0).status(), DeliveryStatus::Unknown);
}

#[test]
fn skips_a_paused_stack_unless_staff_request_the_redeploy() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let redeploy = move |task: &RedeployTask, observer: &dyn Observer| {
        let pauses = [None, Some(StackId(7))].map(|id| observer.pause(id).is_some());
        sender.lock().unwrap().send(pauses).unwrap();
        updated(&task.stack)
    };
    let scheduler = scheduler(&stacks, Some(dir.path()), redeploy);
    let beside = StackStore::new(Some(dir.path())).unwrap();
    let key = &stacks[0].key;
    let mut by_staff = accepted(2, &stacks);
    by_staff.orders[0].order.staff = true;
    beside.pause(key, SystemClock.unix(), None).unwrap();
    for (accepted, is_paused) in [(accepted(1, &stacks), true), (by_staff, false)] {
        scheduler.accept(accepted).unwrap();
        let pauses = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(pauses, [is_paused; 2]);
    }
    assert_eq!(beside.id_of(key), Some(7), "the number is remembered");
}

/// Makes every further append to the journal fail until it is rewritten.
fn break_journal(scheduler: &Scheduler) {
    scheduler.journal().as_mut().unwrap().make_read_only();
}

#[test]
fn a_redeploy_whose_start_cannot_be_journalled_fails_and_sends_nothing() {
    let stacks = [stack("a"), stack("b")];
    let dir = TempDir::new();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let scheduler = scheduler(&stacks, Some(dir.path()), move |task, _| {
        assert_eq!(task.stack.key.as_str(), "a", "this one must not run");
        gate.lock().unwrap().recv().unwrap_or_default();
        updated(&task.stack)
    });
    // The journal guard keeps the runner from starting the redeploy.
    scheduler.accept(accepted(0, &stacks[..1])).unwrap();
    while scheduler.lock().ledger.running(&stacks[0].key).is_none() {
        thread::yield_now();
    }
    let mut journal = scheduler.journal();
    let (accepted_b, unix) = (accepted(1, &stacks[1..]), 1);
    let entry = Entry::Accepted {
        accepted: accepted_b,
        unix,
    };
    scheduler.commit(&mut journal, Sync::Now, entry).unwrap();
    journal.as_mut().unwrap().make_read_only();
    drop(journal);
    let end = end_of(&scheduler, 1);
    let faults: Vec<_> = end.reports().map(|report| report.fault).collect();
    assert_eq!(end.status(), DeliveryStatus::Failed);
    assert_eq!(faults, [Some(Fault::NotWritten)]);
    drop(open);
    assert_eq!(end_of(&scheduler, 0).status(), DeliveryStatus::Succeeded);
}

#[test]
fn a_stop_writes_ends_that_could_not_be_written_before() {
    let stacks = [stack("a")];
    let dir = TempDir::new();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let first = scheduler(&stacks, Some(dir.path()), move |task, _| {
        gate.lock().unwrap().recv().unwrap_or_default();
        updated(&task.stack)
    });
    first.accept(accepted(0, &stacks)).unwrap();
    while first.lock().ledger.running(&stacks[0].key).is_none() {
        thread::yield_now();
    }
    break_journal(&first);
    go.send(()).unwrap();
    end_of(&first, 0);
    assert!(first.stop(Duration::ZERO), "nothing is lost");
    let copy = copy(dir.path());
    let second = scheduler(&stacks, Some(copy.path()), |_, _| panic!("it has ended"));
    assert_eq!(end_of(&second, 0).status(), DeliveryStatus::Succeeded);
}

/// Entries of a redeploy during which servers ended so often that it must run alone, or, if `ends` is 5, is given up.
fn unclean_ends(stacks: &[Stack], ends: usize, is_submitted: bool) -> Vec<Entry> {
    let key = &stacks[0].key;
    let accepted = accepted(0, &stacks[..1]);
    let mut entries = vec![
        Entry::Accepted { accepted, unix: 1 },
        Entry::Started(key.clone()),
    ];
    entries.extend(is_submitted.then(|| Entry::Submitting {
        stack: key.clone(),
        submission: Value::Null,
    }));
    for end in 1..ends {
        if end > 3 {
            entries.push(Entry::RunsAlone(key.clone()));
        }
        entries.push(Entry::Resumed);
    }
    if ends > 3 {
        entries.push(Entry::RunsAlone(key.clone()));
    }
    entries
}

#[test]
fn a_redeploy_that_is_given_up_is_unknown_if_its_update_was_sent() {
    for (is_submitted, status) in [
        (false, DeliveryStatus::Failed),
        (true, DeliveryStatus::Unknown),
    ] {
        let stacks = [stack("a")];
        let dir = TempDir::new();
        let (journal, _) = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
        let entries = unclean_ends(&stacks, 5, is_submitted);
        let persistence = persistence(None, Some((journal, entries)));
        let clock = Arc::new(SystemClock);
        let (scheduler, _) = start(&stacks, clock, persistence, |_, _| panic!("it is given up"));
        assert_eq!(end_of(&scheduler, 0).status(), status);
    }
}

#[test]
fn a_stack_that_is_no_longer_configured_does_not_block_others() {
    for (ends, is_submitted, status) in [
        (1, false, DeliveryStatus::Failed),
        (1, true, DeliveryStatus::Unknown),
        (3, false, DeliveryStatus::Failed),
    ] {
        let stacks = [stack("gone"), stack("a")];
        let dir = TempDir::new();
        let (journal, _) = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
        let entries = unclean_ends(&stacks, ends, is_submitted);
        let persistence = persistence(None, Some((journal, entries)));
        let clock = Arc::new(SystemClock);
        let redeploy = |task: &RedeployTask, _: &dyn Observer| updated(&task.stack);
        let (scheduler, _) = start(&stacks[1..], clock, persistence, redeploy);
        assert_eq!(end_of(&scheduler, 0).status(), status);
        scheduler.accept(accepted(1, &stacks[1..])).unwrap();
        assert_eq!(end_of(&scheduler, 1).status(), DeliveryStatus::Succeeded);
        assert!(scheduler.lock().busy.is_empty());
    }
}

#[test]
fn new_deliveries_wait_while_a_redeploy_must_run_alone() {
    let stacks = [stack("a"), stack("b")];
    let dir = TempDir::new();
    let (journal, _) = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
    let entries = unclean_ends(&stacks, 3, false);
    let persistence = persistence(None, Some((journal, entries)));
    let (open, gate) = mpsc::channel::<()>();
    let (sender, receiver) = mpsc::channel();
    let (gate, sender) = (Mutex::new(gate), Mutex::new(sender));
    let redeploy = move |task: &RedeployTask, _: &dyn Observer| {
        sender
            .lock()
            .unwrap()
            .send(task.stack.key.to_string())
            .unwrap();
        gate.lock().unwrap().recv().unwrap_or_default();
        updated(&task.stack)
    };
    let clock = Arc::new(SystemClock);
    let (scheduler, _) = start(&stacks, clock, persistence, redeploy);
    assert_eq!(running(&receiver, 1), ["a"]);
    scheduler.accept(accepted(1, &stacks[1..])).unwrap();
    let other = receiver.recv_timeout(Duration::from_millis(200));
    assert!(other.is_err(), "{other:?} runs beside it");
    drop(open);
    assert_eq!(running(&receiver, 1), ["b"]);
    assert_eq!(end_of(&scheduler, 1).status(), DeliveryStatus::Succeeded);
}

#[test]
fn a_replay_is_recognised_until_its_signed_time_is_too_old() {
    let stacks = [stack("a")];
    let (clock, dir) = (Arc::new(SkippingClock::new(Arc::default())), TempDir::new());
    let journal = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let persistence = persistence(None, Some(journal));
    let (scheduler, _) = start(&stacks, time, persistence, |task, _| updated(&task.stack));
    let signed = Accepted {
        replay: Some(Fingerprint::of(&[b"signed"])),
        signed_at: Some(clock.unix()),
        ..accepted(0, &stacks)
    };
    scheduler.accept(signed.clone()).unwrap();
    end_of(&scheduler, 0);
    let journal = scheduler.lock().ledger.state();
    for (unix, expected) in [(0, true), (300, true), (301, false)] {
        let mut ledger = Ledger::default();
        // The delivery itself has been forgotten.
        let replays = journal
            .iter()
            .filter(|entry| matches!(entry, Entry::Replay { .. }));
        replays.cloned().for_each(|entry| ledger.apply(entry));
        let acceptance = ledger.recognize(&signed, clock.unix() + unix);
        let is_known = acceptance == Acceptance::Forgotten;
        assert_eq!(is_known, expected, "{unix} s later: {acceptance:?}");
    }
}
