//! The thread that asks Portainer on behalf of the settings page: its overview, its connection test and its dry runs. HTTP workers only
//! request a job and read the last result; redeploys have threads of their own.

mod result;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::delivery::ledger::report;
use crate::image::{Reference, short_id};
use crate::limits;
use crate::metrics::Metrics;
use crate::portainer::{Portainer, PortainerError, StackId};
use crate::redact::Redactor;
use crate::redeploy::record::{Memory as _, StackRecord};
use crate::redeploy::{self, Context, Depth, Unobserved};

/// The interval of pings to Portainer.
const PROBE_EVERY: Duration = Duration::from_secs(60);
pub(crate) use crate::scheduler::probe::result::{
    DryRun, Note, Overview, PortainerInfo, ProbeJob, StaffAction, Unavailable,
};
use crate::stack::order::Order;
use crate::stack::outcome::{Fault, Outcome, StackReport};
use crate::stack::{Stack, StackKey};
use crate::store::lock::{LockError, LockKey, LockManager};
use crate::store::stacks::{Pause, StackStore};

/// Dependencies of the probe.
pub(crate) struct ProbeDeps {
    /// Shared with the redeploys, so that there is one login.
    pub(crate) portainer: Arc<Portainer>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Knows the configured secrets.
    pub(crate) redactor: Redactor,
    /// Pauses and numbers of stacks.
    pub(crate) store: StackStore,
    /// Shared with the redeploys, which write the same records.
    pub(crate) locks: LockManager,
    /// The configured stacks.
    pub(crate) stacks: Vec<Stack>,
    /// Receives the result of each request.
    pub(crate) metrics: Arc<Metrics>,
}

/// The thread and its results.
pub(crate) struct Probe {
    state: Mutex<ProbeState>,
    changed: Condvar,
    on_done: OnceLock<Box<OnDone>>,
    deps: ProbeDeps,
}

/// Called with the number of each finished job. Must not block.
pub(crate) type OnDone = dyn Fn(u64) + Send + Sync;

#[derive(Default)]
struct ProbeState {
    /// Numbered in the order in which they were asked.
    jobs: VecDeque<(u64, ProbeJob)>,
    asked: u64,
    done: u64,
    look: Option<Arc<Overview>>,
    notes: HashMap<StackKey, Note>,
    notes_made: u64,
}

impl Probe {
    /// Starts the thread.
    ///
    /// Errors: the thread cannot be started.
    pub(crate) fn start(deps: ProbeDeps) -> Result<Arc<Probe>, String> {
        let probe = Arc::new(Probe {
            state: Mutex::default(),
            changed: Condvar::new(),
            on_done: OnceLock::new(),
            deps,
        });
        let own = Arc::clone(&probe);
        thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || own.run())
            .map_err(|error| format!("cannot start the thread that asks Portainer: {error}"))?;
        Ok(probe)
    }

    /// Requests a job and returns its number. A job that is already waiting is not requested twice, so there are never more of them
    /// than kinds and stacks.
    pub(crate) fn ask(&self, job: ProbeJob) -> u64 {
        let mut state = self.lock();
        if let Some((number, _)) = state.jobs.iter().find(|(_, other)| *other == job) {
            return *number;
        }
        state.asked += 1;
        let number = state.asked;
        state.jobs.push_back((number, job));
        drop(state);
        self.changed.notify_all();
        number
    }

    /// Returns true if a job has finished.
    pub(crate) fn is_done(&self, number: u64) -> bool {
        self.lock().done >= number
    }

    /// Sets the function that is called with the number of each finished job; only the first one counts. It must not block.
    pub(crate) fn set_on_done(&self, on_done: Box<OnDone>) {
        drop(self.on_done.set(on_done));
    }

    /// Returns the last overview.
    pub(crate) fn last(&self) -> Option<Arc<Overview>> {
        self.lock().look.clone()
    }

    /// Returns the last result for a stack.
    pub(crate) fn note(&self, stack: &StackKey) -> Option<Note> {
        self.lock().notes.get(stack).cloned()
    }

    /// Shows a result at the stack until its next event, which `marker` describes.
    pub(crate) fn show_note(
        &self,
        stack: &StackKey,
        title: &str,
        lines: Vec<String>,
        action: Option<StaffAction>,
        marker: String,
    ) {
        let mut state = self.lock();
        state.notes_made += 1;
        let note = Note {
            number: state.notes_made,
            unix: self.deps.clock.unix(),
            at: Instant::now(),
            title: title.to_owned(),
            lines,
            action,
            marker,
        };
        state.notes.insert(stack.clone(), note);
    }

    /// Removes the result for a stack.
    pub(crate) fn forget_note(&self, stack: &StackKey) {
        self.lock().notes.remove(stack);
    }

    /// Returns the pause of a stack, without asking Portainer.
    pub(crate) fn pause_of(&self, stack: &StackKey) -> Option<Pause> {
        self.deps.store.pause_of(stack, self.deps.clock.unix())
    }

    /// Pauses a stack until staff resume it, or until then (Unix seconds). Portainer is not asked.
    ///
    /// Errors: the pause cannot be saved; the message is for staff.
    pub(crate) fn pause(&self, stack: &StackKey, until: Option<u64>) -> Result<(), String> {
        let now = self.deps.clock.unix();
        self.deps.store.pause(stack, now, until)?;
        log::info!(stack = stack.as_str(); "paused by staff");
        Ok(())
    }

    /// Resumes updates of a stack. Portainer is not asked.
    ///
    /// Errors: the pause cannot be removed; the message is for staff.
    pub(crate) fn resume(&self, stack: &StackKey) -> Result<(), String> {
        self.deps.store.resume(stack)?;
        log::info!(stack = stack.as_str(); "resumed by staff");
        Ok(())
    }

    /// Returns the record of a stack, without asking Portainer; an empty one if Portainer never listed the stack.
    pub(crate) fn record_of(&self, stack: &StackKey) -> StackRecord {
        let id = self.deps.store.id_of(stack).map(StackId);
        id.map(|id| self.deps.store.recall(id)).unwrap_or_default()
    }

    /// Allows blocked images and values again. Portainer is not asked.
    ///
    /// Errors: a redeploy of the stack runs, or the record cannot be saved; the message is for staff.
    fn unblock(&self, stack: &StackKey) -> Result<(), String> {
        let Some(id) = self.deps.store.id_of(stack) else {
            return Ok(());
        };
        let lock = self
            .deps
            .locks
            .acquire(LockKey::Stack(id), Duration::ZERO, &|_| {});
        let _lock = lock.map_err(|error| match error {
            LockError::Held(_) | LockError::Later => {
                "an update of this stack is running; try again when it has ended".to_owned()
            }
            LockError::Unusable(why) => why,
        })?;
        let mut record = self.record_of(stack);
        record.blocked.clear();
        record.blocked_variables = None;
        let saved = self.deps.store.keep(StackId(id), &record);
        saved.map_err(|why| format!("the record cannot be saved: {}", why.0))?;
        log::info!(stack = stack.as_str(); "blocked images allowed again by staff");
        Ok(())
    }

    fn run(&self) {
        // Metrics report within seconds of the start whether Portainer answers.
        self.ping();
        loop {
            let next = self.next(PROBE_EVERY);
            let done = catch_unwind(AssertUnwindSafe(|| match &next {
                Some((_, job)) => self.carry_out(job),
                None => self.ping(),
            }));
            if done.is_err() {
                log::error!("internal error while asking Portainer; continuing");
            }
            if let Some((number, _)) = next {
                self.lock().done = number;
                if let Some(on_done) = self.on_done.get() {
                    on_done(number);
                }
            }
        }
    }

    /// Returns the next job, or `None` after that time.
    fn next(&self, within: Duration) -> Option<(u64, ProbeJob)> {
        let until = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if let Some(next) = state.jobs.pop_front() {
                return Some(next);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn carry_out(&self, job: &ProbeJob) {
        match job {
            ProbeJob::Refresh => self.look(),
            ProbeJob::DryRun(dry_run) => self.dry_run(dry_run),
            ProbeJob::Pause(stack) => {
                self.show_failure(stack, "It could not be paused", self.pause(stack, None));
            }
            ProbeJob::Resume(stack) => {
                self.show_failure(stack, "It could not be resumed", self.resume(stack));
            }
            ProbeJob::Unblock(stack) => {
                self.show_failure(stack, "The image stays blocked", self.unblock(stack));
            }
        }
    }

    /// Notes whether Portainer answers.
    fn ping(&self) {
        let answer = self.deps.portainer.version();
        self.deps.metrics.portainer(answer.is_ok());
    }

    fn look(&self) {
        let portainer = self.portal().map_err(|error| Unavailable {
            unreachable: matches!(error, PortainerError::Unreachable(_)),
            why: self.show(&error.to_string()),
        });
        self.deps.metrics.portainer(portainer.is_ok());
        let view = |stack: &Stack| {
            let seen = match &portainer {
                Ok(_) => redeploy::assess(&self.context(), stack, Depth::Containers)
                    .inspect(|view| self.deps.store.set_id(&stack.key, view.id.0))
                    .map_err(|report| report.message),
                Err(away) => Err(away.why.clone()),
            };
            (stack.key.clone(), seen)
        };
        let stacks = self.deps.stacks.iter().map(view).collect();
        let look = Overview {
            unix: self.deps.clock.unix(),
            at: Instant::now(),
            portainer,
            stacks,
        };
        self.lock().look = Some(Arc::new(look));
    }

    fn portal(&self) -> Result<PortainerInfo, PortainerError> {
        let portainer = &self.deps.portainer;
        Ok(PortainerInfo {
            version: portainer.version()?,
            me: portainer.me()?,
            environments: portainer.environments()?,
            records: portainer.stacks()?,
        })
    }

    fn dry_run(&self, dry_run: &DryRun) {
        let DryRun {
            stack: key,
            action,
            marker,
        } = dry_run;
        let Some(stack) = self.deps.stacks.iter().find(|stack| stack.key == *key) else {
            return;
        };
        let order = Order {
            force: *action == StaffAction::Force,
            staff: true,
            ..Order::default()
        };
        let result = match action {
            StaffAction::RollBack => self.rollback_preview(stack),
            StaffAction::Update | StaffAction::Force => {
                redeploy::preview(&self.context(), stack, &order)
            }
        };
        let (name, verb) = match action {
            StaffAction::RollBack => ("rollback", "A rollback"),
            StaffAction::Update | StaffAction::Force => ("update", "An update"),
        };
        let (title, lines, action) = match result {
            Ok(lines) => {
                let changes = |line: &String| {
                    line.starts_with("would re") && !line.starts_with("would restart nothing")
                        || line.starts_with("would start")
                        || line.starts_with("Portainer would pull")
                };
                let is_open = |line: &String| line.contains("cannot tell without pulling");
                let title = if lines.iter().any(changes) {
                    format!("Dry run: {} would change the stack", verb.to_lowercase())
                } else if lines.iter().any(is_open) {
                    format!("Dry run: the {name} cannot be predicted without pulling")
                } else {
                    "Dry run: nothing would change".to_owned()
                };
                (title, lines, Some(*action))
            }
            Err(report) => {
                let title = match (report.fault, report.outcome) {
                    (Some(Fault::NotReached), _) => {
                        "Dry run not possible: Portainer cannot be reached".to_owned()
                    }
                    (_, Outcome::Skipped) => format!("{verb} would be skipped"),
                    _ => format!("{verb} would fail"),
                };
                (title, vec![report.message], None)
            }
        };
        self.show_note(key, &title, lines, action, marker.clone());
    }

    /// Returns the changes that a rollback would make, a sentence each.
    fn rollback_preview(&self, stack: &Stack) -> Result<Vec<String>, StackReport> {
        let view = redeploy::assess(&self.context(), stack, Depth::Containers)?;
        let refused = |why: &str| StackReport {
            fault: Some(Fault::Refused),
            ..report(&stack.key, &stack.name, Outcome::Failed, why.to_owned())
        };
        if !view.can_roll_back {
            return Err(refused("no earlier images of this stack are remembered"));
        }
        let mut lines = Vec::new();
        for (reference, id) in &view.previous {
            let running = view.services.iter().flatten();
            let services = running.filter(|one| {
                Reference::parse(&one.service.image).is_ok_and(|image| image == *reference)
            });
            for one in services {
                let now = one.service.image_id.as_deref().unwrap_or("unknown");
                lines.push(format!(
                    "would recreate {}: {} → {}",
                    one.service.service,
                    short_id(now),
                    short_id(id)
                ));
            }
            lines.push(format!(
                "would tag {} as {}",
                short_id(id),
                reference.familiar()
            ));
        }
        for name in &view.previous_variables {
            lines.push(format!("would restore the variable {name}"));
        }
        Ok(lines.iter().map(|line| self.show(line)).collect())
    }

    /// Shows a failed attempt to pause or resume a stack to staff.
    fn show_failure(&self, key: &StackKey, title: &str, done: Result<(), String>) {
        match done {
            Ok(()) => self.forget_note(key),
            Err(message) => {
                let lines = vec![self.show(&message)];
                self.show_note(key, title, lines, None, String::new());
            }
        }
    }

    fn show(&self, text: &str) -> String {
        self.deps.redactor.show(text)
    }

    fn context(&self) -> Context<'_> {
        Context {
            portainer: &self.deps.portainer,
            clock: self.deps.clock.as_ref(),
            observer: &Unobserved,
            memory: &self.deps.store,
            redactor: &self.deps.redactor,
            timeout: limits::PROBE_WAIT,
            patience: Duration::ZERO,
        }
    }

    fn lock(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
