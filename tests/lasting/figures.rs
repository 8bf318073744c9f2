//! Figures, for an idle machine: `cargo test --test main figures -- --ignored --nocapture`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::crowds::crowd;
use super::{end, setup};
use crate::support::fake::{Era, Fake};
use crate::support::program::{Setup, Stackhook};
use crate::support::shop::{self, SECRET, pull_held, variables};

fn threads(server: &Stackhook) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("Threads:"));
    line.unwrap().split_whitespace().last().unwrap().to_owned()
}

fn accepted(what: &str, fake: &Fake, setup: Setup) {
    let server = setup.serve();
    let gate = pull_held(fake);
    println!("{what}: {} threads at rest", threads(&server));
    for clients in [1, 20, 60] {
        let began = Instant::now();
        let (_, took) = crowd(&server, clients, 1000);
        println!(
            "{what}: 1000 deliveries by {clients} clients in {:?}: p50 {:?}, p99 {:?}; {} threads afterwards",
            began.elapsed(),
            took[500],
            took[990],
            threads(&server)
        );
    }
    gate.open();
}

#[test]
#[ignore = "prints figures"]
fn figures_of_accepting() {
    let fake = shop::portainer(Era::A);
    accepted("with a state_dir", &fake, setup(&fake));
    let fake = shop::portainer(Era::A);
    accepted("in memory", &fake, variables(Setup::with(&fake)));
}

#[test]
#[ignore = "prints figures; needs strace"]
fn figures_of_writing() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let counts = server.setup().path().join("counts");
    for (what, update) in [("that changes nothing", false), ("with an update", true)] {
        let mut strace = Command::new("strace")
            .args(["-f", "-c", "-e", "trace=fsync,fdatasync", "-o"])
            .arg(&counts)
            .args(["-p", &server.id().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace");
        // It says nothing that could be waited for.
        std::thread::sleep(Duration::from_secs(1));
        for _ in 0..10 {
            if update {
                fake.world(|world| world.push(shop::WEB, shop::GOOD));
            }
            let reply = server.signed("/webhook/update/", SECRET, "{}");
            match reply.status {
                202 => drop(end(&server, reply.header("Location").unwrap())),
                status => assert_eq!(status, 200, "{}", reply.text()),
            }
        }
        let interrupt = Command::new("kill")
            .args(["-INT", &strace.id().to_string()])
            .status();
        assert!(interrupt.unwrap().success());
        strace.wait().unwrap();
        let said = std::fs::read_to_string(&counts).unwrap();
        println!("10 deliveries {what}, one after the other:\n{said}");
    }
}
