//! `stackhook redeploy` and `rollback`: a redeploy without a delivery, with progress on the terminal.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::choose::choose;
use super::report::describe;
use super::{CommandError, Exit, Verbosity, connect, load, warn, worst};
use crate::cli::{self, Output, StackChoice};
use crate::clock::{Clock as _, SystemClock};
use crate::config::ConfigScope;
use crate::delivery::DeliveryStatus;
use crate::delivery::reply::status_of;
use crate::portainer::StackId;
use crate::redact::{Redactor, escape_json};
use crate::redeploy::{self, Context, Images, NotWritten, Observer, Step, Submission};
use crate::stack::Stack;
use crate::stack::order::{ImageFilter, Order, Selection};
use crate::stack::outcome::{Fault, Outcome, StackReport};
use crate::store::lock::{LockError, LockGuard, LockKey, LockManager};
use crate::store::stacks::{Pause, StackStore};
use crate::terminal::{self, ProgressLine};

/// Redeploys the stacks one after the other. The worst result decides the exit code.
pub(super) fn run(file: Option<&Path>, args: cli::RedeployArgs) -> Result<Exit, CommandError> {
    let order = order(&args);
    let mode = match (args.dry_run, args.force) {
        (true, _) => RunMode::DryRun,
        (false, true) => RunMode::IgnorePause,
        (false, false) => RunMode::Normal,
    };
    let act = |context: &Context<'_>, stack: &Stack| match args.dry_run {
        false => RunResult::Report(redeploy::run(context, stack, &order)),
        true => match redeploy::preview(context, stack, &order) {
            Ok(lines) => RunResult::Plan(lines),
            Err(report) => RunResult::Report(report),
        },
    };
    run_all(file, &args.stacks, args.output, mode, act)
}

/// Restores the images that ran before the last update.
pub(super) fn roll_back(
    file: Option<&Path>,
    stack: String,
    output: Output,
) -> Result<Exit, CommandError> {
    let choice = StackChoice::Named(vec![stack]);
    let act = |context: &Context<'_>, stack: &Stack| {
        RunResult::Report(redeploy::roll_back(context, stack))
    };
    run_all(file, &choice, output, RunMode::IgnorePause, act)
}

/// The permissions of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RunMode {
    /// Redeploys stacks that are not paused.
    Normal,
    /// Redeploys paused stacks, too.
    IgnorePause,
    /// Changes nothing, not even in the state directory.
    DryRun,
}

fn run_all(
    file: Option<&Path>,
    choice: &StackChoice,
    output: Output,
    mode: RunMode,
    act: impl Fn(&Context<'_>, &Stack) -> RunResult,
) -> Result<Exit, CommandError> {
    let config = load(ConfigScope::Portainer, file, Verbosity::of_output(output))?.config;
    let stacks = choose(choice, &config)?;
    let (portainer, timeout) = connect(&config, Arc::new(SystemClock))?;
    let redactor = Redactor::new(config.secrets());
    let dir = config.state_dir.as_deref();
    let dry_run = mode == RunMode::DryRun;
    if dir.is_none() && !output.quiet && !dry_run {
        let text = "state_dir is not set: this command does not coordinate with a running server, and the data for a rollback is not saved";
        warn(&[text.to_owned()]);
    }
    let locks = LockManager::new(dir.filter(|_| !dry_run), "redeploy")
        .map_err(CommandError::Configuration)?;
    let store = match dry_run {
        true => StackStore::read_only(dir),
        false => StackStore::new(dir)
            .map_err(CommandError::Configuration)?
            .with_stacks(&config.stacks),
    };
    let submitted = Arc::new(AtomicBool::new(false));
    if !dry_run {
        exit_on_interrupt(&submitted)?;
    }
    let mut results = Vec::new();
    for stack in stacks {
        let observer = CommandObserver {
            stack,
            progress: ProgressLine::new(),
            locks: &locks,
            store: &store,
            ignores_pause: mode == RunMode::IgnorePause,
            submitted: &submitted,
        };
        let context = Context {
            portainer: &portainer,
            clock: &SystemClock,
            observer: &observer,
            memory: &store,
            redactor: &redactor,
            timeout,
            // The user can try again.
            patience: Duration::ZERO,
        };
        let result = act(&context, stack);
        submitted.store(false, Ordering::SeqCst);
        // Before anything is printed, so that the progress line is gone.
        drop(observer);
        if !output.json && (!output.quiet || result.exit() != Exit::Success) {
            print_result(stack, &result, output.quiet)?;
        }
        results.push((stack, result));
    }
    let exit = worst(results.iter().map(|(_, result)| result.exit()));
    if output.json && (!output.quiet || exit != Exit::Success) {
        terminal::print(&format!("{}\n", escape_json(to_json(&results).to_string())))?;
    }
    Ok(exit)
}

/// Exits with 130 at the first SIGINT, and reports whether Portainer goes on with an update.
fn exit_on_interrupt(submitted: &Arc<AtomicBool>) -> Result<(), CommandError> {
    let cannot =
        |why: std::io::Error| CommandError::Failed(format!("cannot handle signals: {why}"));
    let mut signals = Signals::new([SIGINT]).map_err(cannot)?;
    let submitted = Arc::clone(submitted);
    let wait = move || {
        if signals.forever().next().is_some() {
            terminal::print_error(match submitted.load(Ordering::SeqCst) {
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

/// The result for one stack.
enum RunResult {
    /// The report of a redeploy.
    Report(StackReport),
    /// The steps that a dry run found.
    Plan(Vec<String>),
}

impl RunResult {
    fn exit(&self) -> Exit {
        match self {
            RunResult::Plan(_) => Exit::Success,
            RunResult::Report(report) => match (report.outcome, report.fault) {
                (Outcome::Updated | Outcome::Unchanged, _) => Exit::Success,
                (Outcome::Unknown, _) | (Outcome::Failed, Some(Fault::NotReached)) => {
                    Exit::Temporary
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

fn order(args: &cli::RedeployArgs) -> Order {
    let named = args.images.iter().cloned().map(ImageFilter::Reference);
    Order {
        images: match args.images.is_empty() {
            true => Selection::All,
            false => Selection::Only(named.collect()),
        },
        force: args.force,
        ..Order::default()
    }
}

/// Prints a result on stdout and a failure on stderr; with `quiet` only the failure.
fn print_result(stack: &Stack, result: &RunResult, quiet: bool) -> Result<(), CommandError> {
    match result {
        RunResult::Plan(lines) => {
            let lines = lines
                .iter()
                .fold(String::new(), |text, line| format!("{text}  {line}\n"));
            terminal::print(&format!("{}:\n{lines}", stack.name))?;
        }
        RunResult::Report(report) => {
            let has_failed = result.exit() != Exit::Success;
            if !quiet {
                terminal::print(&describe(report, has_failed))?;
            }
            if has_failed {
                let outcome = report.outcome.name();
                terminal::print_error(&format!("{}: {outcome}: {}", report.name, report.message));
            }
        }
    }
    Ok(())
}

/// `status` and `stacks` as in the reply to a delivery; for a dry run `would` instead of an outcome.
fn to_json(results: &[(&Stack, RunResult)]) -> Value {
    let reports = results.iter().filter_map(|(_, result)| match result {
        RunResult::Report(report) => Some(report.clone()),
        RunResult::Plan(_) => None,
    });
    let reports: Vec<StackReport> = reports.collect();
    let status = match reports.is_empty() {
        true => DeliveryStatus::Succeeded,
        false => status_of(&reports),
    };
    let stack = |(stack, result): &(&Stack, RunResult)| match result {
        RunResult::Report(report) => json!(report),
        RunResult::Plan(lines) => {
            json!({"stack": stack.key.as_str(), "name": stack.name, "would": lines})
        }
    };
    let stacks: Vec<Value> = results.iter().map(stack).collect();
    json!({"status": status.name(), "stacks": stacks})
}

/// Shows each step on the terminal.
struct CommandObserver<'a> {
    stack: &'a Stack,
    progress: ProgressLine,
    locks: &'a LockManager,
    store: &'a StackStore,
    /// Redeploys although the stack is paused.
    ignores_pause: bool,
    /// Set while Portainer works on an update.
    submitted: &'a AtomicBool,
}

impl Observer for CommandObserver<'_> {
    fn pause(&self, id: Option<StackId>) -> Option<Pause> {
        // As in the server: records and pauses of older versions are found by this number.
        if let Some(id) = id {
            self.store.set_id(&self.stack.key, id.0);
        }
        let pause = self.store.pause_of(&self.stack.key, SystemClock.unix());
        pause.filter(|_| !self.ignores_pause)
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
            message: "a message".to_owned(),
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
            assert_eq!(RunResult::Report(report(outcome, fault)).exit(), exit);
        }
        check(Outcome::Updated, None, Exit::Success);
        check(Outcome::Unchanged, None, Exit::Success);
        check(Outcome::Skipped, None, Exit::Failed);
        check(Outcome::Failed, None, Exit::Failed);
        check(Outcome::Failed, Some(Fault::Refused), Exit::Failed);
        check(Outcome::Failed, Some(Fault::NotReached), Exit::Temporary);
        check(
            Outcome::Failed,
            Some(Fault::NotWritten),
            Exit::Configuration,
        );
        check(Outcome::Unknown, None, Exit::Temporary);
    }
}
