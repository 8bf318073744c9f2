//! A stand-in for Portainer in a process of its own, for the tests of the container and the systemd units: the fake
//! Portainer, open to the network, with one stack, "app-stack". A second port takes orders, one a connection, from whoever
//! tests: `push MILLISECONDS` puts a new image into the registry, healthy that long after its start; `running` names the
//! image that runs, and its health; `updates` counts the updates so far.

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

/// Addresses to listen at, as Portainer and for orders; the administrator's password is read from stdin, because the
/// environment and arguments of a container can be looked at.
fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut address = || -> SocketAddr {
        let given = arguments.next().and_then(|text| text.parse().ok());
        given.expect("usage: stand-in ADDRESS ADDRESS < PASSWORD")
    };
    let (portainer, orders) = (address(), address());
    let mut password = String::new();
    std::io::stdin()
        .read_line(&mut password)
        .expect("the password is on stdin");

    let mut fake = Fake::start(Era::A);
    fake.move_to(portainer);
    fake.world(|world| {
        world.change_password("admin", password.trim_end());
        world.push(IMAGE, healthy(100));
        world.compose_stack("app-stack", FILE, &[]);
    });
    let orders = TcpListener::bind(orders).expect("the second address is free");
    let told = orders.local_addr().expect("it is bound");
    println!("ready {} {told}", fake.url().trim_start_matches("http://"));
    for stream in orders.incoming().map_while(Result::ok) {
        let mut order = String::new();
        if BufReader::new(&stream).read_line(&mut order).is_ok() {
            // Whoever asked may have gone.
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
