//! Containers that settle, sicken, crash and end, and what is said of each at which time.

use super::*;

fn container(id: &str, service: &str, state: &str) -> Container {
    Container {
        id: id.to_owned(),
        service: service.to_owned(),
        image_id: format!("sha256:{id}"),
        reference: format!("example.org/{service}:1"),
        state: state.to_owned(),
        health: None,
        exit_code: 0,
        restarts: 0,
        started_at: "2026-11-24T11:40:00Z".to_owned(),
        restart_policy: "unless-stopped".to_owned(),
        health_takes: None,
        waits_for: BTreeSet::new(),
        replaces: false,
    }
}

fn seen(containers: &[Container]) -> ContainerSnapshot {
    ContainerSnapshot {
        containers: containers.to_vec(),
        date: None,
    }
}

fn with_health(id: &str, service: &str, health: &str, takes: u64) -> Container {
    let health = Some(health.to_owned());
    Container {
        health,
        health_takes: Some(Duration::from_secs(takes)),
        ..container(id, service, "running")
    }
}

fn ended(id: &str, service: &str, policy: &str, exit_code: i64) -> Container {
    Container {
        restart_policy: policy.to_owned(),
        exit_code,
        ..container(id, service, "exited")
    }
}

/// Looks every second; `at(second)` is what is there. Returns the second of the verdict, and who is bad.
#[track_caller]
fn check(
    before: &[Container],
    at: impl Fn(u64) -> Vec<Container>,
    second: u64,
    bad: &[&str],
    as_before: &[&str],
) {
    let began = Instant::now();
    let expected = before
        .iter()
        .map(|container| container.service.clone())
        .collect();
    let mut watch = ContainerWatch::new(
        Criteria {
            before: seen(before),
            expected,
            within: Duration::from_secs(120),
            ..Criteria::default()
        },
        began,
    );
    for tick in 0..1000 {
        if let Some(verdict) = watch.observe(began + Duration::from_secs(tick), &seen(&at(tick))) {
            assert_eq!(
                (tick, verdict.bad, verdict.bad_as_before),
                (second, owned(bad), owned(as_before))
            );
            return;
        }
    }
    panic!("no verdict in 1000 s");
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_container_without_a_health_check_must_run_for_ten_seconds() {
    check(
        &[container("a", "web", "running")],
        |_| vec![container("b", "web", "running")],
        10,
        &[],
        &[],
    );
}

#[test]
fn a_container_is_healthy_when_its_health_check_succeeds() {
    let at = |tick| {
        vec![with_health(
            "b",
            "web",
            if tick < 7 { "starting" } else { "healthy" },
            20,
        )]
    };
    check(&[container("a", "web", "running")], at, 7, &[], &[]);
}

#[test]
fn an_unhealthy_container_may_recover_until_the_deadline() {
    let at = |tick| {
        vec![with_health(
            "b",
            "web",
            if tick < 119 { "unhealthy" } else { "healthy" },
            20,
        )]
    };
    check(&[container("a", "web", "running")], at, 119, &[], &[]);
    check(
        &[container("a", "web", "running")],
        |_| vec![with_health("b", "web", "unhealthy", 20)],
        120,
        &["web"],
        &[],
    );
}

#[test]
fn a_health_check_that_takes_longer_moves_the_deadline() {
    check(
        &[container("a", "web", "running")],
        |_| vec![with_health("b", "web", "starting", 300)],
        300,
        &["web"],
        &[],
    );
}

#[test]
fn a_crash_loop_that_looks_running_is_caught() {
    let at = |tick| {
        let started_at = format!("2026-11-24T11:40:{:02}Z", tick / 5);
        vec![Container {
            restarts: tick / 5,
            started_at,
            ..container("b", "web", "running")
        }]
    };
    check(&[container("a", "web", "running")], at, 130, &["web"], &[]);
}

#[test]
fn an_exit_without_a_restart_is_final_at_once() {
    check(
        &[container("a", "web", "running")],
        |_| vec![ended("b", "web", "no", 1)],
        0,
        &["web"],
        &[],
    );
    check(
        &[container("a", "web", "running")],
        |_| vec![ended("b", "web", "no", 0)],
        0,
        &["web"],
        &[],
    );
    check(
        &[container("a", "web", "running")],
        |_| vec![ended("b", "web", "on-failure", 0)],
        0,
        &[],
        &[],
    );
}

#[test]
fn an_exit_with_a_restart_is_waited_for() {
    check(
        &[container("a", "web", "running")],
        |_| vec![ended("b", "web", "always", 1)],
        120,
        &["web"],
        &[],
    );
}

#[test]
fn a_one_shot_service_completes() {
    check(
        &[ended("a", "job", "no", 0)],
        |_| vec![ended("b", "job", "no", 0)],
        0,
        &[],
        &[],
    );
    check(
        &[],
        |_| vec![ended("b", "job", "on-failure", 0)],
        0,
        &[],
        &[],
    );
    let awaited = |_| {
        let waits_for = BTreeSet::from(["job".to_owned()]);
        vec![
            ended("b", "job", "no", 0),
            Container {
                waits_for,
                ..with_health("c", "web", "healthy", 1)
            },
        ]
    };
    check(&[container("a", "job", "running")], awaited, 0, &[], &[]);
    check(
        &[ended("a", "job", "no", 0)],
        |_| vec![ended("b", "job", "always", 0)],
        120,
        &["job"],
        &[],
    );
}

#[test]
fn a_service_without_a_container_is_missing() {
    check(
        &[container("a", "web", "running")],
        |_| vec![],
        10,
        &["web"],
        &[],
    );
}

#[test]
fn an_earlier_failure_is_a_warning_only_if_another_service_was_updated() {
    let before = [
        container("a", "web", "running"),
        with_health("s", "sick", "unhealthy", 20),
    ];
    let at = |_| {
        vec![
            with_health("b", "web", "healthy", 1),
            with_health("s", "sick", "unhealthy", 20),
        ]
    };
    check(&before, at, 0, &[], &["sick"]);
    let nothing_done = |_| {
        vec![
            container("a", "web", "running"),
            with_health("s", "sick", "unhealthy", 20),
        ]
    };
    check(&before, nothing_done, 120, &["sick"], &[]);
}

#[test]
fn a_failure_of_our_last_redeploy_is_not_an_earlier_failure() {
    let before = seen(&[
        container("a", "web", "running"),
        with_health("s", "sick", "unhealthy", 20),
    ]);
    let ours = BTreeSet::from(["sick".to_owned()]);
    let now = Instant::now();
    let criteria = Criteria {
        before,
        failed_last_time: ours,
        within: Duration::from_secs(30),
        ..Criteria::default()
    };
    let mut watch = ContainerWatch::new(criteria, now);
    let after = seen(&[
        with_health("b", "web", "healthy", 1),
        with_health("s", "sick", "unhealthy", 20),
    ]);
    assert_eq!(watch.observe(now, &after), None);
    let verdict = watch
        .observe(now + Duration::from_secs(30), &after)
        .unwrap();
    assert_eq!(
        (verdict.bad, verdict.bad_as_before),
        (owned(&["sick"]), owned(&[]))
    );
}

#[test]
fn a_container_that_has_run_for_long_needs_one_snapshot() {
    let began = Instant::now();
    let criteria = Criteria {
        within: Duration::from_secs(30),
        ..Criteria::default()
    };
    let mut watch = ContainerWatch::new(criteria, began);
    let started = ContainerSnapshot {
        containers: vec![container("a", "web", "running")],
        date: Some(1_795_520_410),
    };
    assert_eq!(
        watch.observe(began, &started).map(|verdict| verdict.bad),
        Some(vec![])
    );
    let young = ContainerSnapshot {
        date: Some(1_795_520_409),
        ..started
    };
    assert_eq!(watch.observe(began, &young), None);
}
