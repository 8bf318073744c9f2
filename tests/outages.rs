//! Portainer or the Docker engine is killed at a random moment of an update or of a rollback, and returns. `OUTAGES` is the number of
//! kills of each kind; the seed is printed and can be given in `SEED`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::fake::{Behaviour, Call, Era, Fake};
use crate::support::shop::{ENV, FILE, GOOD, Shop, WEB, WORKER, now, side_by_side};

/// The longest time that a service may be without a running container: the minute for which an interrupted update must not change
/// before it is rolled back, and the time that outage, rollback and a loaded machine take.
const LONGEST_GAP: Duration = Duration::from_secs(120);
/// The environment of the stack.
const REMOTE: i64 = 2;

/// The process that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Portainer,
    Engine,
}

/// The quality of the new image of `web`; that of `worker` is always good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NewImage {
    /// The kill hits an update.
    Good,
    /// The kill hits an update, or the rollback that follows it.
    Bad,
}

/// One kill.
#[derive(Clone, Copy, Debug)]
struct Outage {
    victim: Victim,
    image: NewImage,
    era: Era,
    /// Time from the delivery to the kill.
    after: Duration,
    /// Time from the kill to the return.
    length: Duration,
}

/// A small generator, so that a run can be repeated.
fn dice(seed: &mut u64, sides: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % sides
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().unwrap())
}

/// Runs `OUTAGES` kills of one kind side by side, because they mostly wait.
fn kill_at_random_moments(victim: Victim, image: NewImage) {
    let (count, mut seed) = (number("OUTAGES", 2), number("SEED", now()));
    println!("{count} kills of {victim:?} with a {image:?} image, SEED={seed}");
    seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let eras = [Era::A, Era::B1, Era::B2, Era::B3, Era::C, Era::D];
    // An update with a bad image takes about twice as long.
    let duration = match image {
        NewImage::Good => 2500,
        NewImage::Bad => 6000,
    };
    let mut outages = Vec::new();
    for round in 0..count {
        let era = usize::try_from(round).unwrap() % eras.len();
        outages.push(Outage {
            victim,
            image,
            era: eras[era],
            after: Duration::from_millis(dice(&mut seed, duration)),
            length: Duration::from_millis(100 + dice(&mut seed, 4000)),
        });
    }
    for some in outages.chunks(20) {
        side_by_side(some.iter().copied(), survive);
    }
}

#[test]
#[ignore = "sensitive to load; .ci/run runs it by itself"]
fn an_update_survives_kills_of_portainer() {
    kill_at_random_moments(Victim::Portainer, NewImage::Good);
}

#[test]
#[ignore = "sensitive to load; .ci/run runs it by itself"]
fn a_rollback_survives_kills_of_portainer() {
    kill_at_random_moments(Victim::Portainer, NewImage::Bad);
}

#[test]
#[ignore = "sensitive to load; .ci/run runs it by itself"]
fn an_update_survives_kills_of_the_engine() {
    kill_at_random_moments(Victim::Engine, NewImage::Good);
}

#[test]
#[ignore = "sensitive to load; .ci/run runs it by itself"]
fn a_rollback_survives_kills_of_the_engine() {
    kill_at_random_moments(Victim::Engine, NewImage::Bad);
}

const CONFIG: &str = "
state_dir = \"state\"
[[stack]]
name = \"shop\"
healthy_within = \"4s\"
rollback = \"when-unhealthy\"
env = [\"MARK\"]
";

/// The stack on an engine that takes its time, so that a kill finds something to interrupt.
fn slow_portainer(era: Era) -> Fake {
    let fake = Fake::start(era);
    fake.world(|world| {
        let remote = world.environment("remote");
        assert_eq!(remote, REMOTE);
        world.push(WEB, GOOD);
        world.push(WORKER, GOOD);
        let mut env = ENV.to_vec();
        env.push(("MARK", "0"));
        world.compose_stack_in(remote, "shop", FILE, &env);
        world.pace.pull = Duration::from_millis(150);
        world.pace.create = Duration::from_millis(200);
        world.pace.start = Duration::from_millis(150);
    });
    fake
}

fn strike(fake: &Fake, outage: Outage) {
    match outage.victim {
        Victim::Portainer => {
            fake.stop_listening();
            fake.world(|world| world.portainer_dies());
            std::thread::sleep(outage.length);
            fake.start_listening();
        }
        Victim::Engine => {
            fake.world(|world| world.engine_dies(REMOTE));
            std::thread::sleep(outage.length);
            fake.world(|world| world.engine_returns(REMOTE));
        }
    }
}

/// The image ids that run in containers of a service.
fn running(fake: &Fake, service: &str) -> BTreeSet<String> {
    let containers = fake.world(|world| world.containers("shop"));
    let running = containers
        .into_iter()
        .filter(|one| one.service == service && one.state == "running");
    running.map(|one| one.image_id).collect()
}

/// Measures the longest time for which a service has no running container, until `done`.
fn longest_gap(fake: &Fake, done: &AtomicBool) -> Duration {
    let (mut longest, mut last_running) = (Duration::ZERO, Instant::now());
    while !done.load(Ordering::SeqCst) {
        let all_run = ["web", "worker"]
            .iter()
            .all(|service| !running(fake, service).is_empty());
        if all_run {
            last_running = Instant::now();
        }
        longest = longest.max(last_running.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    longest
}

/// Delivers a value of the variable, however long the result takes.
fn deliver(shop: &Shop, mark: &str) -> (u16, Value) {
    let body = json!({"env": {"MARK": mark}, "time": now()}).to_string();
    let reply = shop.deliver_patiently(&body);
    (reply.status, reply.json())
}

/// The updates that carry this value, answered or not.
fn sent(fake: &Fake, mark: &str) -> usize {
    let carries = |put: &Call| {
        let env = put.body["Env"].as_array().cloned().unwrap_or_default();
        env.contains(&json!({"name": "MARK", "value": mark}))
    };
    fake.puts().iter().filter(|put| carries(put)).count()
}

/// One kill, and everything that must hold whatever its moment.
fn survive(outage: Outage) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mark = NEXT.fetch_add(1, Ordering::SeqCst).to_string();
    let fake = slow_portainer(outage.era);
    let old: Vec<String> = ["web", "worker"]
        .iter()
        .flat_map(|service| running(&fake, service))
        .collect();
    let shop = Shop::configured(fake, CONFIG);
    let fake = &shop.fake;
    let web = match outage.image {
        NewImage::Good => GOOD,
        NewImage::Bad => Behaviour::NeverHealthy,
    };
    let web = fake.world(|world| world.push(WEB, web));
    let worker = fake.world(|world| world.push(WORKER, GOOD));
    fake.forget_calls();
    let done = AtomicBool::new(false);
    let (reply, gap) = std::thread::scope(|scope| {
        let gap = scope.spawn(|| longest_gap(fake, &done));
        scope.spawn(|| {
            std::thread::sleep(outage.after);
            strike(fake, outage);
        });
        let reply = deliver(&shop, &mark);
        done.store(true, Ordering::SeqCst);
        (reply, gap.join().unwrap())
    });
    let story = format!("{outage:?}: {} {}", reply.0, reply.1["update_result"]);
    println!("{story}; gap {gap:?}, {} updates", fake.puts().len());

    // The new image or the previous one runs, of every service.
    let web_runs = running(fake, "web");
    let worker_runs = running(fake, "worker");
    let known = |runs: &BTreeSet<String>, new: &String, old: &String| {
        runs.len() == 1 && (runs.contains(new) || runs.contains(old))
    };
    let both_run = known(&web_runs, &web, &old[0]) && known(&worker_runs, &worker, &old[1]);
    assert!(
        both_run,
        "{story}: {:?}",
        fake.world(|w| w.containers("shop"))
    );
    assert!(gap < LONGEST_GAP, "{story}: nothing ran for {gap:?}");
    // A success is claimed only of images that run.
    if reply.0 == 200 {
        assert_eq!(reply.1["stacks"][0]["outcome"], "updated", "{story}");
        assert!(
            web_runs.contains(&web) && worker_runs.contains(&worker),
            "{story}: {web_runs:?}"
        );
    }
    assert!(
        reply.0 != 200 || outage.image == NewImage::Good,
        "{story}: a bad image is no success"
    );
    // The update arrives once. A rollback that the kill has interrupted is repeated, once more where Portainer refuses it because of
    // a container that the interrupted update has left behind.
    assert!(sent(fake, &mark) <= 1, "{story}: sent twice");
    assert!(sent(fake, "0") <= 3, "{story}: too many rollbacks");
    assert_eq!(sent(fake, &mark) + sent(fake, "0"), fake.puts().len());

    // Nothing that is not at fault stays blocked: with a good image of `web`, everything new runs.
    let good = match outage.image {
        NewImage::Good => web,
        NewImage::Bad => {
            // The innocent image is deployed without the culprit, at the latest by the second delivery.
            let deliveries = [deliver(&shop, "1000"), deliver(&shop, "2000")];
            assert!(
                running(fake, "worker").contains(&worker),
                "{story}, then {deliveries:?}"
            );
            fake.world(|world| world.push(WEB, GOOD))
        }
    };
    // The value is blocked together with a bad image, so that only a good one sets it again.
    let mark = if outage.image == NewImage::Good {
        &mark
    } else {
        "3000"
    };
    let (code, body) = deliver(&shop, mark);
    assert_eq!(code, 200, "{story}, then {body}");
    assert_eq!(running(fake, "web"), [good].into(), "{story}, then {body}");
    assert_eq!(
        running(fake, "worker"),
        [worker].into(),
        "{story}, then {body}"
    );
}

/// While it is away nothing is concluded and nothing sent again; when it is back, the next delivery brings the new image.
#[test]
fn a_portainer_that_stays_away_is_reported_and_its_return_is_used() {
    let limited = "[portainer]\ntimeout = \"80s\"\n[[stack]]";
    let config = CONFIG.replacen("[[stack]]", limited, 1);
    side_by_side([Era::A, Era::B2, Era::C], |era| {
        let shop = Shop::configured(slow_portainer(era), &config);
        let web = shop.push(WEB, GOOD);
        shop.fake.world(|world| world.dies_in_next_deploy = true);
        let (code, body) = std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + Duration::from_secs(60);
                while shop.fake.puts().is_empty() || shop.fake.world(|world| world.is_deploying()) {
                    assert!(Instant::now() < deadline, "no update");
                    std::thread::sleep(Duration::from_millis(5));
                }
                shop.fake.stop_listening();
            });
            deliver(&shop, "1")
        });
        assert_eq!((code, &body["status"]), (504, &json!("unknown")), "{body}");
        assert_eq!(shop.fake.puts().len(), 1, "{era:?}");
        shop.fake.start_listening();
        let (code, body) = deliver(&shop, "1");
        assert_eq!(code, 200, "{era:?}: {body}");
        assert_eq!(running(&shop.fake, "web"), [web].into(), "{era:?}: {body}");
    });
}
