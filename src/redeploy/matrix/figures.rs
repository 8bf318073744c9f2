//! How much is asked of Portainer: calls and time for stacks of 1, 10 and 100 services, printed, and held to what they may be.
//! The time is that of the client and the fake together, on loopback, with every wait skipped.

use std::time::Instant;

use crate::fake::{Behaviour, Era};
use crate::redeploy::bench::Bench;
use crate::stack::order::Order;
use crate::stack::outcome::Outcome;

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
    println!("services newer outcome    PUT  POST   GET looks  milliseconds");
    for services in [1, 10, 100] {
        for newer in [0, 1, services] {
            let bench = bench(services);
            bench.fake.world(|world| {
                for number in 1..=newer {
                    world.push(&format!("ghcr.io/acme/s{number}:1"), Behaviour::Runs);
                }
            });
            bench.fake.forget_calls();
            let began = Instant::now();
            let report = bench.run(&Order::default());
            let took = began.elapsed().as_millis();
            let calls = bench.fake.calls();
            let count = |method: &str| calls.iter().filter(|call| call.method == method).count();
            let looks = calls
                .iter()
                .filter(|call| call.path.ends_with("/containers/json"))
                .count();
            let (puts, pulls, gets) = (count("PUT"), count("POST"), count("GET"));
            println!(
                "{services:>8} {newer:>5} {:<9} {puts:>4} {pulls:>5} {gets:>5} {looks:>5} {took:>13}",
                report.outcome.name()
            );
            let outcome = if newer == 0 {
                Outcome::Unchanged
            } else {
                Outcome::Updated
            };
            assert_eq!(report.outcome, outcome, "{report:?}");
            assert_eq!((puts, pulls), (newer.min(1), services), "{report:?}");
            // Images before and after the pull, each container at each look, and a handful about the stack itself.
            assert!(
                gets <= services * (2 + looks) + looks + 8,
                "{gets} GETs, {looks} looks"
            );
            // The images settle for ten seconds, a look a second.
            assert!(looks <= 14, "{looks} looks");
        }
    }
}
