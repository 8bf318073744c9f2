//! The redeploy of compose file stacks, era by era, against the fake Portainer.

use super::bench::{Bench, GOOD};
use crate::fake::{Behaviour, Era};
use crate::stack::order::Order;
use crate::stack::outcome::Outcome;

const ERAS: [Era; 4] = [Era::A, Era::B, Era::C, Era::D];

#[test]
fn a_newer_image_restarts_exactly_its_service_in_every_era() {
    for era in ERAS {
        let bench = Bench::new(era);
        let before = bench.containers();
        let new = bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", GOOD));
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Updated, "{era:?} {report:?}");
        assert_eq!(report.message, "1 of 2 services updated, all healthy");
        assert_eq!(
            (report.verified, bench.recreated(&before)),
            (Some(true), vec!["web".to_owned()])
        );
        assert_eq!(bench.images()["web"], new);
        let puts = bench.fake.puts();
        assert_eq!(puts.len(), 1);
        assert_eq!(
            puts[0].body["Env"],
            serde_json::json!([{"name": "TAG", "value": "1"}, {"name": "GREETING", "value": "hello"}])
        );
    }
}

#[test]
fn nothing_newer_touches_nothing() {
    for era in ERAS {
        let bench = Bench::new(era);
        let before = bench.containers();
        let report = bench.run(&Order::default());
        assert_eq!(
            (report.outcome, report.verified),
            (Outcome::Unchanged, Some(true)),
            "{era:?} {report:?}"
        );
        assert_eq!(report.message, "nothing newer, all healthy");
        assert_eq!((bench.containers(), bench.fake.puts().len()), (before, 0));
    }
}

#[test]
fn an_unhealthy_image_is_a_failure_and_stays_one() {
    for era in ERAS {
        let bench = Bench::new(era);
        bench
            .fake
            .world(|world| world.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Failed, "{era:?} {report:?}");
        assert_eq!(report.message, "the update was made, but web is unhealthy");
        let again = bench.run(&Order::default());
        assert_eq!(again.outcome, Outcome::Failed, "{era:?} {again:?}");
        assert_eq!(again.message, "nothing newer, and web is still unhealthy");
    }
}
