//! Kills at random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{accept, end, setup};
use crate::support::fake::{Era, Fault, When};
use crate::support::random::Random;
use crate::support::shop::{self, now, side_by_side};

/// `KILLS` sets the number; the seed is printed and can be given in `SEED`. Several servers are killed side by side, because resolving an
/// update that may or may not have been sent takes a minute, in which further kills would find nothing new to interrupt.
#[test]
fn killed_at_random_moments_it_loses_nothing_and_does_nothing_twice() {
    let number = |name: &str, default: u64| {
        let given = std::env::var(name).ok();
        given.map_or(default, |text| text.parse().unwrap())
    };
    let (kills, seed) = (number("KILLS", 8), number("SEED", now()));
    println!("{kills} kills, SEED={seed}");
    let servers = (kills / 10).clamp(4, 20);
    let share = |server: u64| kills / servers + u64::from(server < kills % servers);
    side_by_side(0..servers, |server| {
        kill(share(server), 25 * servers, seed + server)
    });
}

/// Kills a server repeatedly, with pauses of up to `pause` milliseconds between deliveries.
fn kill(kills: u64, pause: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut millis = |end: u64| random.next() % end;
    let fake = shop::portainer(Era::A);
    let mut server = setup(&fake).serve();
    let mut urls: Vec<String> = Vec::new();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let (mut mark, mut accepted) = (0, 0);
    for round in 1..=kills {
        fake.heal();
        let late = Duration::from_millis(millis(300));
        fake.fault(When::every("PUT", "/api/stacks/"), Fault::Delay(late));
        let alive = Duration::from_millis(millis(1500));
        let began = Instant::now();
        while began.elapsed() < alive {
            mark += 1;
            let mark = mark.to_string();
            let body = json!({"env": {"MARK": mark}, "time": now(), "id": mark});
            urls.extend(accept(&server, &body.to_string()));
            std::thread::sleep(Duration::from_millis(millis(pause)));
            // Portainer tells updates apart by the second in which they were made.
            fake.clock().fetch_add(1000, Ordering::SeqCst);
        }
        server = server.kill().1.serve();
        if round % 5 != 0 && round != kills {
            continue;
        }
        accepted += urls.len();
        for url in urls.drain(..) {
            let (code, body) = end(&server, &url);
            let status = body["status"].as_str().unwrap().to_owned();
            // 409: superseded by a newer value. 504: killed between journal and update.
            assert!(matches!(code, 200 | 409 | 504), "{body}");
            if status == "unknown" {
                println!("{}", body["update_result"]);
            }
            *ends.entry(status).or_default() += 1;
        }
    }
    println!(
        "{accepted} deliveries, {} updates: {ends:?}",
        fake.puts().len()
    );
    let mut seen = BTreeSet::new();
    for put in fake.puts() {
        let env = put.body["Env"].as_array().unwrap().clone();
        let mark = env.into_iter().find(|one| one["name"] == "MARK").unwrap();
        let first = seen.insert(mark["value"].to_string());
        assert!(first, "{mark} was sent twice");
    }
    assert!(ends.contains_key("succeeded"), "{ends:?}");
}
