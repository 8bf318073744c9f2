//! Counts the calls to Portainer and their time for stacks of 1, 10 and 100 services, prints them and checks their limits.
//! The times are of loopback, with every wait skipped: "wall" is all of it, "fake" the sum of the times that the fake
//! Portainer took to answer, "own" the part of "wall" in which no call was being answered.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::fake::{Behaviour, Call, Era, Fault, Gate, When};
use crate::redeploy::bench::Bench;
use crate::redeploy::inspect;
use crate::stack::order::Order;
use crate::stack::outcome::Outcome;
use crate::stack::{PullMode, RollBack};

fn bench(services: usize) -> Bench {
    Bench::with(Era::A, |world| {
        let mut file = String::from("services:\n");
        for number in 1..=services {
            let image = format!("ghcr.io/acme/s{number}:1");
            world.push(&image, Behaviour::Runs);
            file.push_str(&format!(
                "  s{number}:\n    image: {image}\n    restart: always\n"
            ));
        }
        world.compose_stack("web-stack", &file, &[]);
    })
}

#[test]
fn calls_grow_with_the_services_and_not_with_their_square() {
    println!(
        "| services | newer | outcome | PUT | POST | GET | looks | wall ms | fake ms | own ms | of it a call, µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for services in [1, 10, 100] {
        for newer in BTreeSet::from([0, 1, services]) {
            let bench = bench(services);
            bench.fake.world(|world| {
                for number in 1..=newer {
                    world.push(&format!("ghcr.io/acme/s{number}:1"), Behaviour::Runs);
                }
            });
            bench.fake.forget_calls();
            let began = Instant::now();
            let report = bench.run(&Order::default());
            let wall = began.elapsed();
            let calls = bench.fake.calls();
            let count = |method: &str| calls.iter().filter(|call| call.method == method).count();
            let looks = calls.iter().filter(|call| is_look(call)).count();
            let (puts, pulls, gets) = (count("PUT"), count("POST"), count("GET"));
            let own = wall.saturating_sub(answering(&calls));
            let fake: Duration = calls.iter().map(|call| took(call).1 - took(call).0).sum();
            println!(
                "| {services} | {newer} | {} | {puts} | {pulls} | {gets} | {looks} | {:.1} | {:.1} | {:.1} | {:.0} |",
                report.outcome.name(),
                wall.as_secs_f64() * 1e3,
                fake.as_secs_f64() * 1e3,
                own.as_secs_f64() * 1e3,
                own.as_secs_f64() * 1e6 / calls.len() as f64,
            );
            let outcome = if newer == 0 {
                Outcome::Unchanged
            } else {
                Outcome::Updated
            };
            assert_eq!(report.outcome, outcome, "{report:?}");
            assert_eq!((puts, pulls), (newer.min(1), services), "{report:?}");
            // Images before and after the pull; containers before the update and when the verdict is drawn, new ones also when
            // they come; and a handful about the stack itself.
            let most = match newer {
                0 => 3 * services + 5,
                _ => 4 * services + newer + looks + 7,
            };
            assert!(gets <= most, "{gets} GETs of {most}, {looks} looks");
            // The images settle for ten seconds, a look a second.
            assert!(looks <= 14, "{looks} looks");
            assert_eq!(repeated(&calls), Vec::<String>::new());
        }
    }
}

/// However a redeploy goes: Portainer pulls, a pull fails, the new image does not start, and the stack goes back.
#[test]
fn calls_are_not_repeated_without_need() {
    let check = |pull: PullMode, rollback: RollBack, newer: Behaviour, expected: Outcome| {
        let mut bench = bench(3);
        bench.stack.pull = pull;
        bench.stack.rollback = rollback;
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/s2:1", newer));
        bench.fake.forget_calls();
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, expected, "{report:?}");
        let repeated = repeated(&bench.fake.calls());
        assert_eq!(repeated, Vec::<String>::new(), "{report:?}");
    };
    let crashes = || Behaviour::CrashLoop {
        every: Duration::from_millis(300),
        code: 3,
    };
    let never = RollBack::Never;
    check(PullMode::First, never, Behaviour::Runs, Outcome::Updated);
    check(PullMode::Never, never, Behaviour::Runs, Outcome::Unchanged);
    check(
        PullMode::Portainer,
        never,
        Behaviour::Runs,
        Outcome::Updated,
    );
    check(PullMode::First, never, crashes(), Outcome::Failed);
    let back = RollBack::WhenUnhealthy;
    check(PullMode::First, back, crashes(), Outcome::Failed);
    check(PullMode::Portainer, back, crashes(), Outcome::Failed);
    let down = RollBack::WhenDown;
    check(
        PullMode::First,
        down,
        Behaviour::CannotStart,
        Outcome::Failed,
    );
}

fn is_look(call: &Call) -> bool {
    call.path.ends_with("/containers/json")
}

/// GETs that were repeated although nothing could have changed the answer: no call changed anything, and no new inspection or search
/// began. The stack, its file and the list of its containers are read again right before an update, because they may have been edited.
fn repeated(calls: &[Call]) -> Vec<String> {
    let mut asked = BTreeSet::new();
    let mut repeated = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let sends = |call: &Call| call.method == "PUT";
        let last_check = calls[at..].iter().take(4).any(sends);
        let begins = is_look(call) || call.path == "/api/stacks";
        if call.method != "GET" || begins || last_check {
            asked.clear();
        } else if !asked.insert((&call.path, &call.query)) {
            repeated.push(call.path.clone());
        }
    }
    repeated
}

fn took(call: &Call) -> (Instant, Instant) {
    (call.began, call.ended.unwrap_or(call.began))
}

/// The time during which at least one call was being answered.
fn answering(calls: &[Call]) -> Duration {
    let mut times: Vec<(Instant, Instant)> = calls.iter().map(took).collect();
    times.sort();
    let mut sum = Duration::ZERO;
    let mut until = None;
    for (began, ended) in times {
        let from = until.map_or(began, |until: Instant| until.max(began));
        sum += ended.saturating_duration_since(from);
        until = Some(ended.max(from));
    }
    sum
}

#[test]
fn calls_that_do_not_depend_on_each_other_are_under_way_side_by_side() {
    let bench = bench(10);
    let gate = Gate::default();
    let images = "/api/endpoints/1/docker/images/";
    bench
        .fake
        .fault(When::every("GET", images), Fault::Hold(gate.clone()));
    let report = thread::scope(|scope| {
        let redeploy = scope.spawn(|| bench.run(&Order::default()));
        let deadline = Instant::now() + Duration::from_secs(20);
        let open = |call: &&Call| call.path.starts_with(images) && call.ended.is_none();
        while bench.fake.calls().iter().filter(open).count() < inspect::SIDE_BY_SIDE {
            assert!(Instant::now() < deadline, "{:?}", bench.fake.calls());
            thread::sleep(Duration::from_millis(1));
        }
        gate.open();
        redeploy.join().unwrap()
    });
    assert_eq!(report.outcome, Outcome::Unchanged, "{report:?}");
}
