//! The listening socket and a thread for each connection; applies faults, records calls, and waits for deployments.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::faults::{Fault, Faults};
use super::http::{Answer, Request};
use super::stacks::Reply;
use super::time::{Clock, Millis, http_date, millis};
use super::world::World;

/// A request and the status of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `GET`, `PUT` …
    pub(crate) method: String,
    /// Percent-decoded, without the query.
    pub(crate) path: String,
    /// Percent-decoded pairs.
    pub(crate) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// JSON; other text as a string; an empty body as null.
    pub(crate) body: Value,
    /// `None` before the answer, or without one.
    pub(crate) status: Option<u16>,
    /// Time of arrival on the fake's clock.
    pub(crate) at: Millis,
    /// Real time at which the request was complete.
    pub(crate) began: Instant,
    /// Real time at which its answer was ready.
    pub(crate) ended: Option<Instant>,
}

/// The state shared by the threads of one fake.
pub(super) struct Shared {
    pub(super) world: Mutex<World>,
    pub(super) faults: Mutex<Faults>,
    /// Numbered, because a test may discard earlier calls while one is in progress.
    pub(super) calls: Mutex<Vec<(u64, Call)>>,
    pub(super) clock: Clock,
    /// Makes waits advance the clock instead of taking time.
    pub(super) skip_waiting: AtomicBool,
    stopping: AtomicBool,
    next_call: AtomicU64,
    connections: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

/// The listener's thread.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    pub(super) fn start(shared: &Arc<Shared>, address: SocketAddr) -> Listening {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let closing = Arc::new(AtomicBool::new(false));
        let (shared, closed) = (Arc::clone(shared), Arc::clone(&closing));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    shared.serve(stream);
                }
            }
        });
        Listening {
            address,
            closing,
            thread: Some(thread),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.address);
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    pub(super) fn new(world: World, clock: Clock) -> Shared {
        Shared {
            world: Mutex::new(world),
            faults: Mutex::default(),
            calls: Mutex::default(),
            clock,
            skip_waiting: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            next_call: AtomicU64::new(0),
            connections: Mutex::default(),
        }
    }

    /// Ignores poisoning: the message of a test that failed under the lock must stay visible.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, stream: TcpStream) {
        let shared = Arc::clone(self);
        let handle = stream.try_clone().unwrap();
        let thread = thread::spawn(move || {
            if let Some(request) = Request::read(&stream) {
                shared.answer(&request, &stream);
            }
            let _gone = stream.shutdown(Shutdown::Both);
        });
        let mut connections = self.connections.lock().unwrap();
        connections.retain(|(_, thread)| !thread.is_finished());
        connections.push((handle, thread));
    }

    /// Closes every connection and joins its thread.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let connections = std::mem::take(&mut *self.connections.lock().unwrap());
        for (stream, thread) in connections {
            let _gone = stream.shutdown(Shutdown::Both);
            let _joined = thread.join();
        }
    }

    fn answer(&self, request: &Request, stream: &TcpStream) {
        let number = self.note_call(request);
        let answer = self.with_faults(request);
        {
            let mut calls = self.calls.lock().unwrap();
            for (_, call) in calls.iter_mut().filter(|(n, _)| *n == number) {
                call.status = answer.sent.then_some(answer.status);
                call.ended = Some(Instant::now());
            }
        }
        answer.write(stream, &http_date(self.clock.now()));
    }

    fn note_call(&self, request: &Request) -> u64 {
        let number = self.next_call.fetch_add(1, Ordering::SeqCst);
        let call = Call {
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: request.body_value(),
            status: None,
            at: self.clock.now(),
            began: Instant::now(),
            ended: None,
        };
        self.calls.lock().unwrap().push((number, call));
        number
    }

    fn with_faults(&self, request: &Request) -> Answer {
        let fault = self.faults.lock().unwrap().strike(request);
        match fault {
            None => self.portainer(request),
            Some(Fault::Answer(status, content_type, body)) => {
                Answer::new(status, content_type, body)
            }
            Some(Fault::Redirect(to)) => Answer::empty(302).with("Location", to),
            Some(Fault::LoginPage) => {
                Answer::new(200, "text/html", "<!doctype html><title>Sign in</title>")
            }
            Some(Fault::CloseBefore) => Answer::hang_up(),
            Some(Fault::CloseAfter) => {
                self.portainer(request);
                Answer::hang_up()
            }
            Some(Fault::CutShort) => Answer {
                cut_short: true,
                ..self.portainer(request)
            },
            Some(Fault::GaveUp(status)) => {
                self.portainer(request);
                Answer::new(
                    status,
                    "text/html",
                    "<html><h1>the server took too long</h1></html>",
                )
            }
            Some(Fault::Silent) => {
                self.wait(|| None::<()>, || None);
                Answer::hang_up()
            }
            Some(Fault::Delay(delay)) => {
                let until = self.clock.now() + millis(delay);
                self.wait(|| (self.clock.now() >= until).then_some(()), || Some(until));
                self.portainer(request)
            }
            Some(Fault::Hold(gate)) => {
                self.wait(|| gate.is_open().then_some(()), || None);
                self.portainer(request)
            }
            Some(Fault::PullBreaks(why)) => {
                let lines = [
                    json!({ "status": "Pulling from web", "id": "1" }),
                    json!({ "status": "Downloading", "progressDetail": { "current": 1, "total": 2 }, "id": "b944e9b66de4" }),
                    json!({ "errorDetail": { "message": why }, "error": why }),
                ];
                let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
                Answer::new(200, "application/json", body)
            }
        }
    }

    /// Portainer's own answer.
    fn portainer(&self, request: &Request) -> Answer {
        let open = self.wait(
            || {
                let mut world = self.world();
                world.advance();
                (!world.waits_for_database(request)).then_some(())
            },
            || self.world().deploys.due(),
        );
        if open.is_none() {
            return Answer::hang_up();
        }
        let (reply, life) = {
            let mut world = self.world();
            (world.handle(request), world.lives)
        };
        let (ticket, stack, purpose) = match reply {
            Reply::Now(answer) => return answer,
            Reply::After {
                ticket,
                stack,
                purpose,
            } => (ticket, stack, purpose),
        };
        let outcome = self.wait(
            || {
                let mut world = self.world();
                world.advance();
                let dead = world.lives != life;
                world
                    .deploys
                    .take(ticket)
                    .map(Some)
                    .or(dead.then_some(None))
            },
            || self.world().deploys.due(),
        );
        match outcome.flatten() {
            Some(outcome) => self.world().deploy_answer(stack, purpose, outcome),
            None => Answer::hang_up(),
        }
    }

    /// Polls every few milliseconds until `look` returns something or the fake stops. May move the clock to the next due time instead.
    fn wait<T>(
        &self,
        mut look: impl FnMut() -> Option<T>,
        next: impl Fn() -> Option<Millis>,
    ) -> Option<T> {
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            if self.stopping.load(Ordering::SeqCst) {
                return None;
            }
            match next() {
                Some(when) if self.skip_waiting.load(Ordering::SeqCst) => self.clock.skip_to(when),
                _ => thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}
