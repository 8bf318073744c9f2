//! Texts that are understood and texts that are not, a table for each kind.

use super::*;

#[track_caller]
fn check<T: PartialEq + std::fmt::Debug>(
    parse: impl Fn(&str) -> Result<T, String>,
    good: &[(&str, T)],
    bad: &[&str],
) {
    for (text, value) in good {
        assert_eq!(parse(text).as_ref(), Ok(value), "{text:?}");
    }
    for text in bad {
        let error = parse(text).expect_err(text);
        // No text is repeated, unless by chance as part of a longer example.
        assert!(text.len() < 6 || !error.contains(text), "{text:?}: {error}");
    }
}

#[test]
fn sizes() {
    check(
        size,
        &[
            ("1MiB", 1 << 20),
            ("512KiB", 512 << 10),
            ("7", 7),
            ("7B", 7),
            ("0", 0),
        ],
        &[
            "",
            "MiB",
            "1 MiB",
            "1mib",
            "1MB",
            "1.5MiB",
            "-1",
            "+1",
            "99999999999999999999",
            "17592186044416MiB",
        ],
    );
}

#[test]
fn durations() {
    let seconds = Duration::from_secs;
    check(
        duration,
        &[
            ("0s", seconds(0)),
            ("30s", seconds(30)),
            ("10m", seconds(600)),
            ("1h", seconds(3600)),
            ("1h1m30s", seconds(3690)),
            ("90m", seconds(5400)),
        ],
        &[
            "",
            "30",
            "s",
            "1m 30s",
            "30s1m",
            "1m1m",
            "1d",
            "-1s",
            "1.5s",
            "1ms",
            "99999999999999999999s",
            "18446744073709551615h",
            "1ö",
        ],
    );
}

#[test]
fn urls_of_portainer() {
    let url = |text: &str| text.to_owned();
    check(
        portainer_url,
        &[
            ("http://portainer:9000", url("http://portainer:9000")),
            (
                "HTTPS://Portainer.example.com/",
                url("https://Portainer.example.com"),
            ),
            (
                "https://host/path/portainer/api/",
                url("https://host/path/portainer"),
            ),
            ("https://host/api", url("https://host")),
            ("https://host/api//", url("https://host")),
            (
                "https://[2001:db8::1]:9443",
                url("https://[2001:db8::1]:9443"),
            ),
            ("http://my_service:80/", url("http://my_service:80")),
        ],
        &[
            "",
            "portainer:9000",
            "portainer",
            "ftp://host",
            "http://",
            "http:///x",
            "https://host:",
            "https://host:0",
            "https://host:65536",
            "http://h:99999/",
            "https://host:+80",
            "https://me@host",
            "https://me:password@host/",
            "https://host?x",
            "https://host/#!/auth",
            "https://host/a b",
            "https://höst",
            "https://ho st",
            "https://[::1",
            "https://[::g]",
            "https://::1",
            "https://a..b",
            "https://.a",
            "https://host\\x",
            "https://host\n",
            "https://host/<x>",
            "http://host:9000:1",
        ],
    );
}

#[test]
fn fingerprints() {
    let hex = "0123456789abcdef".repeat(4);
    let colons: Vec<String> = hex
        .to_uppercase()
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    let bytes = crate::secret::from_hex(&hex).unwrap();
    check(
        fingerprint,
        &[(&hex, bytes), (&colons.join(":"), bytes)],
        &[
            "",
            &hex[1..],
            &format!("{hex}00"),
            &colons[1..].join(":"),
            &format!("{}:", colons.join(":")),
            &hex.replace('0', "g"),
            &format!("{}:{}", &hex[..32], &hex[32..]),
        ],
    );
}

#[test]
fn small_words() {
    let text = |text: &str| text.to_owned();
    check(
        pointer,
        &[("/", text("/")), ("/a~0b~1c/*/0", text("/a~0b~1c/*/0"))],
        &["a", "a/b", "/a~", "/a~2"],
    );
    check(
        header,
        &[("X-Gitlab-Token", text("x-gitlab-token"))],
        &["X Token", "X-Tökén", "Name:", "a\n"],
    );
    check(
        variable,
        &[("_A1", text("_A1")), ("IMAGE_TAG", text("IMAGE_TAG"))],
        &["1A", "A-B", "Ä", "A B", "A="],
    );
    check(
        flag,
        &[("true", true), ("1", true), ("false", false), ("0", false)],
        &["yes", "TRUE", ""],
    );
    check(word, &[("a b", text("a b"))], &[" a", "a ", "a\tb"]);
    check(
        |text| listen(text).map(|address| address.port()),
        &[("127.0.0.1:0", 0), ("[::]:8484", 8484)],
        &[
            "",
            ":8484",
            "8484",
            "localhost:8484",
            "host:1",
            "::1:80",
            "[::]",
            "1.2.3.4",
            "1.2.3.4:65536",
            ":",
        ],
    );
}
