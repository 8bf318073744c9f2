//! `serve`: wires everything, says where it listens, and ends well when it is told to.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Exit, Stop, Voice, load};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Need};
use crate::engine::{Engine, Redeploy};
use crate::gate::{Door, Settings};
use crate::limits;
use crate::portainer::Portainer;
use crate::redact::Redactor;
use crate::redeploy::past::InMemory;
use crate::redeploy::{self, Context, Images, NotWritten, Observer, Step, Submission};
use crate::request::Behind;
use crate::server::Hop;
use crate::site::Site;
use crate::stack::Stack;
use crate::stack::order::Order;
use crate::stack::outcome::StackReport;

/// Serves until it is told to stop.
pub(super) fn run(file: Option<&Path>) -> Result<Exit, Stop> {
    // Before anything else: as process 1 of a container a signal without a handler does nothing at all.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Stop::Failed(format!("cannot handle signals: {error}")))?;
    let config = load(Need::Serve, file, Voice::Service)?.config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = Engine::new(
        &config.stacks,
        Arc::clone(&clock),
        redeploy(&config, &clock)?,
    );
    let site: Arc<dyn Behind> = Arc::new(Site::new(&config, Arc::clone(&engine), clock));
    let door = Door::bind(config.listen).map_err(Stop::Failed)?;
    let address = door.address().unwrap_or(config.listen);
    let settings = Settings {
        max_body: config.max_body,
        trusted_proxies: config.trusted_proxies.clone(),
    };
    let hop = Hop::new(site).map_err(Stop::Failed)?;
    let gate = door.open(settings, Arc::new(hop)).map_err(Stop::Failed)?;
    log::info!("listening on http://{address}");
    wait_for_stop(signals);
    gate.close();
    if !engine.stop(limits::STOP) {
        log::warn!(
            "stopped in the middle of a redeploy; nothing is kept on disk, so look at the stack in Portainer"
        );
    }
    // Those who waited are told by their own threads.
    if !gate.finish(limits::FINISH) {
        log::warn!("stopped before every reply was taken");
    }
    Ok(Exit::Fine)
}

/// Returns at the first signal to stop; a second one ends the process at once.
fn wait_for_stop(mut signals: Signals) {
    for signal in signals.forever() {
        if signal == SIGHUP {
            log::info!(
                "SIGHUP is ignored: a restart takes milliseconds and reads the configuration anew"
            );
            continue;
        }
        log::info!("stopping");
        break;
    }
    let again = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.forever().any(|signal| signal != SIGHUP) {
                std::process::exit(130);
            }
        });
    if let Err(error) = again {
        log::warn!("a second signal will not be heard: {error}");
    }
}

/// What the engine calls for each redeploy.
fn redeploy(config: &Config, clock: &Arc<dyn Clock>) -> Result<Box<Redeploy>, Stop> {
    let Some(settings) = &config.portainer else {
        return Err(Stop::Configuration(
            "there is no Portainer to serve: set PORTAINER_URL".to_owned(),
        ));
    };
    let portainer = Portainer::new(settings, Arc::clone(clock))
        .map_err(|error| Stop::Configuration(error.to_string()))?;
    let redactor = Redactor::new(config.secrets());
    let (timeout, memory, clock) = (settings.timeout, InMemory::default(), Arc::clone(clock));
    Ok(Box::new(
        move |stack: &Stack, order: &Order, step: &(dyn Fn(&str) + Sync)| -> StackReport {
            let context = Context {
                portainer: &portainer,
                clock: clock.as_ref(),
                observer: &Steps(step),
                memory: &memory,
                redactor: &redactor,
                timeout,
                patience: limits::PATIENCE,
            };
            redeploy::run(&context, stack, order)
        },
    ))
}

/// Passes the steps on; nothing has to survive yet.
struct Steps<'a>(&'a (dyn Fn(&str) + Sync));

impl Observer for Steps<'_> {
    fn step(&self, step: &Step) {
        (self.0)(&step.to_string());
    }

    fn pulling(&self, _: &Images) -> Result<(), NotWritten> {
        Ok(())
    }

    fn submitting(&self, _: &Submission) -> Result<(), NotWritten> {
        Ok(())
    }
}
