//! Services whose tasks come and go, and what is said of each at which time.

use super::*;

const OLD: &str = "example.org/web:1@sha256:old";
const NEW: &str = "example.org/web:1@sha256:new";

fn task(image: &str, state: &str, desired: &str, error: &str) -> SwarmTask {
    let (image, state) = (image.to_owned(), state.to_owned());
    let exit_code = if error.contains("(3)") { 3 } else { 0 };
    SwarmTask {
        image,
        force_update: 0,
        state,
        desired: desired.to_owned(),
        error: error.to_owned(),
        exit_code,
    }
}

fn service(
    image: &str,
    version: u64,
    rollout: Option<&str>,
    tasks: Vec<SwarmTask>,
) -> SwarmService {
    SwarmService {
        id: "s1".to_owned(),
        name: "web".to_owned(),
        image: image.to_owned(),
        version,
        force_update: 0,
        wants: Replicas::Running(1),
        rollout: rollout.map(|state| (state.to_owned(), format!("update {state}"))),
        tasks,
    }
}

fn running(image: &str) -> Vec<SwarmTask> {
    vec![task(image, "running", "running", "")]
}

/// Looks every second; returns the second of the verdict, who is bad, and whether something was recreated.
#[track_caller]
fn check(
    before: SwarmService,
    at: impl Fn(u64) -> SwarmService,
    second: u64,
    bad: bool,
    recreated: bool,
) -> Verdict {
    let began = Instant::now();
    let seen = |service| ServiceSnapshot {
        services: vec![service],
    };
    let mut watch = ServiceWatch::new(
        seen(before),
        BTreeSet::new(),
        Duration::from_secs(60),
        began,
    );
    for tick in 0..1000 {
        if let Some(verdict) = watch.observe(began + Duration::from_secs(tick), &seen(at(tick))) {
            assert_eq!(
                (tick, !verdict.bad.is_empty(), verdict.recreated()),
                (second, bad, recreated)
            );
            return verdict;
        }
    }
    panic!("no verdict in 1000 s");
}

#[test]
fn a_rollout_is_followed_to_its_end() {
    let at = |tick| match tick {
        0..5 => service(NEW, 20, Some("updating"), running(OLD)),
        _ => service(NEW, 30, Some("completed"), running(NEW)),
    };
    check(service(OLD, 10, None, running(OLD)), at, 5, false, true);
}

#[test]
fn recognises_a_submit_that_changes_nothing() {
    check(
        service(OLD, 10, Some("completed"), running(OLD)),
        |_| service(OLD, 12, None, running(OLD)),
        0,
        false,
        false,
    );
}

#[test]
fn a_paused_rollout_fails_with_the_error_of_its_task() {
    let tasks = vec![
        task(NEW, "failed", "shutdown", "task: non-zero exit (3)"),
        task(NEW, "ready", "ready", ""),
    ];
    let at = |tick| match tick {
        0..4 => service(NEW, 20, Some("updating"), running(OLD)),
        _ => service(NEW, 22, Some("paused"), tasks.clone()),
    };
    let verdict = check(service(OLD, 10, None, running(OLD)), at, 4, true, true);
    assert_eq!(
        verdict.reasons["web"],
        "task: non-zero exit (3); update paused"
    );
    assert_eq!(
        (verdict.services[0].exit_code, verdict.services[0].restarts),
        (Some(3), Some(1))
    );
}

#[test]
fn a_rolled_back_rollout_is_a_failure_although_the_old_image_runs() {
    let at = |_| service(OLD, 30, Some("rollback_completed"), running(OLD));
    check(service(OLD, 10, None, running(OLD)), at, 0, true, true);
}

#[test]
fn an_old_failure_of_another_update_is_not_ours() {
    let before = service(OLD, 30, Some("rollback_completed"), running(OLD));
    check(before.clone(), |_| before.clone(), 0, false, false);
}

#[test]
fn an_image_that_does_not_exist_is_a_failure_in_time() {
    let tasks = vec![task(
        "example.org/web:nope",
        "rejected",
        "shutdown",
        "No such image: example.org/web:nope",
    )];
    let at = |_| service("example.org/web:nope", 20, Some("updating"), tasks.clone());
    let verdict = check(service(OLD, 10, None, running(OLD)), at, 60, true, true);
    assert!(verdict.reasons["web"].starts_with("No such image"));
}

#[test]
fn a_job_completes_and_a_service_may_want_no_tasks() {
    let job = |tasks| SwarmService {
        wants: Replicas::Completed(2),
        ..service(NEW, 20, None, tasks)
    };
    let done = vec![
        task(NEW, "complete", "shutdown", ""),
        task(NEW, "complete", "shutdown", ""),
    ];
    let verdict = check(job(vec![]), |_| job(done.clone()), 0, false, false);
    assert_eq!(verdict.services[0].state, ServiceState::Completed);
    let none = |_| SwarmService {
        wants: Replicas::Running(0),
        ..service(NEW, 20, Some("completed"), vec![])
    };
    check(service(OLD, 10, None, vec![]), none, 0, false, true);
}

#[test]
fn a_change_without_a_rollout_must_settle() {
    check(
        service(OLD, 10, None, running(OLD)),
        |_| service(NEW, 20, None, running(NEW)),
        10,
        false,
        true,
    );
}

/// With "start-first" they run on until those of the new spec do.
#[test]
fn tasks_of_an_earlier_spec_do_not_count() {
    let at = |tick| {
        let mut tasks = running(OLD);
        let state = if tick < 5 { "starting" } else { "running" };
        tasks.push(task(NEW, state, "running", ""));
        service(NEW, 20, None, tasks)
    };
    check(service(OLD, 10, None, running(OLD)), at, 15, false, true);
    // The same image, forced: only tasks that were made since then count.
    let at = |tick| {
        let (mut tasks, mut new) = (running(OLD), task(OLD, "starting", "running", ""));
        new.force_update = 1;
        if tick >= 5 {
            "running".clone_into(&mut new.state);
        }
        tasks.push(new);
        let forced = service(OLD, 20, None, tasks);
        SwarmService {
            force_update: 1,
            ..forced
        }
    };
    check(service(OLD, 10, None, running(OLD)), at, 15, false, true);
}

#[test]
fn every_replica_is_wanted() {
    let at = |tick: u64| {
        let running = usize::try_from(tick.min(2)).unwrap() + 1;
        SwarmService {
            wants: Replicas::Running(3),
            ..service(NEW, 20, Some("completed"), running_tasks(running))
        }
    };
    check(service(OLD, 10, None, running(OLD)), at, 2, false, true);
}

fn running_tasks(count: usize) -> Vec<SwarmTask> {
    vec![task(NEW, "running", "running", ""); count]
}

#[test]
fn a_global_service_is_fully_scaled_when_all_its_tasks_run() {
    let global = |state: &str| SwarmService {
        wants: Replicas::RunningEverywhere,
        ..service(
            NEW,
            20,
            Some("completed"),
            vec![
                task(NEW, "running", "running", ""),
                task(NEW, state, "running", ""),
            ],
        )
    };
    let at = |tick| {
        if tick < 3 {
            global("preparing")
        } else {
            global("running")
        }
    };
    check(service(OLD, 10, None, running(OLD)), at, 3, false, true);
}

/// It may be about to be made.
#[test]
fn a_missing_service_fails_after_a_while() {
    let before = service(OLD, 10, None, running(OLD));
    let expected = BTreeSet::from(["db".to_owned(), "web".to_owned()]);
    for (comes_at, second, bad) in [(0, 0, false), (4, 4, false), (99, 10, true)] {
        let began = Instant::now();
        let mut watch = ServiceWatch::new(
            ServiceSnapshot {
                services: vec![before.clone()],
            },
            expected.clone(),
            Duration::from_secs(60),
            began,
        );
        let looks = (0..).map(|tick| {
            let mut services = vec![before.clone()];
            if tick >= comes_at {
                services.push(SwarmService {
                    id: "s2".to_owned(),
                    name: "db".to_owned(),
                    ..service(OLD, 5, Some("completed"), running(OLD))
                });
            }
            let now = began + Duration::from_secs(tick);
            (tick, watch.observe(now, &ServiceSnapshot { services }))
        });
        let mut verdicts = looks.filter_map(|(tick, verdict)| Some((tick, verdict?)));
        let (tick, verdict) = verdicts.next().unwrap();
        assert_eq!(
            (tick, verdict.bad.contains(&"db".to_owned())),
            (second, bad)
        );
        assert_eq!(verdict.services.len(), 2);
    }
}
