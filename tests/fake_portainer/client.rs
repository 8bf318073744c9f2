//! An HTTP client for the fake that shares no code with the product: one request and one answer over a plain socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::fake::Fake;

/// A parsed answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Header names as sent, with values.
    pub(super) head: Vec<(String, String)>,
    /// JSON; other text as a string; an empty body as null.
    pub(super) body: Value,
    pub(super) bytes: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub(super) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// Sends a request; `None` if the connection closes without an answer.
pub(super) fn send(
    fake: &Fake,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Option<Answer> {
    let address = fake.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = body.unwrap_or_default();
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(head.as_bytes()).ok()?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).ok()?;
    let split = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = String::from_utf8(raw[..split].to_vec()).unwrap();
    let mut lines = text.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let bytes = raw[split + 4..].to_vec();
    Some(Answer {
        status,
        head: lines
            .filter_map(|l| l.split_once(": "))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect(),
        body: match bytes.as_slice() {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned())),
        },
        bytes,
    })
}

/// A GET by the administrator.
#[track_caller]
pub(super) fn get(fake: &Fake, path: &str) -> Answer {
    send(fake, "GET", path, &[("X-API-Key", fake.api_key())], None).expect("an answer")
}

/// A PUT by the administrator.
#[track_caller]
pub(super) fn put(fake: &Fake, path: &str, body: &Value) -> Answer {
    send(
        fake,
        "PUT",
        path,
        &[("X-API-Key", fake.api_key())],
        Some(&body.to_string()),
    )
    .expect("an answer")
}

/// A POST by the administrator.
#[track_caller]
pub(super) fn post(fake: &Fake, path: &str) -> Answer {
    send(fake, "POST", path, &[("X-API-Key", fake.api_key())], None).expect("an answer")
}
