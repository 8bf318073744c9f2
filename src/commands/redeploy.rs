//! `stackhook redeploy`: what a delivery would do, done now and watched by whoever typed it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::table::columns;
use super::{Exit, Stop, Voice, connect, load};
use crate::cli::{self, Which};
use crate::clock::SystemClock;
use crate::config::{Config, Need};
use crate::delivery::Status;
use crate::delivery::reply::status_of;
use crate::journal::lock::{NoTurn, Thing, Turn, Turns};
use crate::journal::stacks::Shelf;
use crate::near::hint;
use crate::portainer::StackId;
use crate::redact::Redactor;
use crate::redeploy::{self, Context, Images, NotWritten, Observer, Step, Submission};
use crate::stack::Stack;
use crate::stack::order::{Named, Order, Selection};
use crate::stack::outcome::{Fault, Outcome, ServiceReport, StackReport};
use crate::terminal::{self, Progress};

/// Redeploys the stacks one after the other, and ends as the worst of them did.
pub(super) fn run(file: Option<&Path>, asked: cli::Redeploy) -> Result<Exit, Stop> {
    let order = order(&asked);
    let said = Said {
        json: asked.json,
        quiet: asked.quiet,
    };
    carry_out(
        file,
        &asked.which,
        &said,
        match (asked.dry_run, asked.force) {
            (true, _) => Manner::OnlyLooks,
            (false, true) => Manner::PastPause,
            (false, false) => Manner::Usual,
        },
        |context, stack| match asked.dry_run {
            false => End::Report(redeploy::run(context, stack, &order)),
            true => match redeploy::preview(context, stack, &order) {
                Ok(lines) => End::Plan(lines),
                Err(report) => End::Report(report),
            },
        },
    )
}

/// Brings back the images that ran before the last update.
pub(super) fn roll_back(file: Option<&Path>, asked: cli::Rollback) -> Result<Exit, Stop> {
    let said = Said {
        json: asked.json,
        quiet: asked.quiet,
    };
    let which = Which::Named(vec![asked.stack]);
    carry_out(file, &which, &said, Manner::PastPause, |context, stack| {
        End::Report(redeploy::roll_back(context, stack))
    })
}

/// How the result is said.
struct Said {
    json: bool,
    quiet: bool,
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
    said: &Said,
    manner: Manner,
    act: impl Fn(&Context<'_>, &Stack) -> End,
) -> Result<Exit, Stop> {
    let voice = if said.quiet {
        Voice::Quiet
    } else {
        Voice::Command
    };
    let config = load(Need::Portainer, file, voice)?.config;
    let stacks = choose(which, &config)?;
    let (portainer, timeout) = connect(&config, Arc::new(SystemClock))?;
    let redactor = Redactor::new(config.secrets());
    let dir = config.state_dir.as_deref();
    let looks = manner == Manner::OnlyLooks;
    if dir.is_none() && voice != Voice::Quiet && !looks {
        super::warn(&[
            "there is no \"state_dir\": a server beside this command is not waited for, and no way back is kept".to_owned(),
        ]);
    }
    let turns = Turns::new(dir.filter(|_| !looks), "redeploy").map_err(Stop::Configuration)?;
    let shelf = match looks {
        true => Shelf::only_read(dir),
        false => Shelf::new(dir).map_err(Stop::Configuration)?,
    };
    let mut ends = Vec::new();
    for stack in stacks {
        let watching = Watching {
            stack,
            progress: Progress::new(),
            turns: &turns,
            shelf: &shelf,
            past_pause: manner == Manner::PastPause,
        };
        let context = Context {
            portainer: &portainer,
            clock: &SystemClock,
            observer: &watching,
            memory: &shelf,
            redactor: &redactor,
            timeout,
            // Whoever typed this can try again.
            patience: Duration::ZERO,
        };
        let end = act(&context, stack);
        // Before anything is printed, so that the progress line is gone.
        drop(watching);
        if !said.json && (!said.quiet || end.exit() != Exit::Fine) {
            tell(stack, &end, said.quiet)?;
        }
        ends.push((stack, end));
    }
    let exit = worst(ends.iter().map(|(_, end)| end.exit()));
    if said.json && (!said.quiet || exit != Exit::Fine) {
        terminal::print(&format!("{}\n", json(&ends)))?;
    }
    Ok(exit)
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

/// 1 beats 75, which beats 0.
pub(super) fn worst(exits: impl Iterator<Item = Exit>) -> Exit {
    let weight = |exit: &Exit| match exit {
        Exit::Fine => 0,
        Exit::TryLater => 1,
        Exit::Failed | Exit::Usage | Exit::Configuration => 2,
    };
    exits.max_by_key(weight).unwrap_or(Exit::Fine)
}

/// The stacks that are meant, each once.
fn choose<'c>(which: &Which, config: &'c Config) -> Result<Vec<&'c Stack>, Stop> {
    let keys = || config.stacks.iter().map(|stack| stack.key.as_str());
    let list = || keys().collect::<Vec<_>>().join(", ");
    let usage = |text: String| Err(Stop::Usage(text));
    if config.stacks.is_empty() {
        let text =
            "no stack is configured; set PORTAINER_STACK_NAME to the stack's name in Portainer";
        return Err(Stop::Configuration(text.to_owned()));
    }
    match which {
        Which::All => Ok(config.stacks.iter().collect()),
        Which::Unsaid => {
            let default = |stack: &&Stack| config.default_stack.as_ref() == Some(&stack.key);
            match (config.stacks.as_slice(), config.stacks.iter().find(default)) {
                ([only], _) => Ok(vec![only]),
                (_, Some(default)) => Ok(vec![default]),
                (_, None) => usage(format!("which stack? there are {}; or --all", list())),
            }
        }
        Which::Named(names) => {
            let mut chosen: Vec<&Stack> = Vec::new();
            for name in names {
                let by_key = config
                    .stacks
                    .iter()
                    .filter(|stack| stack.key.as_str() == name);
                let by_name = config
                    .stacks
                    .iter()
                    .filter(|stack| stack.name.eq_ignore_ascii_case(name));
                let mut found: Vec<&Stack> = by_key.collect();
                if found.is_empty() {
                    found.extend(by_name);
                }
                match found.as_slice() {
                    [one] if chosen.iter().any(|known| known.key == one.key) => {}
                    [one] => chosen.push(one),
                    [] => {
                        let help = match hint(name, keys()) {
                            near if near.is_empty() => format!("; there are {}", list()),
                            near => near,
                        };
                        return usage(format!("no stack {name:?} is configured{help}"));
                    }
                    several => {
                        let keys: Vec<&str> = several.iter().map(|one| one.key.as_str()).collect();
                        let keys = keys.join(", ");
                        return usage(format!(
                            "several stacks are named {name:?}; their keys are {keys}"
                        ));
                    }
                }
            }
            Ok(chosen)
        }
    }
}

fn order(asked: &cli::Redeploy) -> Order {
    let named = asked.images.iter().cloned().map(Named::Reference);
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

/// `shop on local: updated, 1 of 2 services updated, all healthy (8.2 s)`, and a line a service.
pub(super) fn words(report: &StackReport, trouble: bool) -> String {
    let mut text = report.name.clone();
    if let Some(environment) = &report.environment {
        let _ = write!(text, " on {environment}");
    }
    let _ = write!(text, ": {}", report.outcome.name());
    if !trouble {
        let _ = write!(text, ", {}", report.message);
    }
    let _ = writeln!(text, " ({} s)", report.seconds);
    let rows: Vec<Vec<String>> = report.services.iter().map(row).collect();
    text.push_str(&columns(2, &rows));
    text
}

fn row(service: &ServiceReport) -> Vec<String> {
    let state = match json!(service.state) {
        Value::String(state) => state,
        other => other.to_string(),
    };
    let mut more = Vec::new();
    if service.new_image {
        more.push("new image".to_owned());
    }
    if service.recreated {
        more.push("recreated".to_owned());
    }
    more.extend(service.exit_code.map(|code| format!("exit code {code}")));
    more.extend(service.restarts.map(|count| format!("{count} restarts")));
    vec![
        service.service.clone(),
        service.image.clone(),
        state,
        more.join(", "),
    ]
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
        End::Report(report) => json!(report),
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
    turns: &'a Turns,
    shelf: &'a Shelf,
    /// Whether it goes through a pause by staff.
    past_pause: bool,
}

impl Observer for Watching<'_> {
    fn paused(&self, id: StackId) -> Option<u64> {
        match self.past_pause {
            true => None,
            false => self.shelf.paused(id.0),
        }
    }

    fn turn(&self, thing: Thing, within: Duration) -> Result<Turn, NoTurn> {
        let waits_for = |who: &str| {
            self.progress
                .show(format!("{}: waiting for {who}", self.stack.name));
        };
        self.turns.take(thing, within, &waits_for)
    }

    fn step(&self, step: &Step) {
        self.progress.show(format!("{}: {step}", self.stack.name));
    }

    fn pulling(&self, _: &Images) -> Result<(), NotWritten> {
        Ok(())
    }

    fn submitting(&self, _: &Submission) -> Result<(), NotWritten> {
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

    #[test]
    fn a_failure_beats_what_may_pass_and_that_beats_success() {
        #[track_caller]
        fn check(exits: &[Exit], expected: Exit) {
            assert_eq!(worst(exits.iter().copied()), expected);
            assert_eq!(worst(exits.iter().rev().copied()), expected);
        }
        check(&[], Exit::Fine);
        check(&[Exit::Fine, Exit::TryLater], Exit::TryLater);
        check(&[Exit::Failed, Exit::TryLater, Exit::Fine], Exit::Failed);
    }
}
