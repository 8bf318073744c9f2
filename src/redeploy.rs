//! One redeploy, step by step: find, look, plan, pull, submit; then follow and verify. Two straight-line halves, joined by a
//! [`Submission`]: the second can go on from it alone, after a crash.

mod submission;

mod observer;
mod result;
pub(crate) mod record;
mod locks;
pub(crate) mod find;
mod inspect;
mod plan;
mod trace;
mod pull;
mod delegated;
mod blame;
mod pin;
mod submit;
mod follow;
mod verify;
mod logs;
mod rollback;
mod cleanup;
mod preview;
mod check;
mod view;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::image::Reference;
use crate::limits;
use crate::portainer::{Kind, Portainer, StackId, StackStatus};
use crate::redact::Redactor;
use crate::redeploy::locks::Locks;
use crate::redeploy::record::{Memory, StackRecord};
use crate::stack::Stack;
use crate::stack::order::Order;
use crate::stack::outcome::{Fault, StackReport, Stage};
pub(crate) use check::Checked;
pub(crate) use observer::{NotWritten, Observer, Step, Unobserved};
use result::{AttemptError, RedeployResult, UnderWay};

pub(crate) use submission::{Direction, Images, Submission};
pub(crate) use view::{Running, View};

/// What a redeploy needs besides the stack and the order. `serve`, the command line and the tests differ only here.
pub(crate) struct Context<'a> {
    /// Where the stacks are.
    pub(crate) portainer: &'a Portainer,
    /// The time.
    pub(crate) clock: &'a dyn Clock,
    /// Who is told of each step, and writes down what must survive.
    pub(crate) observer: &'a dyn Observer,
    /// What lasts about each stack.
    pub(crate) memory: &'a dyn Memory,
    /// Knows the configured secrets.
    pub(crate) redactor: &'a Redactor,
    /// The whole redeploy may take this long.
    pub(crate) timeout: Duration,
    /// How long a Portainer that cannot be reached is tried again before anything was sent; zero for a command.
    pub(crate) patience: Duration,
}

/// Redeploys a stack and says how it ended.
pub(crate) fn run(cx: &Context<'_>, stack: &Stack, order: &Order) -> StackReport {
    let mut run = Run::new(cx, stack);
    let end = match run.prepare_and_submit(order) {
        Ok(sent) => run.follow_and_verify(sent),
        Err(end) => Err(end),
    };
    run.report(end)
}

/// Finds out how an update ended that was sent before a crash, and says so. It is never sent again.
pub(crate) fn resume(cx: &Context<'_>, stack: &Stack, submission: Submission) -> StackReport {
    let mut run = Run::new(cx, stack);
    let end = run.resumed(submission);
    run.report(end)
}

/// Rolls a stack back because a person asks for it, and says how that ended.
pub(crate) fn roll_back(cx: &Context<'_>, stack: &Stack) -> StackReport {
    let mut run = Run::new(cx, stack);
    let end = run.rollback_on_request();
    run.report(end)
}

/// What a redeploy would do, line by line, or how it would end before anything is done. Sends nothing but GETs.
pub(crate) fn preview(
    cx: &Context<'_>,
    stack: &Stack,
    order: &Order,
) -> Result<Vec<String>, StackReport> {
    Run::new(cx, stack).preview(order)
}

/// What can be said of a stack beforehand: sends nothing but GETs and asks no registry.
pub(crate) fn check(cx: &Context<'_>, stack: &Stack) -> Result<Checked, StackReport> {
    Run::new(cx, stack).check()
}

/// What there is to see of a stack: sends nothing but GETs.
pub(crate) fn view(cx: &Context<'_>, stack: &Stack) -> Result<View, StackReport> {
    Run::new(cx, stack).view()
}

/// A redeploy under way.
struct Run<'a> {
    cx: &'a Context<'a>,
    stack: &'a Stack,
    began: Instant,
    /// The stage that it has reached.
    stage: Mutex<Stage>,
    locks: Locks,
    /// The images before the first pull of this redeploy: when it begins again, it sees what it pulled itself.
    images_before: Images,
    /// The name of the stack's environment, once known.
    environment: Option<String>,
    /// Knows the stack's variables too, once they are known.
    redactor: Redactor,
    /// What is known about images whose pull is left to Portainer.
    delegated: delegated::Delegated,
    /// The variables that the order sets.
    set: BTreeMap<String, String>,
    /// Whether engine, environment or Portainer were away after the update was sent: then no image is at fault.
    disturbed: AtomicBool,
    /// Whether the answer to the latest update was lost.
    answer_lost: bool,
    /// Further facts for the reply.
    notes: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(cx: &'a Context<'a>, stack: &'a Stack) -> Run<'a> {
        let redactor = cx.redactor.clone();
        Run {
            cx,
            stack,
            began: cx.clock.now(),
            stage: Mutex::new(Stage::Find),
            locks: Locks::default(),
            images_before: cx.observer.earlier(),
            environment: None,
            redactor,
            delegated: delegated::Delegated::default(),
            set: BTreeMap::new(),
            disturbed: AtomicBool::new(false),
            answer_lost: false,
            notes: Vec::new(),
        }
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

    /// What is left of the time for all; it is counted from having the turns.
    fn left(&self) -> Duration {
        let since = self.locks.since.unwrap_or(self.began);
        self.cx
            .timeout
            .saturating_sub(self.cx.clock.now().duration_since(since))
    }

    /// Everything until the update was sent: may be repeated.
    fn prepare_and_submit(&mut self, order: &Order) -> Result<submit::Sent, RedeployResult> {
        let (mut edits, mut away_since) = (0, None);
        let mut traces: Option<(String, Instant)> = None;
        // The latest obstacle, for the case that the time is over.
        let mut obstacle = None;
        self.set = order.set.clone();
        loop {
            if self.left().is_zero() {
                return Err(time_over(obstacle));
            }
            self.notes.clear();
            let now = self.cx.clock.now();
            let believed = traces
                .as_ref()
                .filter(|(_, since)| now.duration_since(*since) < limits::UNDER_WAY_QUIET);
            let ignored = traces.as_ref().filter(|_| believed.is_none());
            let ignored = ignored.map(|(traces, _)| traces.clone());
            let halt = match self.attempt(order, ignored.as_deref()) {
                Ok(sent) => return Ok(sent),
                Err(halt) => halt,
            };
            match halt {
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

    /// One attempt: find, inspect, plan, pull, submit. `ignored`: traces of a deployment that have not changed for so long that
    /// nobody is at work there.
    fn attempt(
        &mut self,
        order: &Order,
        ignored: Option<&str>,
    ) -> Result<submit::Sent, AttemptError> {
        self.check_not_paused(None)?;
        self.step(Step::Finding);
        let found = find::find(self.cx.portainer, self.stack)?;
        self.know(&found, None);
        trace::found(self.stack, &found);
        self.lock_stack(found.record.id)?;
        self.check_not_paused(Some(found.record.id))?;
        self.refuse_blocked_variables(order, &found)?;
        self.lock_environment(found.record.environment)?;
        self.step(Step::Looking);
        let mut inspection = inspect::inspect(self.cx.portainer, &found, order)?;
        self.know(&found, Some(&inspection));
        inspection.check_not_under_way(&found, ignored)?;
        let environment = found.record.environment;
        inspect::ask_origins(self.cx.portainer, environment, &mut inspection)?;
        let mut plan = plan::plan(self.stack, order, &found, &inspection)?;
        if plan.repull
            && found.record.kind == Kind::Compose
            && self.missing_only_version().is_some()
        {
            plan.pull_for_portainer(&inspection, found.record.status);
        }
        self.notes.extend(plan.notes.iter().cloned());
        trace::planned(self.stack, &plan);
        for (reference, id) in plan.images_before(&inspection) {
            self.images_before.entry(reference).or_insert(id);
        }
        let before = self.images_before.clone();
        let mut inspection = self.pull(order, &found, inspection, &plan)?;
        trace::pulled(self.stack, &before, &inspection, &plan);
        self.leave_out_blocked(order, &found, &mut inspection, &mut plan)?;
        if let Some(end) = self.unchanged(order, &found, &inspection, &plan)? {
            if found.record.status == StackStatus::Error {
                let note = "Portainer's last deployment of this stack failed";
                self.notes.push(note.to_owned());
            }
            return Err(end.into());
        }
        // A pull may have used up the time.
        if self.left().is_zero() {
            return Err(time_over(None).into());
        }
        trace::sent(self.stack, order.force);
        self.submit(order, &found, &inspection, &plan, before)
    }

    /// Follows an update that was sent, verifies it, and rolls it back if needed.
    fn follow_and_verify(&mut self, sent: submit::Sent) -> Result<RedeployResult, RedeployResult> {
        let followed = self.follow(&sent.submission, sent.answer);
        self.notes.extend(
            sent.pinned
                .release(self.cx.portainer, sent.submission.environment),
        );
        let id = sent.submission.id;
        let end = self.conclude_sent(sent.submission, followed)?;
        self.note_foreign_changes(id, &sent.variables);
        Ok(end)
    }

    /// Variables that now differ both from what was sent and from what was there before: a person saved the stack meanwhile.
    fn note_foreign_changes(&mut self, id: StackId, sent: &submit::Variables) {
        let Ok(record) = self.cx.portainer.stack(id) else {
            return;
        };
        let now = record.variables();
        let names = now.keys().chain(sent.sent.keys()).chain(sent.before.keys());
        let names: std::collections::BTreeSet<&String> = names.collect();
        let foreign: Vec<&str> = names
            .into_iter()
            .filter(|name| {
                now.get(*name) != sent.sent.get(*name) && now.get(*name) != sent.before.get(*name)
            })
            .map(String::as_str)
            .collect();
        if !foreign.is_empty() {
            self.notes.push(format!(
                "somebody else changed variables of the stack during the update: {}; check in Portainer that they have the values you want",
                foreign.join(", ")
            ));
        }
    }

    /// Verifies what was followed to its end, and draws the consequences.
    fn conclude_sent(
        &mut self,
        mut submission: Submission,
        followed: Result<(), RedeployResult>,
    ) -> Result<RedeployResult, RedeployResult> {
        self.after_portainers_pull(&mut submission);
        let end = followed.and_then(|()| {
            // The next redeploy may begin while this one is verified.
            self.locks.environment = None;
            self.verify(&submission)
        });
        let end = end.map(|end| self.require_pulled(&submission, end));
        match end {
            Ok(end) => {
                self.proved(&submission, &end);
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

    /// Where Portainer did the pulling, only now it can be seen which references moved.
    fn after_portainers_pull(&self, submission: &mut Submission) {
        if !submission.can_roll_back || !submission.expected.is_empty() {
            return;
        }
        let environment = submission.environment;
        let references: Vec<&Reference> = submission.images_before.keys().collect();
        let images = inspect::side_by_side(&references, |reference| {
            self.cx.portainer.image(environment, &reference.familiar())
        });
        for (reference, image) in references.into_iter().zip(images) {
            if let Ok(Some(image)) = image {
                submission.images.insert(reference.clone(), image.id);
            }
        }
    }

    /// An update that is not bad: what it replaced is the new way back, and the one before that may be cleaned up.
    fn proved(&mut self, submission: &Submission, end: &RedeployResult) {
        let mut past = self.cx.memory.recall(submission.id);
        past.sent(submission);
        if end.verified == Some(true) {
            past.proved_healthy(submission);
            if self.stack.cleanup {
                self.clean_up(submission, &mut past);
            }
        }
        self.keep(submission.id, &past);
    }

    fn remember(&mut self, id: StackId, change: impl FnOnce(&mut StackRecord)) {
        let mut past = self.cx.memory.recall(id);
        change(&mut past);
        self.keep(id, &past);
    }

    fn keep(&mut self, id: StackId, past: &StackRecord) {
        if let Err(NotWritten(why)) = self.cx.memory.keep(id, past) {
            self.notes
                .push(format!("what a way back needs could not be kept: {why}"));
        }
    }

    /// What messages about this stack may and may not show is known once it is found.
    fn know(&mut self, found: &find::Found, inspection: Option<&inspect::Inspection>) {
        self.environment = found.environment.clone();
        let running = inspection
            .map(inspect::Inspection::running)
            .unwrap_or_default();
        self.redactor = find::redactor(self.cx.redactor, self.stack, found, running);
    }

    fn report(self, end: Result<RedeployResult, RedeployResult>) -> StackReport {
        let (Ok(end) | Err(end)) = end;
        let mut message = end.message;
        if let Some(now) = end.now {
            message.push_str("; ");
            message.push_str(&now);
        }
        for note in self.notes {
            message.push_str("; ");
            message.push_str(&note);
        }
        let stage = self
            .stage
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let stage = match (stage, end.verified) {
            (stage, _) if !end.outcome.is_bad() || stage == Stage::RollBack => stage,
            // Some containers are judged at the first inspection, before any step of it is shown.
            (_, Some(true)) => Stage::Verify,
            (stage, _) => stage,
        };
        StackReport {
            stack: self.stack.key.to_string(),
            name: self.stack.name.clone(),
            environment: self.environment,
            outcome: end.outcome,
            verified: end.verified,
            message: self.redactor.show(&message),
            seconds: (self.cx.clock.now().duration_since(self.began).as_secs_f64() * 10.0).round()
                / 10.0,
            services: end.services,
            fault: end.fault,
            stage: Some(stage).filter(|_| end.outcome.is_bad()),
            logs: end.logs,
        }
    }
}

/// The time for all was over before anything was sent; what held it up last.
fn time_over(held_up: Option<String>) -> RedeployResult {
    let over = "the time was over, nothing was sent";
    let words = held_up.map_or_else(|| over.to_owned(), |why| format!("{why}; {over}"));
    RedeployResult::failed(Fault::NotReached, words)
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod matrix;
