//! The words on a private connection: one request and one reply, so plain that no two readers could differ. Every header of the
//! client travels under another name, so that none of them means anything on the way.

use std::io::{self, BufRead, ErrorKind, Read};

use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};

use crate::limits;
use crate::message::{Headers, Reply};
use crate::request::{self, Request};
use crate::secret::Secret;
use crate::signature::UnverifiedBody;

/// Who may ask.
pub(super) const TOKEN: &str = "gate-token";
/// Only whether a worker answers.
pub(super) const PROBE: &str = "gate-probe";
/// The client's address.
const PEER: &str = "gate-peer";
/// The client's method: HEAD is asked as GET, so that the reply has its body.
const METHOD: &str = "gate-method";
/// Of a reply: the number of what may be waited for.
const WAIT: &str = "gate-wait";
/// Before the name of each header of the client or of the reply.
const SENT: &str = "sent-";

/// What is encoded in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// What is encoded in a value; blanks at its ends would be lost otherwise.
const VALUE: &AsciiSet = &CONTROLS.add(b'%').add(b' ');

/// A request up to its body.
pub(super) fn head(token: &Secret, request: &Request) -> Vec<u8> {
    let path = utf8_percent_encode(&request.path, PATH);
    let method = match request.method {
        "HEAD" => "GET",
        other => other,
    };
    let mut head = format!("{method} {path}");
    if let Some(query) = &request.query {
        head.push('?');
        head.push_str(query);
    }
    head.push_str(" HTTP/1.1\r\n");
    let length = request.body.len().to_string();
    line(&mut head, "Content-Length", &length);
    line(&mut head, TOKEN, token.expose());
    line(&mut head, PEER, &request.peer.to_string());
    line(&mut head, METHOD, request.method);
    for (name, value) in request.headers.iter() {
        let value = utf8_percent_encode(value, VALUE).to_string();
        line(&mut head, &format!("{SENT}{name}"), &value);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A request that means nothing.
pub(super) fn probe(token: &Secret) -> Vec<u8> {
    let token = token.expose();
    format!("GET / HTTP/1.1\r\n{TOKEN}: {token}\r\n{PROBE}: 1\r\n\r\n").into_bytes()
}

/// The request of which tiny_http has read what `head` wrote. `None`: it is something else.
pub(super) fn restore(
    method: &str,
    url: &str,
    headers: &Headers,
    body: Vec<u8>,
) -> Option<Request> {
    let original = request::method(headers.get(METHOD)?.as_bytes())?;
    if original != method && (original, method) != ("HEAD", "GET") {
        return None;
    }
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (url, None),
    };
    let mut sent = Headers::default();
    for (name, value) in headers.iter() {
        if let Some(name) = name.strip_prefix(SENT) {
            sent.push(name, &decoded(value)?);
        }
    }
    Some(Request {
        method: original,
        path: decoded(path)?,
        query,
        headers: sent,
        body: UnverifiedBody::new(body),
        peer: headers.get(PEER)?.parse().ok()?,
    })
}

/// A reply's headers as they are given to tiny_http, which would understand some of them otherwise.
pub(super) fn reply_headers(reply: &Reply, number: Option<u64>) -> Vec<(String, String)> {
    let sent = reply.headers.iter().map(|(name, value)| {
        let value = utf8_percent_encode(value, VALUE).to_string();
        (format!("{SENT}{name}"), value)
    });
    let number = number.map(|number| (WAIT.to_owned(), number.to_string()));
    sent.chain(number).collect()
}

/// The reply, and the number of what may be waited for.
pub(super) fn read_reply(from: &mut impl BufRead) -> io::Result<(Reply, Option<u64>)> {
    let odd = || io::Error::new(ErrorKind::InvalidData, "the reply is not understood");
    let first = read_line(from)?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let mut reply = Reply {
        status: status.ok_or_else(odd)?,
        headers: Vec::new(),
        body: Vec::new(),
    };
    let (mut number, mut length) = (None, 0);
    loop {
        let text = read_line(from)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(": ").ok_or_else(odd)?;
        if let Some(name) = name.strip_prefix(SENT) {
            reply = reply.with(name.to_owned(), decoded(value).ok_or_else(odd)?);
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(|_| odd())?;
        } else if name == WAIT {
            number = value.parse().ok();
        }
    }
    let read = from.take(length).read_to_end(&mut reply.body)?;
    if u64::try_from(read).is_ok_and(|read| read == length) {
        Ok((reply, number))
    } else {
        Err(ErrorKind::UnexpectedEof.into())
    }
}

fn line(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    head.push_str(value);
    head.push_str("\r\n");
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(|text| text.into_owned())
}

/// Without its end.
fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    let most = u64::try_from(limits::HEAD).unwrap_or(u64::MAX);
    from.take(most).read_line(&mut text)?;
    match text.strip_suffix("\r\n") {
        Some(text) => Ok(text.to_owned()),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}
