//! A reply as bytes. Whatever stands in it, it stays one reply: its length is counted here, and no value ends a line.

use std::fmt::Write as _;

use crate::clock::{self, Clock, SystemClock};
use crate::message::Reply;

/// Whether the body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Sent,
    /// The request was HEAD: only its length is told.
    LeftOut,
}

/// The whole reply. Headers that would frame it differently, or do more than add a line, are left out.
pub(super) fn bytes(reply: &Reply, body: Body) -> Vec<u8> {
    let (status, reason) = (reply.status, reason(reply.status));
    let date = clock::http_date(SystemClock.unix());
    // Nearly always enough, so that nothing is copied to a larger place.
    let mut text = String::with_capacity(HEAD + reply.body.len());
    // A text takes whatever is written to it.
    let _ = write!(text, "HTTP/1.1 {status} {reason}\r\nDate: {date}\r\n");
    for (name, value) in &reply.headers {
        if is_plain(name) && is_plain(value) && !is_ours(name) {
            for part in [name, ": ", value, "\r\n"] {
                text.push_str(part);
            }
        }
    }
    let none = reply.status < 200 || matches!(reply.status, 204 | 304);
    if !none {
        let _ = write!(text, "Content-Length: {}\r\n", reply.body.len());
    }
    text.push_str("Connection: close\r\n\r\n");
    let mut bytes = text.into_bytes();
    if body == Body::Sent && !none {
        bytes.extend_from_slice(&reply.body);
    }
    bytes
}

/// What is set aside for a head (bytes).
const HEAD: usize = 512;

fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn is_ours(name: &str) -> bool {
    let ours = [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "server",
        "transfer-encoding",
    ];
    ours.iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // RFC 9112 section 4: the words may be missing.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without its date.
    fn text(reply: &Reply, body: Body) -> String {
        let text = String::from_utf8(bytes(reply, body)).unwrap();
        let (before, rest) = text.split_once("Date: ").unwrap();
        let (_, after) = rest.split_once("\r\n").unwrap();
        format!("{before}{after}")
    }

    #[test]
    fn a_reply_states_its_length_and_closes() {
        let reply = Reply::text(200, "ok\n").with("Location", "/x/");
        assert_eq!(
            text(&reply, Body::Sent),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nLocation: /x/\r\n\
             Content-Length: 3\r\nConnection: close\r\n\r\nok\n"
        );
        assert_eq!(
            text(&reply, Body::LeftOut),
            text(&reply, Body::Sent).strip_suffix("ok\n").unwrap()
        );
    }

    #[test]
    fn nothing_in_a_header_makes_a_second_one() {
        let reply = Reply::text(200, "")
            .with("Location", "/\r\nSet-Cookie: a=b")
            .with("X-Bad\r\nX: y", "z")
            .with("Transfer-Encoding", "chunked")
            .with("content-length", "99");
        assert_eq!(
            text(&reply, Body::Sent),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn replies_without_content_have_no_length() {
        let reply = Reply {
            status: 204,
            headers: Vec::new(),
            body: b"x".to_vec(),
        };
        assert_eq!(
            text(&reply, Body::Sent),
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        );
    }
}
