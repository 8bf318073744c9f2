//! The redeploy of one stack, step by step: find → inspect → plan → pull → submit → follow → verify → (roll back). Everything before
//! the submit may be repeated; everything after it needs only the [`Submission`], so that it can go on after a crash.

mod submission;
mod observer;
mod result;
pub(crate) mod record;
pub(crate) mod find;
mod inspect;
mod plan;
mod pull;
mod blame;
mod submit;
mod follow;
mod verify;
mod rollback;
mod cleanup;
mod assess;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::calendar::rfc3339;
use crate::clock::Clock;
use crate::image::Reference;
use crate::limits;
use crate::portainer::{self, EnvironmentId, Kind, Portainer, StackId};
use crate::redact::Redactor;
use crate::stack::Stack;
use crate::stack::order::Order;
use crate::stack::outcome::{Fault, StackReport, Stage};
use crate::store::lock::{LockError, LockGuard, LockKey};
use crate::store::stacks::Pause;
pub(crate) use assess::{Assessment, Depth, RunningService};
use find::FoundStack;
use inspect::StackInspection;
pub(crate) use observer::{NotWritten, Observer, Step, Unobserved};
use plan::Plan;
use record::Memory;
use result::{AttemptError, RedeployResult, UnderWay};
pub(crate) use submission::{Direction, Images, Submission};
use submit::Sent;

/// The surroundings of a redeploy. `serve`, the commands and the tests differ only here.
pub(crate) struct Context<'a> {
    /// The Portainer that has the stacks.
    pub(crate) portainer: &'a Portainer,
    /// The clock; tests skip its waiting.
    pub(crate) clock: &'a dyn Clock,
    /// Receives each step, and stores what must survive a crash.
    pub(crate) observer: &'a dyn Observer,
    /// The records that last from one redeploy to the next.
    pub(crate) memory: &'a dyn Memory,
    /// Knows the configured secrets.
    pub(crate) redactor: &'a Redactor,
    /// The time limit of the whole redeploy.
    pub(crate) timeout: Duration,
    /// The time for which an unreachable Portainer is tried again before anything was sent; zero for a command.
    pub(crate) patience: Duration,
}

/// Redeploys a stack.
pub(crate) fn run(cx: &Context<'_>, stack: &Stack, order: &Order) -> StackReport {
    let mut run = Run::new(cx, stack);
    let end = match run.prepare_and_submit(order) {
        Ok(sent) => run.follow_and_verify(sent),
        Err(end) => Err(end),
    };
    run.report(end)
}

/// Finds out the result of an update that was sent before a crash. It is never sent again.
pub(crate) fn resume(cx: &Context<'_>, stack: &Stack, submission: Submission) -> StackReport {
    let mut run = Run::new(cx, stack);
    let end = run.resume_submission(submission);
    run.report(end)
}

/// Rolls a stack back because a person asks for it.
pub(crate) fn roll_back(cx: &Context<'_>, stack: &Stack) -> StackReport {
    let mut run = Run::new(cx, stack);
    let end = run.rollback_on_request();
    run.report(end)
}

/// Assesses a stack; sends nothing but GETs.
pub(crate) fn assess(
    cx: &Context<'_>,
    stack: &Stack,
    depth: Depth,
) -> Result<Assessment, StackReport> {
    Run::new(cx, stack).assess(&Order::default(), depth)
}

/// The dry run: the steps that a redeploy would take, or the report with which it would end before it does anything.
pub(crate) fn preview(
    cx: &Context<'_>,
    stack: &Stack,
    order: &Order,
) -> Result<Vec<String>, StackReport> {
    let assessment = Run::new(cx, stack).assess(order, Depth::Registries)?;
    assessment.ready?;
    let warnings = assessment.warnings.iter();
    let warnings = warnings.map(|warning| format!("but {warning}"));
    Ok(assessment.steps.into_iter().chain(warnings).collect())
}

/// A redeploy under way.
struct Run<'a> {
    cx: &'a Context<'a>,
    stack: &'a Stack,
    began: Instant,
    /// The stage that it has reached.
    stage: Mutex<Stage>,
    locks: Locks,
    /// The images before the first pull of this redeploy; a repeated attempt finds on the host what the first one pulled.
    images_before: Images,
    /// The name of the stack's environment, once known.
    environment: Option<String>,
    /// Knows the stack's variables too, once they are known.
    redactor: Redactor,
    /// The images whose pull is left to Portainer.
    delegated: pull::DelegatedPulls,
    /// The variables that the order sets.
    set: BTreeMap<String, String>,
    /// Counts failed calls because engine, environment or Portainer were away after the update was sent: then no image is at fault.
    absences: AtomicUsize,
    /// Set when the answer to the latest update was lost.
    answer_lost: bool,
    /// Further facts for the reply.
    notes: Vec<String>,
}

/// The locks of a redeploy, released when it is over.
#[derive(Debug, Default)]
struct Locks {
    stack: Option<LockGuard>,
    /// Released early: the next redeploy may begin while this one is verified.
    environment: Option<LockGuard>,
    /// Start of the time limit: when both locks were acquired, and again when a rollback begins.
    since: Option<Instant>,
}

impl<'a> Run<'a> {
    fn new(cx: &'a Context<'a>, stack: &'a Stack) -> Run<'a> {
        Run {
            cx,
            stack,
            began: cx.clock.now(),
            stage: Mutex::new(Stage::Find),
            locks: Locks::default(),
            images_before: cx.observer.earlier(),
            environment: None,
            redactor: cx.redactor.clone(),
            delegated: pull::DelegatedPulls::default(),
            set: BTreeMap::new(),
            absences: AtomicUsize::new(0),
            answer_lost: false,
            notes: Vec::new(),
        }
    }

    fn note_absence(&self) {
        self.absences.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns true if engine, environment or Portainer were away after the update was sent.
    fn was_absent(&self) -> bool {
        self.absences.load(Ordering::Relaxed) > 0
    }

    fn step(&self, step: Step) {
        log::debug!(stack = self.stack.key.as_str(); "{step}");
        self.cx.observer.step(&step);
        // A rollback submits and verifies, too.
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage != Stage::RollBack {
            *stage = step.stage();
        }
    }

    /// The time left for the redeploy, counted from when it had its locks.
    fn left(&self) -> Duration {
        let since = self.locks.since.unwrap_or(self.began);
        self.cx
            .timeout
            .saturating_sub(self.cx.clock.now().duration_since(since))
    }

    /// Attempts everything up to the submit, again while the stack is edited or deployed by others or Portainer is unreachable.
    fn prepare_and_submit(&mut self, order: &Order) -> Result<Sent, RedeployResult> {
        let (mut edits, mut away_since) = (0, None);
        let mut traces: Option<(String, Instant)> = None;
        // Named when the time is over.
        let mut obstacle = None;
        self.set = order.set.clone();
        loop {
            if self.left().is_zero() {
                return Err(time_over(obstacle));
            }
            self.notes.clear();
            let now = self.cx.clock.now();
            let stale = |since: &Instant| now.duration_since(*since) >= limits::UNDER_WAY_QUIET;
            let ignored = traces.as_ref().filter(|(_, since)| stale(since));
            let ignored = ignored.map(|(traces, _)| traces.clone());
            let error = match self.attempt(order, ignored.as_deref()) {
                Ok(sent) => return Ok(sent),
                Err(error) => error,
            };
            match error {
                AttemptError::Over(end) => return Err(end),
                AttemptError::Edited if edits + 1 >= limits::RESTARTS_BY_EDIT => {
                    return Err(RedeployResult::refused(
                        "the stack keeps being changed in Portainer; nothing was sent",
                    ));
                }
                AttemptError::Edited => {
                    away_since = None;
                    edits += 1;
                }
                AttemptError::Busy(why) => {
                    away_since = None;
                    obstacle = Some("another deployment of this stack was under way".to_owned());
                    if let UnderWay::Traces(new) = why
                        && traces.as_ref().is_none_or(|(old, _)| *old != new)
                    {
                        traces = Some((new, self.cx.clock.now()));
                    }
                    self.step(Step::WaitingForDeployment);
                    self.cx.clock.sleep(limits::FOLLOW_PAUSE.1);
                }
                AttemptError::Away(error) => {
                    let now = self.cx.clock.now();
                    let since = *away_since.get_or_insert(now);
                    if now.duration_since(since) >= self.cx.patience {
                        return Err(RedeployResult::failed(
                            Fault::NotReached,
                            format!("{error}; nothing was sent"),
                        ));
                    }
                    obstacle = Some(error.to_string());
                    self.step(Step::WaitingForPortainer);
                    self.cx.clock.sleep(limits::FOLLOW_PAUSE.0);
                }
            }
        }
    }

    /// One attempt. `ignored`: traces of a deployment that have not changed for so long that nothing is at work there.
    fn attempt(&mut self, order: &Order, ignored: Option<&str>) -> Result<Sent, AttemptError> {
        let found = self.find_and_lock(order)?;
        let inspection = self.inspect(&found, order, ignored)?;
        let (plan, before) = self.plan(order, &found, &inspection)?;
        let inspection = self.pull(order, &found, inspection, &plan)?;
        let (inspection, plan) = self.leave_out_blocked(order, &found, inspection, plan)?;
        if let Some(end) = self.unchanged(order, &found, &inspection, &plan)? {
            return Err(end.into());
        }
        // A pull may have used up the time.
        if self.left().is_zero() {
            return Err(time_over(None).into());
        }
        self.submit(order, &found, &inspection, &plan, before)
    }

    /// Finds the stack and locks it and its environment, unless staff paused it or the order repeats what was rolled back.
    fn find_and_lock(&mut self, order: &Order) -> Result<FoundStack, AttemptError> {
        self.check_not_paused(None)?;
        self.step(Step::Finding);
        let found = find::find(self.cx.portainer, self.stack)?;
        self.update_redactor(&found, None);
        self.log_decision(format_args!(
            "it is the stack with id {} on environment {}",
            found.record.id, found.record.environment
        ));
        self.lock_stack(found.record.id)?;
        self.check_not_paused(Some(found.record.id))?;
        self.refuse_blocked_variables(order, &found)?;
        self.lock_environment(found.record.environment)?;
        Ok(found)
    }

    fn inspect(
        &mut self,
        found: &FoundStack,
        order: &Order,
        ignored: Option<&str>,
    ) -> Result<StackInspection, AttemptError> {
        self.step(Step::Inspecting);
        let mut inspection = inspect::inspect(self.cx.portainer, found, order)?;
        self.update_redactor(found, Some(&inspection));
        inspection.check_not_under_way(found, ignored)?;
        inspect::ask_origins(self.cx.portainer, found.record.environment, &mut inspection)?;
        Ok(inspection)
    }

    /// Returns true if this Portainer takes a stack whose last deployment failed down before an update, or if that is not known.
    fn takes_failed_stack_down(&self) -> bool {
        let version = self.cx.portainer.version();
        version.map_or(true, |version| portainer::takes_failed_stack_down(&version))
    }

    /// Plans; also returns the images before the first pull.
    fn plan(
        &mut self,
        order: &Order,
        found: &FoundStack,
        inspection: &StackInspection,
    ) -> Result<(Plan, Images), AttemptError> {
        let mut plan = plan::plan(self.stack, order, found, inspection, || {
            self.takes_failed_stack_down()
        })?;
        let is_compose = found.record.kind == Kind::Compose;
        if plan.repull && is_compose && self.missing_only_version().is_some() {
            plan.pull_for_portainer(inspection, found.record.status);
        }
        self.notes.extend(plan.notes.iter().cloned());
        let pulls: Vec<String> = plan.pulls.iter().map(Reference::familiar).collect();
        self.log_decision(format_args!(
            "selected are {:?}, left alone {:?}; pulled beforehand {pulls:?}, by Portainer: {}",
            plan::names(&plan.selected),
            plan::names(&plan.others),
            plan.repull
        ));
        for (reference, id) in plan.images_before(inspection) {
            self.images_before.entry(reference).or_insert(id);
        }
        Ok((plan, self.images_before.clone()))
    }

    /// Follows an update that was sent, verifies it, and rolls it back if needed.
    fn follow_and_verify(&mut self, sent: Sent) -> Result<RedeployResult, RedeployResult> {
        let (id, environment) = (sent.submission.id, sent.submission.environment);
        let followed = self.follow(&sent.submission, sent.answer);
        let unpinned = sent.pinned.release(self.cx.portainer, environment);
        self.notes.extend(unpinned);
        let end = self.conclude_sent(sent.submission, followed)?;
        self.note_foreign_changes(id, &sent.variables);
        Ok(end)
    }

    /// Verifies an update that was followed to its end; a failed one is recorded and rolled back if needed.
    fn conclude_sent(
        &mut self,
        mut submission: Submission,
        followed: Result<(), RedeployResult>,
    ) -> Result<RedeployResult, RedeployResult> {
        self.add_portainers_pulls(&mut submission);
        let end = followed.and_then(|()| {
            self.locks.environment = None;
            self.verify(&submission)
        });
        match end.map(|end| self.require_pulled(&submission, end)) {
            Ok(end) => {
                self.remember_success(&submission, &end);
                Ok(end)
            }
            Err(end) => {
                let end = self.with_logs(&submission, end);
                self.remember(submission.id, |record| {
                    record.sent(&submission);
                    record.left_bad(&end);
                });
                let end = self.rollback_if_needed(&submission, end);
                self.note_stored_variables(&submission);
                Err(end)
            }
        }
    }

    /// Learns the texts that messages about this stack may and may not show.
    fn update_redactor(&mut self, found: &FoundStack, inspection: Option<&StackInspection>) {
        self.environment = found.environment.clone();
        let running = inspection.map(StackInspection::running).unwrap_or_default();
        self.redactor = find::redactor(self.cx.redactor, self.stack, found, running);
    }

    /// Writes a decision and its reason to the debug log: names of services and images and ids, nothing of the file and no values.
    fn log_decision(&self, decision: std::fmt::Arguments<'_>) {
        log::debug!(stack = self.stack.key.as_str(); "decided: {decision}");
    }

    /// Returns early if staff have paused the stack: with `None` before Portainer is asked, then with the id of the stack.
    fn check_not_paused(&self, id: Option<StackId>) -> Result<(), RedeployResult> {
        let Some(Pause { since, until }) = self.cx.observer.pause(id) else {
            return Ok(());
        };
        let until = until.map_or_else(String::new, |until| format!(" until {}", rfc3339(until)));
        let key = &self.stack.key;
        Err(RedeployResult::skipped(format!(
            "paused by staff since {}{until}; resume it on the settings page or with \"stackhook resume {key}\", \
             or run \"stackhook redeploy {key} --force\"",
            rfc3339(since),
        )))
    }

    /// Locks the stack by its id, because two keys may be configured for one stack.
    fn lock_stack(&mut self, id: StackId) -> Result<(), RedeployResult> {
        if self.locks.stack.is_none() {
            self.locks.stack = Some(self.acquire(LockKey::Stack(id.0))?);
        }
        Ok(())
    }

    /// Locks the environment, because image tags belong to the host, not to a stack.
    fn lock_environment(&mut self, id: EnvironmentId) -> Result<(), RedeployResult> {
        if self.locks.environment.is_none() {
            self.locks.environment = Some(self.acquire(LockKey::Environment(id.0))?);
            let now = self.cx.clock.now();
            self.locks.since.get_or_insert(now);
        }
        Ok(())
    }

    fn acquire(&self, key: LockKey) -> Result<LockGuard, RedeployResult> {
        let seconds = self.cx.timeout.as_secs();
        let lock = self.cx.observer.acquire_lock(key, self.cx.timeout);
        lock.map_err(|error| {
            let (fault, why) = match error {
                LockError::Held(who) => (
                    Fault::NotReached,
                    format!("{who} was still at work after {seconds} s"),
                ),
                LockError::Later => (
                    Fault::NotReached,
                    "another redeploy has the lock".to_owned(),
                ),
                LockError::Unusable(why) => (Fault::NotWritten, why),
            };
            RedeployResult::failed(fault, format!("{why}; nothing was sent"))
        })
    }
}

/// The result of a redeploy whose time was over before anything was sent, with what held it up last.
fn time_over(obstacle: Option<String>) -> RedeployResult {
    let over = "the time was over, nothing was sent";
    let text = obstacle.map_or_else(|| over.to_owned(), |why| format!("{why}; {over}"));
    RedeployResult::failed(Fault::NotReached, text)
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod matrix;
