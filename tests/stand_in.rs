//! A stand-in for Portainer in a process of its own, for the tests of the container and the systemd units: the fake Portainer,
//! reachable from other hosts, with one stack, "app-stack". A second port takes one command a connection: `push MILLISECONDS`
//! pushes a new image to the registry, healthy that long after its start; `running` prints the image that runs, and its health;
//! `updates` prints the number of updates so far.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a test support program says where it listens, and fails by panicking"
)]

#[path = "support/fake.rs"]
mod fake;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use fake::{Behaviour, Era, Fake};

const IMAGE: &str = "ghcr.io/acme/web:1";
const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
    healthcheck:
      test: [\"CMD\", \"/web\", \"health\"]
      interval: 200ms
";

/// Takes the addresses to listen on, for Portainer and for commands. The administrator's password is the first line of stdin, an API
/// key of theirs the second (optional): the environment and the arguments of a container are visible to others.
fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut address = || -> SocketAddr {
        let given = arguments.next().and_then(|text| text.parse().ok());
        given.expect("usage: stand-in ADDRESS ADDRESS < PASSWORD")
    };
    let (portainer, orders) = (address(), address());
    let mut lines = std::io::stdin().lines().map_while(Result::ok);
    let password = lines.next().expect("the password is on stdin");
    let api_key = lines.next();

    let mut fake = Fake::start(Era::A);
    fake.move_to(portainer);
    fake.world(|world| {
        world.change_password("admin", &password);
        if let Some(key) = &api_key {
            world.add_api_key("admin", key);
        }
        world.push(IMAGE, healthy(100));
        world.compose_stack("app-stack", FILE, &[]);
    });
    let orders = TcpListener::bind(orders).expect("the second address is free");
    let told = orders.local_addr().expect("it is bound");
    println!("ready {} {told}", fake.url().trim_start_matches("http://"));
    for stream in orders.incoming().map_while(Result::ok) {
        let mut order = String::new();
        if BufReader::new(&stream).read_line(&mut order).is_ok() {
            // The client may have closed the connection.
            let _ = writeln!(&stream, "{}", obey(&fake, order.trim_end()));
        }
    }
}

fn obey(fake: &Fake, order: &str) -> String {
    let running = || fake.world(|world| world.container("app-stack", "web"));
    match order.split_once(' ').unwrap_or((order, "")) {
        ("push", after) => {
            let after = after.parse().expect("milliseconds");
            fake.world(|world| world.push(IMAGE, healthy(after)))
        }
        ("running", "") => {
            let running = running();
            format!("{} {}", running.image_id, running.health.unwrap_or("none"))
        }
        ("updates", "") => fake.puts().len().to_string(),
        _ => format!("unknown order {order:?}"),
    }
}

fn healthy(milliseconds: u64) -> Behaviour {
    Behaviour::Healthy {
        after: Duration::from_millis(milliseconds),
    }
}
