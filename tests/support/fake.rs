//! A Portainer for tests: a real HTTP server on the loopback interface that keeps to the contract, era by era, with a small model of a
//! Docker host behind it. Pulling, updating and recreating really change what the container list shows. It knows nothing of what a
//! test expects.
//!
//! Start one with [`Fake::start`], set the scene and look at it with [`Fake::world`], read what was asked of it with [`Fake::calls`],
//! and let things go wrong with [`Fake::fault`]. Time is real time plus an offset: advance [`Fake::clock`] instead of sleeping.

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
    /// A Portainer of this era with one administrator, one API key of hers, and one environment: id 1, "local".
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

    /// By how many milliseconds the fake's clock runs ahead of real time. Health, restarts, grace periods, deploys and bans all follow.
    pub(crate) fn clock(&self) -> Arc<AtomicU64> {
        self.shared.clock.ahead()
    }

    /// Whether the fake, when an answer of its takes time, moves the clock forward instead of letting time pass.
    pub(crate) fn skip_waiting(&self, skip: bool) {
        self.shared.skip_waiting.store(skip, Ordering::SeqCst);
    }

    /// Sets the scene or looks at it, under the lock; everything that is due by now has happened.
    pub(crate) fn world<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.shared.world();
        world.advance();
        act(&mut world)
    }

    /// Lets something go wrong with requests to come.
    pub(crate) fn fault(&self, when: When, fault: Fault) {
        self.shared.faults.lock().unwrap().add(when, fault);
    }

    /// Forgets all faults.
    pub(crate) fn heal(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Nobody listens any more: connections are refused. What runs goes on.
    pub(crate) fn go_down(&mut self) {
        self.stop_listening();
    }

    /// The same, while somebody talks to it.
    pub(crate) fn stop_listening(&self) {
        *self.listening.lock().unwrap() = None;
    }

    /// Listens again, at the same address.
    pub(crate) fn start_listening(&self) {
        *self.listening.lock().unwrap() = Some(Listening::start(&self.shared, self.address));
    }

    /// The same, for whoever owns it.
    pub(crate) fn come_back(&mut self) {
        self.start_listening();
    }

    /// Listens at this address from now on, so that others than this host's programs may ask it.
    pub(crate) fn move_to(&mut self, address: SocketAddr) {
        self.go_down();
        self.address = address;
        self.come_back();
        self.address = self.listening.get_mut().unwrap().as_ref().unwrap().address;
    }

    /// Everything that was asked so far, in the order of arrival.
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

    /// Forgets the calls so far.
    pub(crate) fn forget_calls(&self) {
        self.shared.calls.lock().unwrap().clear();
    }
}

/// An address of this host at which nobody else listens (RFC 1122 section 3.2.1.3: all of 127.0.0.0/8 is this host): while the fake is
/// down, no other one gets its port, and it is refused for sure.
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
