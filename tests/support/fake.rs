//! A fake Portainer: a real HTTP server on the loopback interface that behaves like each era of Portainer, with a small model of a
//! Docker host behind it. Pulling, updating and recreating change what its container list shows. It does not know what a
//! test expects.
//!
//! Start one with [`Fake::start`], prepare and inspect it with [`Fake::world`], read the requests that it received with [`Fake::calls`],
//! and inject faults with [`Fake::fault`]. Time is real time plus an offset: advance [`Fake::clock`] instead of sleeping.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test support module fails by panicking, and the test with it"
)]
#![allow(
    dead_code,
    reason = "mounted by the crate's unit tests, the test binary and the demo; each uses a part"
)]

// `path` because the file is mounted from three places, and only one of them would look in `fake/` by itself.
#[path = "fake/era.rs"]
mod era;
#[path = "fake/time.rs"]
mod time;
#[path = "fake/http.rs"]
mod http;
#[path = "fake/life.rs"]
mod life;
#[path = "fake/image.rs"]
mod image;
#[path = "fake/engine.rs"]
mod engine;
#[path = "fake/compose.rs"]
mod compose;
#[path = "fake/interpolate.rs"]
mod interpolate;
#[path = "fake/record.rs"]
mod record;
#[path = "fake/world.rs"]
mod world;
#[path = "fake/scene.rs"]
mod scene;
#[path = "fake/setup.rs"]
mod setup;
#[path = "fake/seen.rs"]
mod seen;
#[path = "fake/deploy.rs"]
mod deploy;
#[path = "fake/up.rs"]
mod up;
#[path = "fake/container.rs"]
mod container;
#[path = "fake/swarm.rs"]
mod swarm;
#[path = "fake/swarm_deploy.rs"]
mod swarm_deploy;
#[path = "fake/swarm_api.rs"]
mod swarm_api;
#[path = "fake/git.rs"]
mod git;
#[path = "fake/auth.rs"]
mod auth;
#[path = "fake/stacks.rs"]
mod stacks;
#[path = "fake/rights.rs"]
mod rights;
#[path = "fake/filters.rs"]
mod filters;
#[path = "fake/docker.rs"]
mod docker;
#[path = "fake/docker_images.rs"]
mod docker_images;
#[path = "fake/routes.rs"]
mod routes;
#[path = "fake/faults.rs"]
mod faults;
#[path = "fake/server.rs"]
mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

#[allow(unused_imports, reason = "each mount uses a part")]
pub(crate) use self::{
    auth::Setup,
    engine::EngineStyle,
    era::Era,
    faults::{Fault, Gate, When},
    image::ImageId,
    life::{Behaviour, Healthcheck},
    record::{EnvironmentId, Kind, Source, Stack, StackId},
    seen::Seen,
    server::Call,
    world::World,
};

use self::server::{Listening, Shared};
use self::time::Clock;

/// A running fake; it stops its own threads when it is dropped.
pub(crate) struct Fake {
    listening: Mutex<Option<Listening>>,
    address: SocketAddr,
    shared: Arc<Shared>,
    api_key: String,
    password: String,
}

/// Each fake of a process gets its own key, password and ids.
static SEED: AtomicU64 = AtomicU64::new(1);

impl Fake {
    /// A Portainer of this era with one administrator who has one API key, and one environment: id 1, "local".
    pub(crate) fn start(era: Era) -> Fake {
        let clock = Clock::start();
        let number = SEED.fetch_add(1, Ordering::SeqCst);
        let seed = clock.now() ^ (u64::from(std::process::id()) << 40) ^ (number << 20);
        let mut world = World::new(era, clock.clone(), seed);
        let password = format!("pw-sentinel-{}", world.hex(16));
        let admin = world.users.add("admin", &password, true);
        let api_key = world.new_key();
        world.users.add_key(admin, &api_key);
        let shared = Arc::new(Shared::new(world, clock));
        let listening = Listening::start(&shared, own_address(number));
        Fake {
            address: listening.address,
            listening: Mutex::new(Some(listening)),
            shared,
            api_key,
            password,
        }
    }

    /// `http://127.X.Y.Z:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The administrator's API key: `ptr_sentinel/…`, with every special character that base64 has.
    pub(crate) fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The administrator's name.
    pub(crate) fn user(&self) -> &'static str {
        "admin"
    }

    /// The administrator's password: `pw-sentinel-…`.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// The offset of the fake's clock from real time (ms). Health, restarts, grace periods, deployments and bans all follow it.
    pub(crate) fn clock(&self) -> Arc<AtomicU64> {
        self.shared.clock.ahead()
    }

    /// Makes the fake move its clock forward instead of waiting when an answer takes time.
    pub(crate) fn skip_waiting(&self, skip: bool) {
        self.shared.skip_waiting.store(skip, Ordering::SeqCst);
    }

    /// Changes or inspects the world, under its lock, after everything that is due by now has happened.
    pub(crate) fn world<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.shared.world();
        world.advance();
        act(&mut world)
    }

    /// Injects a fault into later requests.
    pub(crate) fn fault(&self, when: When, fault: Fault) {
        self.shared.faults.lock().unwrap().add(when, fault);
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Closes the listener, so that connections are refused. Open connections and deployments continue.
    pub(crate) fn go_down(&mut self) {
        self.stop_listening();
    }

    /// As [`Fake::go_down`], for a shared reference.
    pub(crate) fn stop_listening(&self) {
        *self.listening.lock().unwrap() = None;
    }

    /// Listens again at the same address.
    pub(crate) fn start_listening(&self) {
        *self.listening.lock().unwrap() = Some(Listening::start(&self.shared, self.address));
    }

    /// As [`Fake::start_listening`], the counterpart of [`Fake::go_down`].
    pub(crate) fn come_back(&mut self) {
        self.start_listening();
    }

    /// Listens at this address from now on, so that programs on other hosts or in containers reach it.
    pub(crate) fn move_to(&mut self, address: SocketAddr) {
        self.go_down();
        self.address = address;
        self.come_back();
        self.address = self.listening.get_mut().unwrap().as_ref().unwrap().address;
    }

    /// All requests so far, in the order of arrival.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared
            .calls
            .lock()
            .unwrap()
            .iter()
            .map(|(_, call)| call.clone())
            .collect()
    }

    /// The updates among the calls.
    pub(crate) fn puts(&self) -> Vec<Call> {
        self.calls()
            .into_iter()
            .filter(|call| call.method == "PUT")
            .collect()
    }

    /// Discards the calls so far.
    pub(crate) fn forget_calls(&self) {
        self.shared.calls.lock().unwrap().clear();
    }
}

/// An address of this host at which no other program listens (RFC 1122 section 3.2.1.3: all of 127.0.0.0/8 is this host): while the fake is
/// down, no other program gets its port, and connections are certain to be refused.
fn own_address(number: u64) -> SocketAddr {
    let own = (std::process::id() & 0x3ff) << 12 | u32::try_from(number & 0xfff).unwrap();
    let network = Ipv4Addr::new(127, 64, 0, 0).to_bits();
    SocketAddr::from((Ipv4Addr::from_bits(network | own), 0))
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop_listening();
        self.shared.stop();
    }
}
