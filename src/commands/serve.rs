//! `stackhook serve`: creates and connects all parts, and stops them in order at a signal.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{CommandError, Exit, Verbosity, connect, load};
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
use crate::scheduler::probe::{Probe, ProbeDeps};
use crate::scheduler::{Observers, Persistence, RedeployFn, RedeployTask, Scheduler};
use crate::site::{Desk, Site};
use crate::stack::outcome::Outcome;
use crate::store::lock::LockManager;
use crate::store::stacks::StackStore;
use crate::store::{CannotOpen, Journal, WriteError};
use crate::systemd::{self, Notification};
use crate::text::io_error_message;

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(file: Option<&Path>) -> Result<Exit, CommandError> {
    // Before anything else: as process 1 of a container a signal without a handler does nothing at all.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| CommandError::Failed(format!("cannot handle signals: {error}")))?;
    let Loaded { config, shown, .. } = load(ConfigScope::Serve, file, Verbosity::Service)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let persistence = open_persistence(&config, clock.unix())?;
    let (store, locks) = (persistence.store.clone(), persistence.locks.clone());
    let (portainer, timeout) = connect(&config, Arc::clone(&clock))?;
    let portainer = Arc::new(portainer);
    let metrics = Arc::new(Metrics::default());
    let notifier = Notifier::start(&config.notify, config.public_url.as_deref(), &clock, &store)
        .map_err(CommandError::Failed)?;
    let observers = Observers {
        metrics: Arc::clone(&metrics),
        notifier: Some(notifier),
    };
    let redeploy = redeploy(&config, &clock, (&portainer, timeout), store.clone());
    let scheduler = Scheduler::new(
        &config.stacks,
        Arc::clone(&clock),
        persistence,
        observers,
        redeploy,
    )
    .map_err(|WriteError| CommandError::Failed("the journal cannot be rewritten".to_owned()))?;
    let deps = ProbeDeps {
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
            let probe = Probe::start(deps).map_err(CommandError::Failed)?;
            let desk = Desk::new(staff, config.public_url.clone(), shown, probe);
            Some(desk.map_err(CommandError::Failed)?)
        }
        None => None,
    };
    warn_about_staff(&config);
    let capacity = Capacity::acquire();
    let probe = desk.as_ref().map(|desk| Arc::clone(&desk.probe));
    let listener = Listener::bind(config.listen).map_err(CommandError::Failed)?;
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
    let server = Server::start(listener, settings, capacity, Arc::new(site))
        .map_err(CommandError::Failed)?;
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
        None => log::info!("the settings page is off; to enable it, set STACKHOOK_STAFF_PASSWORD"),
    }
    notify_systemd(Notification::Ready(&format!(
        "listening on http://{address}"
    )));
    scheduler.begin();
    wait_for_stop(signals);
    notify_systemd(Notification::Stopping("stopping"));
    // With a journal, waiting clients are answered at once: the outcome can be read after the restart.
    server.close(match scheduler.is_persistent() {
        true => Duration::ZERO,
        false => WAIT_AT_STOP,
    });
    stop(&scheduler);
    if !server.finish(FINISH) {
        log::warn!("stopped before all replies were delivered");
    }
    Ok(Exit::Success)
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

/// Opens the state directory exclusively. Without one, accepted deliveries are lost when the process ends.
fn open_persistence(config: &Config, unix: u64) -> Result<Persistence, CommandError> {
    let dir = config.state_dir.as_deref();
    let journal = dir.map(|dir| Journal::open(dir, unix, limits::SERVER_LOCK));
    let journal = journal.transpose().map_err(|error| match error {
        CannotOpen::Setup(text) => CommandError::Configuration(text),
        CannotOpen::Taken(text) => CommandError::Temporary(text),
    })?;
    Ok(Persistence {
        journal,
        store: StackStore::new(dir)
            .map_err(CommandError::Configuration)?
            .with_stacks(&config.stacks),
        locks: LockManager::new(dir, "serve").map_err(CommandError::Configuration)?,
    })
}

/// Returns at the first signal to stop; a second one ends the process at once.
fn wait_for_stop(mut signals: Signals) {
    for signal in signals.forever() {
        if signal == SIGHUP {
            log::info!(
                "SIGHUP is ignored; to reload the configuration, restart stackhook, which takes milliseconds"
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
        log::warn!("cannot install the handler of a second signal: {error}");
    }
}

/// Stops the scheduler and logs the work that is left.
fn stop(scheduler: &Scheduler) {
    let nothing_lost = scheduler.stop(limits::STOP);
    match (nothing_lost, scheduler.is_persistent()) {
        (true, true) if scheduler.open() > 0 => log::info!(
            "open deliveries that continue at the next start: {}",
            scheduler.open()
        ),
        (true, _) => {}
        (false, true) => log::error!("the journal could not be written to the end"),
        (false, false) => log::warn!(
            "stopped during a redeploy; without state_dir it is not continued, so check the stack in Portainer"
        ),
    }
}

/// A failure is logged: without the notification, systemd would end the service after a while.
fn notify_systemd(notification: Notification<'_>) {
    let socket = std::env::var_os(systemd::NOTIFY_SOCKET);
    if let Err(error) = systemd::notify(socket.as_deref(), notification) {
        let why = io_error_message(&error);
        log::warn!("cannot notify systemd that the service is {notification}: {why}");
    }
}

/// The function that the scheduler calls for each redeploy.
fn redeploy(
    config: &Config,
    clock: &Arc<dyn Clock>,
    (portainer, timeout): (&Arc<Portainer>, Duration),
    memory: StackStore,
) -> Box<RedeployFn> {
    let (portainer, clock) = (Arc::clone(portainer), Arc::clone(clock));
    let redactor = Redactor::new(config.secrets());
    Box::new(move |task: &RedeployTask, observer: &dyn Observer| {
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
                log::error!(
                    "cannot read a submission that another version of stackhook recorded: {error}"
                );
                let text = "another version of stackhook sent an update and ended; its result is unknown, check the stack in \
                            Portainer";
                let (key, name) = (&task.stack.key, &task.stack.name);
                report(key, name, Outcome::Unknown, text.to_owned())
            }
        }
    })
}
