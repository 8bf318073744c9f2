//! Request smuggling: a request inside the body of another one is never handled, however a proxy would read it.

use crate::support::client;
use crate::support::fake::Era;
use crate::support::shop::{SECRET, Shop};
use crate::support::sign;

/// A delivery that would update the stack.
fn inner(shop: &Shop) -> Vec<u8> {
    let body = br#"{"stack":"shop"}"#;
    let signature = sign::hex_hmac(SECRET, body);
    let headers = [("X-Portainer-Signature", signature.as_str())];
    client::request(
        shop.server.address,
        "POST",
        "/webhook/update/",
        &headers,
        body,
    )
}

/// Each is sent with the inner request behind it, once with a length that includes it and once without.
const AMBIGUOUS: &[&str] = &[
    "Content-Length: -5",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 0x5",
    "Content-Length: 5 ",
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 0\r\nContent-Length: ALL",
    "Content-Length: ALL\r\nContent-Length: 0",
    "Content-Length: ALL\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: ALL",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: xchunked\r\nContent-Length: ALL",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding : chunked\r\nContent-Length: ALL",
    " Transfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\r\n\tContent-Length: 0",
    "X: y\rContent-Length: 0",
    "X: y\nContent-Length: 0",
    "X: y\nTransfer-Encoding: chunked\r\nContent-Length: ALL",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity\r\nContent-Length: ALL",
    "Transfer-Encoding: \"chunked\"",
    "Transfer\0Encoding: chunked",
    "Content-Length: 0\0",
    "Content-Length : 0",
    "Host: b",
    "Expect: 100-continue\r\nContent-Length: ALL\r\nContent-Length: 0",
    "",
    "Content-Length: 0",
    "Content-Length: ALL",
    "Connection: keep-alive, Content-Length\r\nContent-Length: ALL",
    "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0",
    "Content_Length: ALL",
];

#[test]
fn nothing_is_smuggled_behind_an_ambiguous_length() {
    let shop = Shop::open(Era::A);
    let inner = inner(&shop);
    for lines in AMBIGUOUS {
        for start in [
            "GET /healthz HTTP/1.1",
            "POST /webhook/update/ HTTP/1.1",
            "POST /webhook/update/ HTTP/1.0",
        ] {
            for between in ["", "0\r\n\r\n", "\r\n"] {
                let behind = [between.as_bytes(), &inner].concat();
                let lines = lines.replace("ALL", &behind.len().to_string());
                let end = if lines.is_empty() { "" } else { "\r\n" };
                let outer = format!("{start}\r\nHost: a\r\n{lines}{end}\r\n");
                let reply = shop.server.raw(&[outer.as_bytes(), &behind].concat());
                let reply = String::from_utf8(reply).unwrap();
                assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{outer:?}: {reply}");
                assert!(!reply.contains("Stack update"), "{outer:?}: {reply}");
            }
        }
    }
    for chunk in [
        "0\n\n",
        "0\r\n\n",
        "0 x\r\n\r\n",
        "-0\r\n\r\n",
        "0x0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "0;\n\r\n\r\n",
        "1\r\nxx\r\n0\r\n\r\n",
        "0\r\nContent-Length: 9\r\n\r\n",
    ] {
        let outer = format!(
            "POST /webhook/update/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
        );
        let reply = shop.server.raw(&[outer.as_bytes(), &inner].concat());
        assert_eq!(
            String::from_utf8_lossy(&reply).matches("HTTP/1.1 ").count(),
            1,
            "{chunk:?}"
        );
    }
    assert_eq!(shop.fake.calls().len(), 0, "an inner request was handled");
    shop.is_untouched();
    // The inner request itself is valid.
    assert_eq!(shop.deliver("{}").status, 200);
    assert!(!shop.fake.calls().is_empty());
}

/// An ambiguous request is refused even if each reading finds a complete body.
#[test]
fn an_ambiguous_length_is_refused() {
    let server = super::setup().serve();
    let clear = [
        "",
        "Content-Length: 0",
        "Content-Length: 5 ",
        "Content_Length: ALL",
    ];
    for lines in AMBIGUOUS {
        if clear.contains(lines)
            || lines.starts_with("Connection")
            || *lines == "Content-Length: ALL"
        {
            continue;
        }
        let lines = lines.replace("ALL", "5");
        let request =
            format!("POST /webhook/update/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n");
        let reply = server.raw(request.as_bytes());
        assert!(
            reply.starts_with(b"HTTP/1.1 400 "),
            "{lines:?}: {}",
            String::from_utf8_lossy(&reply)
        );
    }
}
