//! For comparison only: what tiny_http costs by itself. The hook of the benchmark on a plain tiny_http with four threads, without a
//! gate, a limit, a queue or a log; nothing of stackhook is in it. `plain ADDRESS SECRET`

#![allow(
    clippy::expect_used,
    reason = "a program for measuring fails by panicking"
)]

use std::sync::Arc;
use std::thread;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tiny_http::{Header, Method, Request, Response, Server};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("usage: plain ADDRESS SECRET");
    let (address, secret) = (next(), next());
    let server = Arc::new(Server::http(address).expect("the address is free"));
    let worker = || {
        let (server, secret) = (Arc::clone(&server), secret.clone());
        thread::spawn(move || {
            while let Ok(request) = server.recv() {
                answer(request, secret.as_bytes());
            }
        })
    };
    let workers: Vec<_> = (0..4).map(|_| worker()).collect();
    for worker in workers {
        let _ended = worker.join();
    }
}

fn answer(mut request: Request, secret: &[u8]) {
    let (status, body) = match (request.method(), request.url()) {
        (Method::Get, "/healthz") => (200, "ok\n".to_owned()),
        (Method::Post, "/webhook/update/") => {
            let (status, reply) = delivery(&mut request, secret);
            (status, reply.to_string())
        }
        _ => (404, "no such route\n".to_owned()),
    };
    let json = Header::from_bytes("Content-Type", "application/json").expect("a fixed header");
    // The client may be gone.
    let _sent = request.respond(
        Response::from_string(body)
            .with_status_code(status)
            .with_header(json),
    );
}

fn delivery(request: &mut Request, secret: &[u8]) -> (u16, Value) {
    let rejected = |why: &str| json!({"success": false, "message": why, "update_result": null});
    let mut body = Vec::new();
    if request.as_reader().read_to_end(&mut body).is_err() {
        return (400, rejected("the body broke off"));
    }
    let signed = request
        .headers()
        .iter()
        .find(|header| header.field.equiv("X-Portainer-Signature"))
        .and_then(|header| header.value.as_str().strip_prefix("sha256="))
        .and_then(|signature| hex::decode(signature).ok());
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.update(&body);
    if signed.is_none_or(|signature| mac.verify_slice(&signature).is_err()) {
        return (401, rejected("the signature is wrong"));
    }
    match serde_json::from_slice::<Value>(&body) {
        Ok(body) if body.get("event") == Some(&json!("ping")) => (
            200,
            json!({"success": true, "message": "Delivery ignored", "update_result": "ping", "status": "ignored"}),
        ),
        Ok(_) => (400, rejected("an event that nothing stands for")),
        Err(_) => (400, rejected("no JSON")),
    }
}
