//! What answers on the far side of tiny_http: its workers, each taking one request after the other to whoever stands behind.

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{lock, private};
use crate::limits;
use crate::message::{Headers, Reply};
use crate::request::{Answer, Behind, Refusal, Request, Wait};
use crate::secret::Secret;

/// The workers of one tiny_http: told to leave when this is dropped, each as soon as it has nothing in hand.
pub(super) struct Workers {
    http: Arc<tiny_http::Server>,
    over: Arc<AtomicBool>,
}

/// What the workers need.
pub(super) struct Inside {
    pub(super) behind: Arc<dyn Behind>,
    /// Only who knows it is served.
    pub(super) token: Secret,
    /// What replies under way propose to wait for, by the number that they carry.
    pub(super) waits: Mutex<HashMap<u64, Wait>>,
    next: AtomicU64,
    /// Workers that have not left.
    pub(super) workers: AtomicUsize,
}

impl Workers {
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(http: tiny_http::Server, inside: &Arc<Inside>) -> io::Result<Workers> {
        let http = Arc::new(http);
        // Its end would panic on an abstract socket: it has none.
        std::mem::forget(Arc::clone(&http));
        let workers = Workers {
            http: Arc::clone(&http),
            over: Arc::default(),
        };
        for number in 0..limits::WORKERS {
            let (http, over, inside) = (
                Arc::clone(&http),
                Arc::clone(&workers.over),
                Arc::clone(inside),
            );
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    work(&http, &over, &inside);
                })?;
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Each call wakes one.
        (0..limits::WORKERS).for_each(|_| self.http.unblock());
    }
}

/// A worker, as long as its tiny_http is in use: no error and no panic ends it.
fn work(http: &tiny_http::Server, over: &AtomicBool, inside: &Inside) {
    inside.workers.fetch_add(1, Ordering::SeqCst);
    while !over.load(Ordering::SeqCst) {
        match http.recv() {
            Ok(request) => {
                if catch_unwind(AssertUnwindSafe(|| inside.answer(request))).is_err() {
                    log::error!("a reply was dropped in the middle of a panic");
                }
            }
            // The private door was closed, which is told once, or it is over.
            Err(error) => {
                log::debug!("tiny_http: {error}");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    inside.workers.fetch_sub(1, Ordering::SeqCst);
}

impl Inside {
    pub(super) fn new(behind: Arc<dyn Behind>, token: Secret) -> Inside {
        Inside {
            behind,
            token,
            waits: Mutex::default(),
            next: AtomicU64::new(0),
            workers: AtomicUsize::new(0),
        }
    }

    fn answer(&self, mut http: tiny_http::Request) {
        let mut headers = Headers::default();
        for header in http.headers() {
            headers.push(header.field.as_str().as_str(), header.value.as_str());
        }
        let token = headers.get(private::TOKEN).unwrap_or_default();
        if !self.token.is(token.as_bytes()) {
            return respond(http, Reply::text(403, ""), None);
        }
        if headers.get(private::PROBE).is_some() {
            return respond(http, Reply::text(204, ""), None);
        }
        let Some(request) = Inside::request(&mut http, &headers) else {
            log::error!("a private request was not understood, or there is no memory for it");
            return respond(http, Reply::text(500, ""), None);
        };
        let handled = catch_unwind(AssertUnwindSafe(|| self.behind.handle(&request)));
        let answer = handled.unwrap_or_else(|_| {
            let (path, peer) = (Some(request.path.as_str()), request.peer);
            Answer::now(self.behind.refuse(path, peer, Refusal::Panicked))
        });
        let number = answer.wait.map(|wait| {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            lock(&self.waits).insert(number, wait);
            number
        });
        respond(http, answer.reply, number);
    }

    fn request(http: &mut tiny_http::Request, headers: &Headers) -> Option<Request> {
        let length = http.body_length().unwrap_or(0);
        let mut body = Vec::new();
        body.try_reserve_exact(length).ok()?;
        http.as_reader().read_to_end(&mut body).ok()?;
        if body.len() != length {
            return None;
        }
        private::restore(http.method().as_str(), http.url(), headers, body)
    }
}

/// `number`: what the other end may wait for.
fn respond(http: tiny_http::Request, reply: Reply, number: Option<u64>) {
    let mut headers: Vec<tiny_http::Header> = Vec::new();
    let mut push = |name: &str, value: &str| {
        headers.extend(tiny_http::Header::from_bytes(
            name.as_bytes(),
            value.as_bytes(),
        ));
    };
    for (name, value) in private::reply_headers(&reply, number) {
        push(&name, &value);
    }
    let length = reply.body.len();
    let response = tiny_http::Response::new(
        tiny_http::StatusCode(reply.status),
        headers,
        Cursor::new(reply.body),
        Some(length),
        None,
    );
    // Chunked from 32 KiB on is tiny_http's default, and one more thing to go wrong.
    if let Err(error) = http.respond(response.with_chunked_threshold(usize::MAX)) {
        log::debug!("a private reply was not taken: {error}");
    }
}
