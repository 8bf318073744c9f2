//! An HTTP client that shares no code with the product: one request and one reply over a plain socket.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A parsed reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Header names as sent, with values.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The value of a header that occurs at most once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice in {self:?}");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(
            self.header("Content-Type"),
            Some("application/json"),
            "{self:?}"
        );
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A slow client may be closed after this time while all connections are in use.
pub(crate) const GRACE: Duration = Duration::from_millis(50);

/// Sends bytes unchanged and reads one reply, or until the other side closes; returns the bytes received, possibly none. Tries again
/// if this thread was not scheduled in time to send the request.
pub(crate) fn exchange(server: SocketAddr, request: &[u8]) -> Vec<u8> {
    for _ in 0..20 {
        let began = Instant::now();
        let (reply, said) = try_exchange(server, request);
        if !reply.is_empty() || said.duration_since(began) < GRACE {
            return reply;
        }
    }
    Vec::new()
}

/// The reply, and the time at which the request had been sent.
fn try_exchange(server: SocketAddr, request: &[u8]) -> (Vec<u8>, Instant) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // The server may close the connection before the request was sent completely; the reply is there nevertheless.
    let _ = stream.write_all(request);
    let said = Instant::now();
    let mut reply = Vec::new();
    let mut part = [0; 4096];
    while !is_whole(&reply, request.starts_with(b"HEAD ")) {
        match stream.read(&mut part) {
            Ok(read @ 1..) => reply.extend(&part[..read]),
            Ok(0) | Err(_) => break,
        }
    }
    (reply, said)
}

/// Returns true if the reply has as many bytes as its length states.
fn is_whole(reply: &[u8], head_only: bool) -> bool {
    let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&reply[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok());
    head_only || length.is_some_and(|length| reply.len() >= end + 4 + length)
}

/// Formats a request with the headers that a client normally sends.
pub(crate) fn request(
    server: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("Host"))
    {
        request.push_str(&format!("Host: {server}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let mut request = format!("{request}\r\n").into_bytes();
    request.extend(body);
    request
}

/// Parses a reply, which must have the stated length and announce the end of the connection.
#[track_caller]
pub(crate) fn parse(bytes: &[u8]) -> Reply {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no reply: {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    };
    let reply = Reply {
        status,
        headers: lines.map(pair).collect(),
        body: bytes[end + 4..].to_vec(),
    };
    assert_eq!(reply.header("Connection"), Some("close"), "{head}");
    if let Some(length) = reply.header("Content-Length")
        && !reply.body.is_empty()
    {
        assert_eq!(length, reply.body.len().to_string(), "{head}");
    }
    reply
}
