//! A full history at a start: that all of it is there, and for who wants to see it (`--nocapture`) how long that takes.

use super::*;
use crate::delivery::ledger::Ledger;
use crate::stack::outcome::{ServiceReport, ServiceState};

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the time is shown, not judged: machines differ"
)]
fn a_full_history_is_there_after_a_start() {
    let stacks = [stack("a")];
    let service = |name: &str| ServiceReport {
        service: name.to_owned(),
        image: format!("ghcr.io/acme/{name}:1"),
        image_id: None,
        previous_image_id: None,
        new_image: true,
        recreated: true,
        state: ServiceState::Healthy,
        exit_code: None,
        restarts: None,
    };
    let report = StackReport {
        services: ["web", "worker", "db"].map(service).to_vec(),
        ..updated(&stacks[0])
    };
    let mut ledger = Ledger::default();
    for number in 0..u16::try_from(limits::ENDED_DELIVERIES).unwrap() {
        let (accepted, stack) = (accepted(number, &stacks), stacks[0].key.clone());
        ledger.apply(Entry::Accepted { accepted, unix: 1 });
        ledger.apply(Entry::Started(stack.clone()));
        let report = report.clone();
        ledger.apply(Entry::Ended {
            stack,
            report,
            unix: 1,
        });
    }
    let dir = TempDir::new();
    let (mut journal, _) = Journal::open(dir.path(), 1, Duration::ZERO).unwrap();
    journal.rewrite(&ledger.state()).unwrap();
    drop(journal);
    let bytes = fs::metadata(dir.path().join("journal")).unwrap().len();
    let began = Instant::now();
    let scheduler = scheduler(&stacks, Some(dir.path()), |task, _| updated(&task.stack));
    println!(
        "{} deliveries, {bytes} bytes: read in {} ms",
        limits::ENDED_DELIVERIES,
        began.elapsed().as_millis()
    );
    let last = u16::try_from(limits::ENDED_DELIVERIES - 1).unwrap();
    for number in [0, last] {
        let delivery = scheduler.find(&accepted(number, &[]).id).unwrap();
        assert_eq!(delivery.status(), DeliveryStatus::Succeeded);
    }
    assert_eq!(scheduler.history().len(), limits::HISTORY);
}
