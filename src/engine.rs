//! From accepted to ended: keeps the ledger, starts runners as redeploys become ready, and lets people wait for an end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::delivery::ledger::{Entry, Ledger};
use crate::delivery::{Accepted, Delivery};
use crate::limits;
use crate::request::DeliveryId;
use crate::stack::order::Order;
use crate::stack::outcome::{Outcome, StackReport};
use crate::stack::{Stack, StackKey};

/// What carries out one redeploy; the text goes to whoever watches.
pub(crate) type Redeploy =
    dyn Fn(&Stack, &Order, &(dyn Fn(&str) + Sync)) -> StackReport + Send + Sync;

/// Why a delivery was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAccepted {
    /// Too many are open.
    Full,
    /// The end is near.
    Stopping,
}

/// The engine.
pub(crate) struct Engine {
    state: Mutex<State>,
    changed: Condvar,
    stacks: BTreeMap<StackKey, Stack>,
    redeploy: Box<Redeploy>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    runners: usize,
    /// Runners on their way to the next redeploy.
    idle: usize,
    /// Nothing more is accepted or begun.
    stopping: bool,
    /// Nothing more is waited for.
    over: bool,
}

impl Engine {
    /// `redeploy` carries out one redeploy of one of the `stacks`.
    pub(crate) fn new(
        stacks: &[Stack],
        clock: Arc<dyn Clock>,
        redeploy: Box<Redeploy>,
    ) -> Arc<Engine> {
        let stacks = stacks
            .iter()
            .map(|stack| (stack.key.clone(), stack.clone()))
            .collect();
        let (state, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Engine {
            state,
            changed,
            stacks,
            redeploy,
            clock,
        })
    }

    /// Takes a delivery in; its redeploys begin as soon as their lanes are free.
    pub(crate) fn accept(self: &Arc<Self>, accepted: Accepted) -> Result<(), NotAccepted> {
        let unix = self.clock.unix();
        self.commit(|state| match state {
            State { stopping: true, .. } => Err(NotAccepted::Stopping),
            state if state.ledger.open() >= limits::OPEN_DELIVERIES => Err(NotAccepted::Full),
            _ => Ok(Entry::Accepted { accepted, unix }),
        })
    }

    /// How it stands with a delivery.
    pub(crate) fn find(&self, id: &DeliveryId) -> Option<Delivery> {
        self.lock().ledger.find(id).cloned()
    }

    /// Whether the stop is complete: what is open now stays open.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Waits for a delivery's end until then, or until the stop is complete.
    pub(crate) fn wait(&self, id: &DeliveryId, until: Instant) -> Option<Delivery> {
        let mut state = self.lock();
        loop {
            let delivery = state.ledger.find(id)?;
            let left = until.saturating_duration_since(Instant::now());
            if delivery.has_ended() || left.is_zero() || state.over {
                return Some(delivery.clone());
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Accepts nothing more and lets what runs end, so long; whether all of it has ended.
    pub(crate) fn stop(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut state = self.lock();
        state.stopping = true;
        self.changed.notify_all();
        while state.runners > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.over = true;
        self.changed.notify_all();
        state.runners == 0
    }

    /// The one door to change: decide, apply, tell everybody, start what became ready.
    fn commit<R>(
        self: &Arc<Self>,
        decide: impl FnOnce(&State) -> Result<Entry, R>,
    ) -> Result<(), R> {
        let mut state = self.lock();
        let entry = decide(&state)?;
        state.ledger.apply(entry);
        self.changed.notify_all();
        while !state.stopping
            && state.ledger.ready_lanes() > state.idle
            && state.runners < limits::RUNNERS
        {
            let engine = Arc::clone(self);
            let runner = thread::Builder::new()
                .name("redeploy".to_owned())
                .spawn(move || engine.run());
            if let Err(error) = runner {
                log::error!(
                    "cannot start a thread for a redeploy: {error}; it begins with the next delivery"
                );
                break;
            }
            state.runners += 1;
            state.idle += 1;
        }
        Ok(())
    }

    /// A runner: redeploys as long as something is ready.
    fn run(self: Arc<Self>) {
        while let Some((stack, order)) = self.next() {
            let report = self.redeploy(&stack, &order);
            log_end(&report);
            self.lock().idle += 1;
            let ended = self.commit(|_| Ok::<_, Infallible>(Entry::Ended(stack.key, report)));
            ended.unwrap_or_else(|never| match never {});
        }
    }

    /// The next redeploy, or the runner's end: both under one lock, so that none is left without a runner.
    fn next(&self) -> Option<(Stack, Order)> {
        let mut state = self.lock();
        let ready = state.ledger.ready().filter(|_| !state.stopping);
        let next = ready.and_then(|key| {
            let job = state.ledger.apply(Entry::Started(key.clone()))?;
            Some((self.stacks.get(&key)?.clone(), job.order))
        });
        state.idle -= 1;
        if next.is_none() {
            state.runners -= 1;
        }
        self.changed.notify_all();
        next
    }

    fn redeploy(&self, stack: &Stack, order: &Order) -> StackReport {
        let step = |step: &str| self.lock().ledger.step(&stack.key, step);
        catch_unwind(AssertUnwindSafe(|| (self.redeploy)(stack, order, &step))).unwrap_or_else(|_| StackReport {
            stack: stack.key.to_string(),
            name: stack.name.clone(),
            environment: None,
            outcome: Outcome::Unknown,
            verified: None,
            message: "stackhook itself failed in the middle of it (its log says more); look at the stack in Portainer".to_owned(),
            seconds: 0.0,
            services: Vec::new(),
            fault: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves a ledger that is whole: every change is one `apply`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_end(report: &StackReport) {
    let level = match report.outcome {
        Outcome::Updated | Outcome::Unchanged | Outcome::Skipped => log::Level::Info,
        Outcome::Failed | Outcome::Unknown => log::Level::Error,
    };
    log::log!(
        level,
        stack = report.stack.as_str(),
        name = report.name.as_str(),
        outcome = report.outcome.name(),
        seconds = report.seconds;
        "redeploy ended: {}", report.message
    );
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::delivery::{Asked, Status};
    use crate::stack::{PullMode, RollBack};

    fn stack(key: &str) -> Stack {
        Stack {
            key: StackKey::parse(key).unwrap(),
            name: key.to_owned(),
            environment: None,
            pull: PullMode::First,
            except: Vec::new(),
            env: Vec::new(),
            healthy_within: Duration::ZERO,
            rollback: RollBack::Never,
            cleanup: false,
        }
    }

    fn accepted(number: u16, stacks: &[Stack]) -> Accepted {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let asked = |stack: &Stack| Asked {
            stack: stack.key.clone(),
            name: stack.name.clone(),
            order: Order::default(),
        };
        Accepted {
            id: DeliveryId::new(id),
            hook: "update".to_owned(),
            strict: true,
            wait: Duration::ZERO,
            time: None,
            orders: stacks.iter().map(asked).collect(),
        }
    }

    fn updated(stack: &Stack) -> StackReport {
        StackReport {
            stack: stack.key.to_string(),
            name: stack.name.clone(),
            environment: None,
            outcome: Outcome::Updated,
            verified: Some(true),
            message: "1 of 1 services updated, all healthy".to_owned(),
            seconds: 1.0,
            services: Vec::new(),
            fault: None,
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_burst_is_covered_by_two_redeploys_a_stack_and_all_get_an_end() {
        let stacks = [stack("a"), stack("b")];
        let runs = Arc::new(AtomicUsize::new(0));
        let (open, gate) = mpsc::channel::<()>();
        let (counter, gate) = (Arc::clone(&runs), Mutex::new(gate));
        let redeploy = move |stack: &Stack, _: &Order, _: &(dyn Fn(&str) + Sync)| {
            counter.fetch_add(1, Ordering::SeqCst);
            gate.lock().unwrap().recv().unwrap();
            updated(stack)
        };
        let engine = Engine::new(&stacks, Arc::new(SystemClock), Box::new(redeploy));
        for number in 0..100 {
            engine.accept(accepted(number, &stacks)).unwrap();
        }
        (0..4).for_each(|_| open.send(()).unwrap());
        for number in 0..100 {
            let delivery = engine.wait(&accepted(number, &[]).id, soon()).unwrap();
            assert_eq!(delivery.status(), Status::Succeeded);
        }
        assert!(runs.load(Ordering::SeqCst) <= 4);
        assert!(engine.stop(Duration::from_secs(20)));
        assert_eq!(
            engine.accept(accepted(101, &stacks)),
            Err(NotAccepted::Stopping)
        );
    }

    #[test]
    fn stacks_are_redeployed_side_by_side() {
        let stacks = [stack("a"), stack("b"), stack("c")];
        let all_there = std::sync::Barrier::new(stacks.len());
        let redeploy = move |stack: &Stack, _: &Order, _: &(dyn Fn(&str) + Sync)| {
            all_there.wait();
            updated(stack)
        };
        let engine = Engine::new(&stacks, Arc::new(SystemClock), Box::new(redeploy));
        engine.accept(accepted(0, &stacks)).unwrap();
        let delivery = engine
            .wait(
                &accepted(0, &[]).id,
                Instant::now() + Duration::from_secs(5),
            )
            .unwrap();
        assert_eq!(delivery.status(), Status::Succeeded);
    }

    #[test]
    fn a_panic_is_an_unknown_end_and_the_next_redeploy_runs() {
        let stacks = [stack("a")];
        let first = AtomicUsize::new(0);
        let redeploy = move |stack: &Stack, _: &Order, _: &(dyn Fn(&str) + Sync)| match first
            .fetch_add(1, Ordering::SeqCst)
        {
            0 => panic!("planted"),
            _ => updated(stack),
        };
        let engine = Engine::new(&stacks, Arc::new(SystemClock), Box::new(redeploy));
        engine.accept(accepted(0, &stacks)).unwrap();
        assert_eq!(
            engine.wait(&accepted(0, &[]).id, soon()).unwrap().status(),
            Status::Unknown
        );
        engine.accept(accepted(1, &stacks)).unwrap();
        assert_eq!(
            engine.wait(&accepted(1, &[]).id, soon()).unwrap().status(),
            Status::Succeeded
        );
    }

    #[test]
    fn a_full_queue_says_so_and_a_wait_ends_in_time() {
        let stacks = [stack("a")];
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let redeploy = move |stack: &Stack, _: &Order, step: &(dyn Fn(&str) + Sync)| {
            step("pulling example.org/web:1");
            gate.lock().unwrap().recv().unwrap_or_default();
            updated(stack)
        };
        let engine = Engine::new(&stacks, Arc::new(SystemClock), Box::new(redeploy));
        for number in 0..u16::try_from(limits::OPEN_DELIVERIES).unwrap() {
            engine.accept(accepted(number, &stacks)).unwrap();
        }
        assert_eq!(
            engine.accept(accepted(5000, &stacks)),
            Err(NotAccepted::Full)
        );
        let open_still = engine
            .wait(
                &accepted(0, &[]).id,
                Instant::now() + Duration::from_millis(5),
            )
            .unwrap();
        assert!(!open_still.has_ended());
        assert!(engine.wait(&accepted(5000, &[]).id, soon()).is_none());
        drop(open);
        assert!(
            engine
                .wait(&accepted(4095, &[]).id, soon())
                .unwrap()
                .has_ended()
        );
    }
}
