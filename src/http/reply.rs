//! Encodes a reply. Its headers cannot change its framing: the length is computed here, and values that could end a line are dropped.

use std::fmt::Write as _;

use tiny_http::{Header, StatusCode};

use crate::calendar;
use crate::clock::{Clock as _, SystemClock};
use crate::message::Reply;

/// The reserved size of a reply's head (bytes), so that it is rarely moved.
const HEAD: usize = 512;
/// Headers that are written here.
const OWN: [&str; 7] = [
    "cache-control",
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "transfer-encoding",
];

/// The reply's bytes; without its body if the request was HEAD.
pub(super) fn encode(reply: &Reply, head_only: bool) -> Vec<u8> {
    let status = StatusCode(reply.status);
    let date = calendar::http_date(SystemClock.unix());
    let mut text = String::with_capacity(HEAD + reply.body.len());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "HTTP/1.1 {} {}\r\nDate: {date}\r\nCache-Control: no-store\r\n",
        status.0,
        status.default_reason_phrase()
    );
    for (name, value) in &reply.headers {
        match Header::from_bytes(name.as_bytes(), value.as_bytes()) {
            Ok(header) if is_harmless(&header) => {
                let _ = write!(text, "{}: {}\r\n", header.field, header.value);
            }
            Ok(_) | Err(()) => log::debug!("a reply header was dropped: {name:?}"),
        }
    }
    let has_no_content = reply.status < 200 || matches!(reply.status, 204 | 304);
    if !has_no_content {
        let _ = write!(text, "Content-Length: {}\r\n", reply.body.len());
    }
    text.push_str("Connection: close\r\n\r\n");
    let mut bytes = text.into_bytes();
    if !head_only && !has_no_content {
        bytes.extend_from_slice(&reply.body);
    }
    bytes
}

/// Returns true if the header adds one line and does not change the framing.
fn is_harmless(header: &Header) -> bool {
    let is_plain = |text: &str| !text.bytes().any(|byte| byte.is_ascii_control());
    let field = header.field.as_str().as_str();
    is_plain(field)
        && is_plain(header.value.as_str())
        && !OWN.iter().any(|own| field.eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reply without its date.
    fn text(reply: &Reply, head_only: bool) -> String {
        let text = String::from_utf8(encode(reply, head_only)).unwrap();
        let (before, rest) = text.split_once("Date: ").unwrap();
        let (_, after) = rest.split_once("\r\n").unwrap();
        format!("{before}{after}")
    }

    #[test]
    fn states_the_length_and_closes_the_connection() {
        let reply = Reply::text(200, "ok\n").with("Location", "/x/");
        assert_eq!(
            text(&reply, false),
            "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nLocation: /x/\r\n\
             Content-Length: 3\r\nConnection: close\r\n\r\nok\n"
        );
        assert_eq!(
            text(&reply, true),
            text(&reply, false).strip_suffix("ok\n").unwrap()
        );
    }

    #[test]
    fn drops_headers_that_would_change_the_reply() {
        let mut reply = Reply::text(200, "");
        for end in ["\r\n", "\n", "\r", "\0"] {
            reply = reply
                .with("Location", format!("/{end}Set-Cookie: a=b"))
                .with(format!("X-Bad{end}X: y"), "z");
        }
        let reply = reply
            .with("Transfer-Encoding", "chunked")
            .with("content-length", "99")
            .with("Cache-Control", "public");
        assert_eq!(
            text(&reply, false),
            "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn omits_the_length_of_a_reply_without_content() {
        let reply = Reply {
            status: 204,
            headers: Vec::new(),
            body: b"x".to_vec(),
        };
        assert_eq!(
            text(&reply, false),
            "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
    }
}
