//! `stackhook redeploy`: what a delivery would do, done now and watched by whoever typed it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::choose::choose;
use super::report::words;
use super::{Exit, Stop, Voice, connect, load, warn, worst};
use crate::cli::{self, Output, Which};
use crate::clock::{Clock as _, SystemClock};
use crate::config::ConfigScope;
use crate::delivery::Status;
use crate::delivery::reply::status_of;
use crate::portainer::StackId;
use crate::redact::{Redactor, escape_json};
use crate::redeploy::{self, Context, Images, NotWritten, Observer, Step, Submission};
use crate::stack::Stack;
use crate::stack::order::{ImageFilter, Order, Selection};
use crate::stack::outcome::{Fault, Outcome, StackReport};
use crate::store::lock::{LockError, LockGuard, LockKey, LockManager};
use crate::store::stacks::{Pause, StackStore};
use crate::terminal::{self, Progress};

/// Redeploys the stacks one after the other, and ends as the worst of them did.
pub(super) fn run(file: Option<&Path>, asked: cli::Redeploy) -> Result<Exit, Stop> {
    let order = order(&asked);
    let manner = match (asked.dry_run, asked.force) {
        (true, _) => Manner::OnlyLooks,
        (false, true) => Manner::PastPause,
        (false, false) => Manner::Usual,
    };
    let act = |context: &Context<'_>, stack: &Stack| match asked.dry_run {
        false => End::Report(redeploy::run(context, stack, &order)),
        true => match redeploy::preview(context, stack, &order) {
            Ok(lines) => End::Plan(lines),
            Err(report) => End::Report(report),
        },
    };
    carry_out(file, &asked.which, asked.output, manner, act)
}

/// Brings back the images that ran before the last update.
pub(super) fn roll_back(file: Option<&Path>, asked: cli::Rollback) -> Result<Exit, Stop> {
    let which = Which::Named(vec![asked.stack]);
    let act =
        |context: &Context<'_>, stack: &Stack| End::Report(redeploy::roll_back(context, stack));
    carry_out(file, &which, asked.output, Manner::PastPause, act)
}

/// What it may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Redeploys stacks that are not paused.
    Usual,
    /// Redeploys also what staff have paused.
    PastPause,
    /// Changes nothing, in the state directory neither.
    OnlyLooks,
}

fn carry_out(
    file: Option<&Path>,
    which: &Which,
    output: Output,
    manner: Manner,
    act: impl Fn(&Context<'_>, &Stack) -> End,
) -> Result<Exit, Stop> {
    let config = load(ConfigScope::Portainer, file, Voice::of(output))?.config;
    let stacks = choose(which, &config)?;
    let (portainer, timeout) = connect(&config, Arc::new(SystemClock))?;
    let redactor = Redactor::new(config.secrets());
    let dir = config.state_dir.as_deref();
    let looks = manner == Manner::OnlyLooks;
    if dir.is_none() && !output.quiet && !looks {
        warn(&[
            "there is no \"state_dir\": a server beside this command is not waited for, and no way back is kept".to_owned(),
        ]);
    }
    let locks =
        LockManager::new(dir.filter(|_| !looks), "redeploy").map_err(Stop::Configuration)?;
    let store = match looks {
        true => StackStore::read_only(dir),
        false => StackStore::new(dir)
            .map_err(Stop::Configuration)?
            .with_stacks(&config.stacks),
    };
    let submitted = Arc::new(AtomicBool::new(false));
    if !looks {
        exit_on_interrupt(&submitted)?;
    }
    let mut ends = Vec::new();
    for stack in stacks {
        let watching = Watching {
            stack,
            progress: Progress::new(),
            locks: &locks,
            store: &store,
            past_pause: manner == Manner::PastPause,
            submitted: &submitted,
        };
        let context = Context {
            portainer: &portainer,
            clock: &SystemClock,
            observer: &watching,
            memory: &store,
            redactor: &redactor,
            timeout,
            // Whoever typed this can try again.
            patience: Duration::ZERO,
        };
        let end = act(&context, stack);
        submitted.store(false, Ordering::SeqCst);
        // Before anything is printed, so that the progress line is gone.
        drop(watching);
        if !output.json && (!output.quiet || end.exit() != Exit::Fine) {
            tell(stack, &end, output.quiet)?;
        }
        ends.push((stack, end));
    }
    let exit = worst(ends.iter().map(|(_, end)| end.exit()));
    if output.json && (!output.quiet || exit != Exit::Fine) {
        terminal::print(&format!("{}\n", escape_json(json(&ends).to_string())))?;
    }
    Ok(exit)
}

/// Exits with 130 at the first SIGINT, and reports whether Portainer goes on with an update.
fn exit_on_interrupt(submitted: &Arc<AtomicBool>) -> Result<(), Stop> {
    let cannot = |why: std::io::Error| Stop::Failed(format!("cannot handle signals: {why}"));
    let mut signals = Signals::new([SIGINT]).map_err(cannot)?;
    let submitted = Arc::clone(submitted);
    let wait = move || {
        if signals.forever().next().is_some() {
            terminal::complain(match submitted.load(Ordering::SeqCst) {
                true => {
                    "stopped watching; the update goes on in Portainer; run the same command again to see how it ended"
                }
                false => "stopped; nothing was sent to Portainer",
            });
            std::process::exit(130);
        }
    };
    let thread = std::thread::Builder::new().name("interrupt".to_owned());
    thread.spawn(wait).map_err(cannot)?;
    Ok(())
}

/// What became of one stack.
enum End {
    /// Redeployed, or not.
    Report(StackReport),
    /// A dry run: what would be done, step by step.
    Plan(Vec<String>),
}

impl End {
    fn exit(&self) -> Exit {
        match self {
            End::Plan(_) => Exit::Fine,
            End::Report(report) => match (report.outcome, report.fault) {
                (Outcome::Updated | Outcome::Unchanged, _) => Exit::Fine,
                (Outcome::Unknown, _) | (Outcome::Failed, Some(Fault::NotReached)) => {
                    Exit::TryLater
                }
                // Only the locks in the state directory are written here.
                (Outcome::Failed, Some(Fault::NotWritten)) => Exit::Configuration,
                (Outcome::Skipped, _) | (Outcome::Failed, Some(Fault::Refused) | None) => {
                    Exit::Failed
                }
            },
        }
    }
}

fn order(asked: &cli::Redeploy) -> Order {
    let named = asked.images.iter().cloned().map(ImageFilter::Reference);
    Order {
        images: match asked.images.is_empty() {
            true => Selection::All,
            false => Selection::Only(named.collect()),
        },
        force: asked.force,
        ..Order::default()
    }
}

/// Results on stdout, the trouble on stderr; if that is all that is wanted, only the trouble.
fn tell(stack: &Stack, end: &End, quiet: bool) -> Result<(), Stop> {
    match end {
        End::Plan(lines) => {
            let lines = lines
                .iter()
                .fold(String::new(), |text, line| format!("{text}  {line}\n"));
            terminal::print(&format!("{}:\n{lines}", stack.name))?;
        }
        End::Report(report) => {
            let trouble = end.exit() != Exit::Fine;
            if !quiet {
                terminal::print(&words(report, trouble))?;
            }
            if trouble {
                let outcome = report.outcome.name();
                terminal::complain(&format!("{}: {outcome}: {}", report.name, report.message));
            }
        }
    }
    Ok(())
}

/// `status` and `stacks` as in a delivery's reply (design 2.1); of a dry run `would` instead of an outcome.
fn json(ends: &[(&Stack, End)]) -> Value {
    let reports = ends.iter().filter_map(|(_, end)| match end {
        End::Report(report) => Some(report.clone()),
        End::Plan(_) => None,
    });
    let reports: Vec<StackReport> = reports.collect();
    let status = match reports.is_empty() {
        true => Status::Succeeded,
        false => status_of(&reports),
    };
    let stack = |(stack, end): &(&Stack, End)| match end {
        End::Report(report) => serde_json::to_value(report).unwrap_or_default(),
        End::Plan(lines) => {
            json!({"stack": stack.key.as_str(), "name": stack.name, "would": lines})
        }
    };
    let stacks: Vec<Value> = ends.iter().map(stack).collect();
    json!({"status": status.name(), "stacks": stacks})
}

/// Shows each step to whoever watches.
struct Watching<'a> {
    stack: &'a Stack,
    progress: Progress,
    locks: &'a LockManager,
    store: &'a StackStore,
    /// Whether it goes through a pause by staff.
    past_pause: bool,
    /// Whether Portainer has received an update that has not finished.
    submitted: &'a AtomicBool,
}

impl Observer for Watching<'_> {
    fn pause(&self, id: Option<StackId>) -> Option<Pause> {
        match self.past_pause {
            true => None,
            false => {
                if let Some(id) = id {
                    self.store.set_id(&self.stack.key, id.0);
                }
                self.store.pause_of(&self.stack.key, SystemClock.unix())
            }
        }
    }

    fn acquire_lock(&self, thing: LockKey, within: Duration) -> Result<LockGuard, LockError> {
        let waits_for = |who: &str| {
            self.progress
                .show(format!("{}: waiting for {who}", self.stack.name));
        };
        self.locks.acquire(thing, within, &waits_for)
    }

    fn step(&self, step: &Step) {
        self.progress.show(format!("{}: {step}", self.stack.name));
    }

    fn pulling(&self, _: &Images) -> Result<(), NotWritten> {
        Ok(())
    }

    fn submitting(&self, _: &Submission) -> Result<(), NotWritten> {
        self.submitted.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome, fault: Option<Fault>) -> StackReport {
        StackReport {
            stack: "app".to_owned(),
            name: "app-stack".to_owned(),
            environment: None,
            outcome,
            verified: None,
            message: "said so".to_owned(),
            seconds: 1.0,
            services: Vec::new(),
            fault,
            stage: None,
            logs: Vec::new(),
        }
    }

    #[test]
    fn the_outcome_decides_the_exit_code() {
        #[track_caller]
        fn check(outcome: Outcome, fault: Option<Fault>, exit: Exit) {
            assert_eq!(End::Report(report(outcome, fault)).exit(), exit);
        }
        check(Outcome::Updated, None, Exit::Fine);
        check(Outcome::Unchanged, None, Exit::Fine);
        check(Outcome::Skipped, None, Exit::Failed);
        check(Outcome::Failed, None, Exit::Failed);
        check(Outcome::Failed, Some(Fault::Refused), Exit::Failed);
        check(Outcome::Failed, Some(Fault::NotReached), Exit::TryLater);
        check(
            Outcome::Failed,
            Some(Fault::NotWritten),
            Exit::Configuration,
        );
        check(Outcome::Unknown, None, Exit::TryLater);
    }
}
