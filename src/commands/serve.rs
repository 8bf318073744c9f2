//! `serve`: wires everything, says where it listens, and ends well when it is told to.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Exit, Stop, Voice, connect, load};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigScope, Loaded};
use crate::delivery::ledger::report;
use crate::http::{Awaited, Capacity, Listener, Server, Settings};
use crate::limits;
use crate::metrics::Metrics;
use crate::portainer::Portainer;
use crate::redact::Redactor;
use crate::redeploy::{self, Context, Observer};
use crate::scheduler::notify::Notifier;
use crate::scheduler::probe::{Means, Probe};
use crate::scheduler::{Observers, Persistence, Redeploy, Scheduler, Task};
use crate::site::{Desk, Site};
use crate::stack::outcome::Outcome;
use crate::store::lock::LockManager;
use crate::store::stacks::StackStore;
use crate::store::{CannotOpen, Journal, NotWritten};
use crate::systemd::{self, Say};
use crate::text::io_error_message;

/// Serves until it is told to stop.
pub(super) fn run(file: Option<&Path>) -> Result<Exit, Stop> {
    // Before anything else: as process 1 of a container a signal without a handler does nothing at all.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Stop::Failed(format!("cannot handle signals: {error}")))?;
    let Loaded { config, shown, .. } = load(ConfigScope::Serve, file, Voice::Service)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let lasting = lasting(&config, clock.unix())?;
    let (store, locks) = (lasting.store.clone(), lasting.locks.clone());
    let (portainer, timeout) = connect(&config, Arc::clone(&clock))?;
    let portainer = Arc::new(portainer);
    let metrics = Arc::new(Metrics::default());
    let notifier = Notifier::start(&config.notify, config.public_url.as_deref(), &clock, &store)
        .map_err(Stop::Failed)?;
    let observers = Observers {
        metrics: Arc::clone(&metrics),
        notifier: Some(notifier),
    };
    let redeploy = redeploy(&config, &clock, (&portainer, timeout), store.clone());
    let scheduler = Scheduler::new(
        &config.stacks,
        Arc::clone(&clock),
        lasting,
        observers,
        redeploy,
    )
    .map_err(|NotWritten| Stop::Failed("the journal cannot be rewritten".to_owned()))?;
    let means = Means {
        portainer,
        clock: Arc::clone(&clock),
        redactor: Redactor::new(config.secrets()),
        store,
        locks,
        stacks: config.stacks.clone(),
        metrics: Arc::clone(&metrics),
    };
    let desk = match &config.staff {
        Some(staff) => {
            let probe = Probe::start(means).map_err(Stop::Failed)?;
            let desk = Desk::new(staff, config.public_url.clone(), shown, probe);
            Some(desk.map_err(Stop::Failed)?)
        }
        None => None,
    };
    warn_about_staff(&config);
    let capacity = Capacity::acquire();
    let probe = desk.as_ref().map(|desk| Arc::clone(&desk.probe));
    let listener = Listener::bind(config.listen).map_err(Stop::Failed)?;
    let address = listener.address().unwrap_or(config.listen);
    let site = Site::new(
        &config,
        capacity,
        Arc::clone(&scheduler),
        clock,
        metrics,
        desk,
    );
    let settings = Settings {
        max_body: config.max_body,
        trusted_proxies: config.trusted_proxies.clone(),
    };
    let server =
        Server::start(listener, settings, capacity, Arc::new(site)).map_err(Stop::Failed)?;
    let notify = server.notifier();
    scheduler.set_on_end(Box::new(move |id| notify(Awaited::Delivery(id.clone()))));
    if let Some(probe) = probe {
        let notify = server.notifier();
        probe.set_on_done(Box::new(move |number| notify(Awaited::Job(number))));
    }
    log::info!("listening on http://{address}");
    match &config.staff {
        Some(staff) => log::info!(
            "the settings page is http://{address}/settings/webhooks/, for user {:?}",
            staff.user
        ),
        None => log::info!("there is no settings page; STACKHOOK_STAFF_PASSWORD opens one"),
    }
    tell_systemd(Say::Ready(&format!("listening on http://{address}")));
    scheduler.begin();
    wait_for_stop(signals);
    tell_systemd(Say::Stopping("stopping"));
    // With a journal, waiting clients are answered at once: the outcome can be read after the restart.
    server.close(match scheduler.lasts() {
        true => Duration::ZERO,
        false => WAIT_AT_STOP,
    });
    stop(&scheduler);
    if !server.finish(FINISH) {
        log::warn!("stopped before every reply was taken");
    }
    Ok(Exit::Fine)
}

/// Without a journal, clients wait this long for an outcome while stackhook stops.
const WAIT_AT_STOP: Duration = Duration::from_millis(1500);
/// Time for replies that are being written when stackhook stops.
const FINISH: Duration = Duration::from_secs(2);
/// A shorter staff password can be guessed in a reasonable time, although every guess takes two seconds (characters).
const STAFF_PASSWORD_ADVISED: usize = 16;

fn warn_about_staff(config: &Config) {
    let length = config
        .staff
        .as_ref()
        .map(|staff| staff.password.expose().chars().count());
    if length.is_some_and(|length| length < STAFF_PASSWORD_ADVISED) {
        log::warn!(
            "the staff password has fewer than {STAFF_PASSWORD_ADVISED} characters and can be guessed; to create a better one, run: stackhook generate-secret"
        );
    }
}

/// The state directory, for this server alone; without one, what is accepted is lost with the process.
fn lasting(config: &Config, unix: u64) -> Result<Persistence, Stop> {
    let dir = config.state_dir.as_deref();
    let journal = dir.map(|dir| Journal::open(dir, unix, limits::SERVER_LOCK));
    let journal = journal.transpose().map_err(|error| match error {
        CannotOpen::Setup(words) => Stop::Configuration(words),
        CannotOpen::Taken(words) => Stop::TryLater(words),
    })?;
    Ok(Persistence {
        journal,
        store: StackStore::new(dir)
            .map_err(Stop::Configuration)?
            .with_stacks(&config.stacks),
        locks: LockManager::new(dir, "serve").map_err(Stop::Configuration)?,
    })
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

/// Stops the scheduler, and says what is left undone.
fn stop(scheduler: &Scheduler) {
    let nothing_lost = scheduler.stop(limits::STOP);
    match (nothing_lost, scheduler.lasts()) {
        (true, true) if scheduler.open() > 0 => log::info!(
            "deliveries that are open and go on with the next start: {}",
            scheduler.open()
        ),
        (true, _) => {}
        (false, true) => log::error!("the journal could not be written to the end"),
        (false, false) => log::warn!(
            "stopped in the middle of a redeploy; nothing is kept on disk, so look at the stack in Portainer"
        ),
    }
}

/// A service manager that cannot be told ends the service itself, some time later; then the log says why.
fn tell_systemd(what: Say<'_>) {
    let socket = std::env::var_os(systemd::NOTIFY_SOCKET);
    if let Err(error) = systemd::say(socket.as_deref(), what) {
        let why = io_error_message(&error);
        log::warn!("cannot tell systemd that the service is {what}: {why}");
    }
}

/// What the scheduler calls for each redeploy.
fn redeploy(
    config: &Config,
    clock: &Arc<dyn Clock>,
    (portainer, timeout): (&Arc<Portainer>, Duration),
    memory: StackStore,
) -> Box<Redeploy> {
    let (portainer, clock) = (Arc::clone(portainer), Arc::clone(clock));
    let redactor = Redactor::new(config.secrets());
    Box::new(move |task: &Task, observer: &dyn Observer| {
        let context = Context {
            portainer: &portainer,
            clock: clock.as_ref(),
            observer,
            memory: &memory,
            redactor: &redactor,
            timeout,
            patience: limits::PATIENCE,
        };
        match task.submission.clone().map(serde_json::from_value) {
            None if task.order.rollback => redeploy::roll_back(&context, &task.stack),
            None => redeploy::run(&context, &task.stack, &task.order),
            Some(Ok(submission)) => redeploy::resume(&context, &task.stack, submission),
            Some(Err(error)) => {
                log::error!("what another version of stackhook sent is not understood: {error}");
                let words = "another version of stackhook sent an update and was ended; this one cannot tell how that went, \
                     look at the stack in Portainer";
                let (key, name) = (&task.stack.key, &task.stack.name);
                report(key, name, Outcome::Unknown, words.to_owned())
            }
        }
    })
}
