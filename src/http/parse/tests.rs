//! Heads that have one reading, and those that have more.

mod anything;

use super::*;

/// Reads a head as a connection does, byte by byte.
fn read(text: &[u8]) -> Result<Head, BadHead> {
    let mut scan = Scanner::default();
    for end in 1..=text.len() {
        match scan.find_end(&text[..end]) {
            Ok(None) => {}
            Ok(Some(end)) => return parse_head(&text[..end]),
            Err(why) => return Err(BadHead { path: None, why }),
        }
    }
    panic!("the head never ends: {:?}", String::from_utf8_lossy(text));
}

/// Checks the refusal of a head with a host and these lines.
#[track_caller]
fn refused(lines: &str, why: Refusal) {
    let text = format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let bad = read(text.as_bytes()).expect_err(&text);
    assert_eq!(bad.why, why, "{text:?}");
}

#[track_caller]
fn line_refused(line: &str, why: Refusal) {
    let text = format!("{line}\r\nHost: a\r\n\r\n");
    assert_eq!(
        read(text.as_bytes()),
        Err(BadHead { path: None, why }),
        "{line:?}"
    );
}

#[track_caller]
fn framed(lines: &str, framing: Framing) {
    let text = format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    assert_eq!(read(text.as_bytes()).unwrap().framing, framing, "{lines}");
}

#[test]
fn an_ordinary_head_is_understood() {
    let head = read(
        b"POST /webhook/update/b%C3%BC%20x/?token=a%2Fb&c HTTP/1.1\r\nHost: hooks.example.org:8080\r\nX-Empty:\r\n\
          x-Padded: \t a b \t\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\r\n",
    )
    .unwrap();
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.path, "/webhook/update/bü x/");
    assert_eq!(head.query.as_deref(), Some("token=a%2Fb&c"));
    assert_eq!(head.headers.get("x-padded"), Some("a b"));
    assert_eq!(head.headers.get("x-empty"), Some(""));
    assert_eq!(head.framing, Framing::Length(12));
    assert!(head.expects_continue);
}

#[test]
fn a_length_is_one_number_of_digits() {
    framed("", Framing::Length(0));
    framed("Content-Length: 0\r\n", Framing::Length(0));
    framed("content-length: 0012\r\n", Framing::Length(12));
    framed(
        "Content-Length: 100000000000\r\n",
        Framing::Length(100_000_000_000),
    );
    framed(
        "Content-Length: 99999999999999999999999\r\n",
        Framing::Length(usize::MAX),
    );
    for value in [
        "", "-5", "+5", "5, 5", "5,5", "0x5", "5 5", "5.0", "5e1", "five", "٥",
    ] {
        refused(&format!("Content-Length: {value}\r\n"), Refusal::Malformed);
    }
    refused(
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        Refusal::Malformed,
    );
    refused(
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        Refusal::Malformed,
    );
}

#[test]
fn chunked_stands_alone() {
    framed("Transfer-Encoding: chunked\r\n", Framing::Chunked);
    framed("transfer-encoding: CHUNKED\r\n", Framing::Chunked);
    for value in [
        "xchunked",
        "chunked, chunked",
        "gzip, chunked",
        "chunked;q=1",
        "identity",
        "",
        "\"chunked\"",
        "chunke\u{212a}",
    ] {
        refused(
            &format!("Transfer-Encoding: {value}\r\n"),
            Refusal::Malformed,
        );
    }
    refused(
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        Refusal::Malformed,
    );
    refused(
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        Refusal::Malformed,
    );
    refused(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        Refusal::Malformed,
    );
    refused(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        Refusal::Malformed,
    );
    refused("Transfer-Encoding : chunked\r\n", Refusal::Malformed);
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(read(old).unwrap_err().why, Refusal::Malformed);
}

#[test]
fn header_lines_have_one_reading() {
    for line in [
        "X : a\r\n",
        " X: a\r\n",
        ": a\r\n",
        "X\r\n",
        "X y: a\r\n",
        "X\t: a\r\n",
        "X(: a\r\n",
        "Ü: a\r\n",
        "X: a\r\n folded\r\n",
        "X: a\r\n\tfolded\r\n",
        "X: a\rb\r\n",
        "X: a\nY: b\r\n",
        "X: a\0b\r\n",
        "X: a\u{1b}[31m\r\n",
        "X: a\u{7f}\r\n",
    ] {
        refused(line, Refusal::Malformed);
    }
    let latin = b"GET / HTTP/1.1\r\nHost: a\r\nX: M\xfcnchen\r\n\r\n";
    assert_eq!(
        read(latin).unwrap().headers.get("x"),
        Some("M\u{fffd}nchen")
    );
}

#[test]
fn there_is_exactly_one_host() {
    for host in [
        "a",
        "hooks.example.org",
        "127.0.0.1:8080",
        "[::1]:80",
        "[::1]",
        "a:",
        "xn--bcher-kva.example",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(read(text.as_bytes()).is_ok(), "{host}");
    }
    for lines in [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: u@a\r\n",
        "Host: a:b\r\n",
        "Host: a:123456\r\n",
        "Host: a:1:2\r\n",
        "Host: [::1\r\n",
        "Host: [x]\r\n",
        "Host: [::1]80\r\n",
        "Host: :80\r\n",
        "Host: a, b\r\n",
    ] {
        let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let refused = read(text.as_bytes()).map_err(|bad| bad.why);
        // A comma may stand in a name, a blank may not.
        assert_eq!(refused, Err(Refusal::Malformed), "{lines:?}");
    }
    assert!(read(b"GET / HTTP/1.0\r\nX: y\r\n\r\n").is_ok());
    assert!(read(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").is_err());
}

#[test]
fn an_absolute_target_names_the_host() {
    let head = read(b"GET HTTP://A.example:80/x?y HTTP/1.1\r\nHost: a.EXAMPLE:80\r\n\r\n").unwrap();
    assert_eq!(
        (head.path.as_str(), head.query.as_deref()),
        ("/x", Some("y"))
    );
    let head = read(b"GET https://a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(head.path, "/");
    for line in [
        "GET http://b/ HTTP/1.1",
        "GET http://a:80/ HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://a?x HTTP/1.1",
        "GET a HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET //b/x\\ HTTP/1.1",
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(
            read(text.as_bytes()).unwrap_err().why,
            Refusal::Malformed,
            "{line}"
        );
    }
}

#[test]
fn paths_have_one_reading() {
    for (target, path) in [
        ("/", "/"),
        ("/%41", "/A"),
        ("/a%25b", "/a%b"),
        ("/.a/..b", "/.a/..b"),
        ("//", "//"),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(read(text.as_bytes()).unwrap().path, path);
    }
    for target in [
        "/a%2fb",
        "/a%2Fb",
        "/./a",
        "/../a",
        "/a/..",
        "/a/.",
        "/%2e%2e/a",
        "/.%2E",
        "/a%00",
        "/a%0d%0aX:%20y",
        "/a%7f",
        "/%",
        "/%4",
        "/%zz",
        "/%ff",
        "/%c3",
        "/a\\b",
        "/a%5cb",
        "/a#b",
        "/%c2%85",
    ] {
        line_refused(&format!("GET {target} HTTP/1.1"), Refusal::Malformed);
    }
}

#[test]
fn distinguishes_methods_and_versions() {
    line_refused("BREW / HTTP/1.1", Refusal::Method);
    line_refused("get / HTTP/1.1", Refusal::Method);
    line_refused("CONNECT a:1 HTTP/1.1", Refusal::Method);
    line_refused("GET / HTTP/2.0", Refusal::Version);
    line_refused("GET / HTTP/0.9", Refusal::Version);
    line_refused("GET / HTTP/1.2", Refusal::Version);
    line_refused("GET / http/1.1", Refusal::Malformed);
    line_refused("GET /", Refusal::Malformed);
    line_refused("GET  / HTTP/1.1", Refusal::Malformed);
    line_refused("GET / HTTP/1.1 ", Refusal::Malformed);
    line_refused("GET / x HTTP/1.1", Refusal::Malformed);
    line_refused("GET\t/\tHTTP/1.1", Refusal::Malformed);
    line_refused("G(T / HTTP/1.1", Refusal::Malformed);
    line_refused("GET /ü HTTP/1.1", Refusal::Malformed);
    line_refused("\r\nGET / HTTP/1.1", Refusal::Malformed);
    line_refused("PRI * HTTP/2.0", Refusal::Version);
}

#[test]
fn expectations_are_met_or_refused() {
    refused("Expect: 200-ok\r\n", Refusal::Expectation);
    refused(
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        Refusal::Expectation,
    );
    let old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert!(!read(old).unwrap().expects_continue);
}

#[test]
fn a_head_ends_within_its_limits() {
    let line = "x".repeat(REQUEST_LINE_MAX);
    line_refused(&format!("GET /{line} HTTP/1.1"), Refusal::UriTooLong);
    let lines = |count: usize| "X: y\r\n".repeat(count);
    framed(&lines(HEADERS_MAX - 1), Framing::Length(0));
    refused(&lines(HEADERS_MAX), Refusal::HeadTooLarge);
    refused(
        &format!("X: {}\r\n", "y".repeat(HEAD_MAX)),
        Refusal::HeadTooLarge,
    );
    // Lines without end are refused as soon as there are too many.
    let endless = format!("GET / HTTP/1.1\r\n{}", lines(HEADERS_MAX + 1));
    let end = Scanner::default().find_end(endless.as_bytes());
    assert_eq!(end, Err(Refusal::HeadTooLarge));
    let most = HEAD_MAX - "POST /x HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    framed(&format!("X: {}\r\n", "y".repeat(most)), Framing::Length(0));
    refused(
        &format!("X: {}\r\n", "y".repeat(most + 1)),
        Refusal::HeadTooLarge,
    );
}

#[test]
fn what_can_be_no_head_is_refused_at_its_first_byte() {
    for (start, why) in [
        (&b"\x16\x03\x01"[..], Refusal::Tls),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Refusal::ProxyProtocol),
        (
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
            Refusal::ProxyProtocol,
        ),
        (b"\n", Refusal::Malformed),
        (b"\r\r", Refusal::Malformed),
        (b"\r\n", Refusal::Malformed),
        (b"GET / HTTP/1.1\n", Refusal::Malformed),
        (b"G\x16", Refusal::Malformed),
        (b"\0", Refusal::Malformed),
    ] {
        let mut scan = Scanner::default();
        assert_eq!(scan.find_end(start), Err(why), "{start:?}");
    }
}
