//! Very many deliveries: all of them accepted, all of them answered, and a start that does not mind.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::{accept, end, setup};
use crate::support::fake::Era;
use crate::support::program::Stackhook;
use crate::support::shop::{self, GOOD, SECRET, WEB, pull_held};

/// Deliveries that one hook may have open: half of the table.
const OPEN_OF_ONE_HOOK: usize = 2048;

/// So many deliveries from so many clients, which begin at the same moment; their status URLs, and how long each of them took to be
/// accepted, in order.
pub(super) fn crowd(
    server: &Stackhook,
    clients: usize,
    deliveries: usize,
) -> (Vec<String>, Vec<Duration>) {
    let together = Barrier::new(clients);
    let share = |client: usize| deliveries / clients + usize::from(client < deliveries % clients);
    let (urls, mut took): (Vec<String>, Vec<Duration>) = std::thread::scope(|scope| {
        let client = |client: usize| {
            let (together, share) = (&together, share(client));
            scope.spawn(move || {
                together.wait();
                let one = |_| {
                    let asked = Instant::now();
                    (accept(server, "{}").unwrap(), asked.elapsed())
                };
                (0..share).map(one).collect::<Vec<_>>()
            })
        };
        let clients: Vec<_> = (0..clients).map(client).collect();
        let replies = clients.into_iter();
        replies.flat_map(|client| client.join().unwrap()).unzip()
    });
    took.sort();
    (urls, took)
}

/// More clients than there are places.
#[test]
fn a_thousand_are_accepted_at_once_and_all_can_be_asked_about_afterwards() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    fake.world(|world| world.push(WEB, GOOD));
    fake.forget_calls();
    let (urls, took) = crowd(&server, 60, 1000);
    println!("accepted: p50 {:?}, p99 {:?}", took[500], took[990]);
    assert_eq!(urls.iter().collect::<BTreeSet<_>>().len(), 1000);
    for url in &urls {
        assert_eq!(end(&server, url).0, 200);
    }
    assert!(fake.puts().len() <= 2, "{} updates", fake.puts().len());
    // Neither does the end of the process take the answers away.
    let server = server.kill().1.serve();
    for url in &urls {
        assert_eq!(server.get(url).status, 200);
    }
}

#[test]
fn a_restart_resumes_all_open_deliveries_of_a_hook_and_refuses_further_ones() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let gate = pull_held(&fake);
    fake.forget_calls();
    let (urls, _) = crowd(&server, 40, OPEN_OF_ONE_HOOK);
    let started = |server: Stackhook, what: &str| {
        let setup = server.kill().1;
        let began = Instant::now();
        let server = setup.serve();
        println!("listens {:?} after the start, with {what}", began.elapsed());
        server
    };
    let server = started(server, "all open deliveries");
    server.wait_for_log(&format!("open deliveries: {OPEN_OF_ONE_HOOK},"));
    let headers = [("Prefer", "respond-async")];
    let reply = server.signed_with("/webhook/update/", SECRET, &headers, "{}");
    assert_eq!(
        (reply.status, reply.header("Retry-After")),
        (503, Some("10"))
    );
    assert!(
        reply
            .text()
            .contains("too many deliveries are open; try again"),
        "{}",
        reply.text()
    );
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get(urls.last().unwrap()).status, 202);
    gate.open();
    for url in urls.iter().step_by(64).chain(urls.last()) {
        assert_eq!(end(&server, url).0, 200);
    }
    assert!(fake.puts().len() <= 2, "{} updates", fake.puts().len());
    let server = started(server, "all of them ended");
    for url in urls.iter().step_by(64).chain(urls.last()) {
        assert_eq!(server.get(url).status, 200);
    }
    accept(&server, "{}").unwrap();
}
