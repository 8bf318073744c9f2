//! Exchanges with correct servers, broken ones and impostors.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use super::scripted::{Script, ScriptStep, answer, json};
use super::*;
use crate::tls::{Identity, TlsFront};

const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn fetch(trust: Trust) -> Fetch {
    Fetch::new(&trust).unwrap()
}

fn roots(pem: &str) -> Trust {
    Trust::Roots {
        file: PathBuf::from("/etc/ca.pem"),
        pem: pem.to_owned(),
    }
}

fn greeting() -> Vec<ScriptStep> {
    vec![json(200, "\"hello\"")]
}

/// The result of a GET over TLS, and the number of requests that arrived.
fn over_tls(
    identity: Identity,
    versions: &[&'static rustls::SupportedProtocolVersion],
    host: &str,
    trust: Trust,
) -> (Result<FetchedAnswer, FetchError>, usize) {
    let script = Script::start(greeting());
    let front = TlsFront::with(script.address(), identity, versions);
    let url = format!("https://{host}:{}/x", front.addr.port());
    let result = fetch(trust).exchange(&OutgoingRequest::new(Method::Get, &url));
    (result, script.requests().len())
}

#[track_caller]
fn trusted(result: (Result<FetchedAnswer, FetchError>, usize)) {
    assert_eq!(result.0.unwrap().body, b"\"hello\"");
    assert_eq!(result.1, 1);
}

#[track_caller]
fn not_trusted(result: (Result<FetchedAnswer, FetchError>, usize), words: &[&str]) {
    let Err(FetchError::Untrusted(why)) = result.0 else {
        panic!("{:?}", result.0);
    };
    for word in words {
        assert!(why.contains(word), "{word:?} is missing in {why:?}");
    }
    assert_eq!(result.1, 0, "something was sent");
}

fn colons(sha256: &[u8; 32]) -> String {
    sha256.map(|byte| format!("{byte:02X}")).join(":")
}

#[test]
fn a_pinned_certificate_is_trusted_whatever_its_names_are() {
    for versions in [TLS12, TLS13] {
        let identity = Identity::like_portainers();
        let pin = Trust::Certificate(identity.sha256);
        trusted(over_tls(identity, versions, "127.0.0.1", pin));
    }
}

#[test]
fn the_pinned_certificate_with_another_key_is_refused_before_anything_is_sent() {
    for versions in [TLS12, TLS13] {
        let identity = Identity::like_portainers();
        let pin = Trust::Certificate(identity.sha256);
        let impostor = identity.with_another_key();
        not_trusted(
            over_tls(impostor, versions, "127.0.0.1", pin),
            &["certificate not trusted"],
        );
    }
}

#[test]
fn a_certificate_that_is_not_pinned_is_refused_and_shown() {
    let identity = Identity::like_portainers();
    let seen = colons(&identity.sha256);
    let pin = Trust::Certificate([7; 32]);
    not_trusted(
        over_tls(identity, TLS13, "127.0.0.1", pin),
        &["not trusted", "not the pinned one", &seen],
    );
}

#[test]
fn every_byte_of_the_pin_counts() {
    let identity = Identity::like_portainers();
    for byte in [0, 15, 16, 31] {
        let mut pin = identity.sha256;
        pin[byte] ^= 1;
        let result = over_tls(
            identity.clone(),
            TLS13,
            "127.0.0.1",
            Trust::Certificate(pin),
        );
        not_trusted(result, &["not the pinned one"]);
    }
}

#[test]
fn an_unknown_certificate_is_refused_with_the_setting_that_pins_it() {
    let identity = Identity::like_portainers();
    let seen = colons(&identity.sha256);
    let line = format!(
        "it is sha256 {seen}; if that is your Portainer, set PORTAINER_CERTIFICATE_SHA256={seen}"
    );
    not_trusted(
        over_tls(identity, TLS13, "localhost", Trust::PublicRoots),
        &["certificate not trusted (", &line],
    );
}

#[test]
fn a_certificate_of_the_file_s_ca_is_trusted_by_its_name_only() {
    let (identity, ca) = Identity::signed_by_a_ca();
    trusted(over_tls(identity.clone(), TLS13, "localhost", roots(&ca)));
    not_trusted(
        over_tls(identity, TLS13, "127.0.0.1", roots(&ca)),
        &["127.0.0.1"],
    );
    let (stranger, _) = Identity::signed_by_a_ca();
    not_trusted(
        over_tls(stranger, TLS13, "localhost", roots(&ca)),
        &["not trusted"],
    );
}

#[test]
fn portainer_s_own_certificate_may_be_the_file_where_its_name_fits() {
    let identity = Identity::like_portainers();
    let own = roots(&identity.pem);
    trusted(over_tls(identity, TLS13, "localhost", own));
}

#[test]
fn insecure_trusts_every_certificate() {
    let identity = Identity::like_portainers();
    trusted(over_tls(identity, TLS13, "127.0.0.1", Trust::Insecure));
}

#[test]
fn a_file_without_a_usable_certificate_is_refused() {
    let block = |label: &str, inside: &str| {
        format!("-----BEGIN {label}-----\n{inside}\n-----END {label}-----\n")
    };
    let check = |pem: &str, words: &str| {
        let why = Fetch::new(&roots(pem)).unwrap_err();
        assert!(why.starts_with("cannot use \"/etc/ca.pem\": "), "{why}");
        assert!(why.contains(words), "{why}");
    };
    check("", "it contains no certificate");
    check(&block("PRIVATE KEY", "AAAA"), "it contains no certificate");
    check(&block("CERTIFICATE", "AAAA"), "cannot be read");
    check(&block("CERTIFICATE", "!"), "not PEM");
}

#[test]
fn plain_http_to_a_tls_port_is_recognised() {
    let script = Script::start(greeting());
    let front = TlsFront::start(script.address());
    let url = format!("http://{}/x", front.addr);
    let result = fetch(Trust::PublicRoots).exchange(&OutgoingRequest::new(Method::Get, &url));
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("begins with https://")
    );
}

/// The result of a GET over TLS from a server that handles the handshake like this.
fn fetch_from_plain_port(handle: fn(&mut TcpStream)) -> Result<FetchedAnswer, FetchError> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/x", listener.local_addr().unwrap());
    thread::spawn(move || handle(&mut listener.accept().unwrap().0));
    fetch(Trust::PublicRoots).exchange(&OutgoingRequest::new(Method::Get, &url))
}

#[test]
fn tls_to_a_plain_port_is_recognised() {
    let result = fetch_from_plain_port(|stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let Err(FetchError::Untrusted(why)) = result else {
        panic!("{result:?}");
    };
    assert!(why.contains("begins with http://"), "{why}");
}

#[test]
fn a_plain_port_that_closes_the_connection_is_recognised() {
    let read_and_leave = |stream: &mut TcpStream| {
        let _ = stream.read(&mut [0; 4096]);
    };
    // Unread data resets the connection.
    for handle in [read_and_leave, |_: &mut TcpStream| {}] {
        let result = fetch_from_plain_port(handle);
        let Err(FetchError::NotSent(why)) = result else {
            panic!("{result:?}");
        };
        assert!(why.contains("closed at once; if this port"), "{why}");
        assert!(why.contains("begins with http://"), "{why}");
    }
}

/// The result of a GET, with short limits where an answer never comes or never ends.
fn fetch_from(step: ScriptStep) -> Result<FetchedAnswer, FetchError> {
    let patience = match step {
        ScriptStep::Send(_) => Duration::from_secs(20),
        ScriptStep::SendAndStay(_) | ScriptStep::Silent => Duration::from_millis(300),
    };
    let script = Script::start(vec![step]);
    let url = script.url();
    let mut request = OutgoingRequest::new(Method::Get, &url);
    request.answer_within = patience;
    request.body_within = patience;
    request.body_max = 20;
    fetch(Trust::PublicRoots).exchange(&request)
}

fn say(text: &str) -> ScriptStep {
    ScriptStep::Send(text.as_bytes().to_vec())
}

#[track_caller]
fn maybe_sent(step: ScriptStep, words: &str) {
    let result = fetch_from(step);
    let Err(FetchError::MaybeSent(why) | FetchError::TimedOut(why)) = &result else {
        panic!("{result:?}");
    };
    assert!(why.contains(words), "{why}");
}

#[track_caller]
fn garbled(step: ScriptStep, words: &str) {
    let result = fetch_from(step);
    let Err(FetchError::Garbled(why)) = &result else {
        panic!("{result:?}");
    };
    assert!(why.contains(words), "{why}");
}

#[test]
fn an_incomplete_answer_means_that_the_request_may_have_arrived() {
    maybe_sent(ScriptStep::Silent, "no answer within 0.3 s");
    maybe_sent(say(""), "closed");
    maybe_sent(say("HTTP/1.1 200 OK\r\nContent-Le"), "closed");
    maybe_sent(
        say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
        "closed",
    );
    maybe_sent(
        say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        "closed",
    );
    // On a busy machine even the beginning may arrive too late.
    let stays =
        ScriptStep::SendAndStay(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec());
    maybe_sent(stays, " within 0.3 s");
}

#[test]
fn an_answer_that_is_too_large_or_not_http_is_refused() {
    let large = "x".repeat(21);
    garbled(json(200, &large), "larger than 20 bytes");
    garbled(
        say(&format!("HTTP/1.1 200 OK\r\n\r\n{large}")),
        "larger than 20 bytes",
    );
    garbled(
        say(&format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
            "x".repeat(20_000)
        )),
        "headers",
    );
    garbled(say("SSH-2.0-OpenSSH_9.6\r\n\r\n"), "not HTTP");
}

#[test]
fn whole_answers_are_read_in_every_framing() {
    let check = |step, body: &str| assert_eq!(fetch_from(step).unwrap().body, body.as_bytes());
    check(json(200, "twenty bytes exactly"), "twenty bytes exactly");
    check(
        say(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        ),
        "hello!",
    );
    check(say("HTTP/1.0 400 Bad\r\n\r\nto the end"), "to the end");
    check(say("HTTP/1.1 204 None\r\n\r\n"), "");
}

#[test]
fn a_refused_connection_means_that_nothing_was_sent() {
    // An address of its own, so that no other test listens there meanwhile.
    let address = TcpListener::bind("127.98.76.54:0").unwrap().local_addr();
    let url = format!("http://{}/", address.unwrap());
    let result = fetch(Trust::PublicRoots).exchange(&OutgoingRequest::new(Method::Get, &url));
    let Err(error @ FetchError::NotSent(_)) = result else {
        panic!("{result:?}");
    };
    assert!(error.nothing_was_sent());
    assert_eq!(error.to_string(), "connection refused");
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Script::start(greeting());
    let target = format!("{}/secret", elsewhere.url());
    for (method, status) in [(Method::Get, 302), (Method::Put, 307), (Method::Post, 303)] {
        let script = Script::start(vec![answer(status, &[("Location", &target)], "")]);
        let url = script.url();
        let mut request = OutgoingRequest::new(method, &url);
        request.set_header("X-API-Key", "secret");
        let result = fetch(Trust::PublicRoots).exchange(&request).unwrap();
        assert_eq!(result.head.status, status);
        assert_eq!(result.head.location.as_deref(), Some(&*target));
    }
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
}

#[test]
fn a_body_arrives_whole_with_its_type_and_length() {
    let script = Script::start(greeting());
    let url = format!("{}/a?b=c", script.url());
    let body = "0123456789".repeat(5_000);
    let mut request = OutgoingRequest::new(Method::Put, &url);
    request.set_header("X-Registry-Auth", "e30=");
    request.body = Some(("application/json", body.clone().into_bytes()));
    fetch(Trust::PublicRoots).exchange(&request).unwrap();
    let asked = script.requests();
    let (head, sent) = asked[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(sent, body);
    assert!(head.starts_with("PUT /a?b=c HTTP/1.1\r\n"), "{head}");
    for line in [
        "content-type: application/json",
        "content-length: 50000",
        "x-registry-auth: e30=",
    ] {
        assert!(
            head.to_lowercase().contains(line),
            "{line:?} is missing in {head}"
        );
    }
}

#[test]
fn reads_lines_and_refuses_long_ones() {
    let script = Script::start(vec![json(200, "one\r\ntwo\n\nlast")]);
    let url = script.url();
    let mut stream = fetch(Trust::PublicRoots)
        .stream(&OutgoingRequest::new(Method::Get, &url))
        .unwrap();
    let mut lines = Vec::new();
    while let Some(line) = stream.line(5).unwrap() {
        lines.push(String::from_utf8(line).unwrap());
    }
    assert_eq!(lines, ["one", "two", "", "last"]);

    let script = Script::start(vec![json(200, "a long line\n")]);
    let url = script.url();
    let mut stream = fetch(Trust::PublicRoots)
        .stream(&OutgoingRequest::new(Method::Get, &url))
        .unwrap();
    assert!(matches!(stream.line(5), Err(FetchError::Garbled(_))));
}

#[test]
fn no_proxy_of_the_environment_is_used() {
    // The variables are read when the agent is made, and a process may not change its own: so this test runs itself again with them set.
    if std::env::var_os("ALL_PROXY").is_some_and(|value| value == "http://127.0.0.1:9") {
        let fetch = fetch(Trust::PublicRoots);
        assert!(
            ureq::Agent::new_with_defaults().config().proxy().is_some(),
            "the variables have no effect at all"
        );
        assert!(fetch.agent.config().proxy().is_none());
        let script = Script::start(greeting());
        fetch
            .exchange(&OutgoingRequest::new(Method::Get, script.url()))
            .unwrap();
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([
        "--exact",
        "fetch::tests::no_proxy_of_the_environment_is_used",
    ]);
    for name in [
        "ALL_PROXY",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
    ] {
        again.env(name, "http://127.0.0.1:9");
    }
    let output = again
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
fn every_wait_is_bounded_and_buffers_are_small() {
    let fetch = fetch(Trust::PublicRoots);
    let config = fetch.agent.config();
    let waits = config.timeouts();
    assert_eq!(waits.resolve, Some(limits::CONNECT));
    assert_eq!(waits.connect, Some(limits::CONNECT));
    assert_eq!(waits.send_request, Some(limits::SEND));
    assert_eq!(waits.send_body, Some(limits::SEND));
    assert_eq!(waits.recv_response, Some(limits::ANSWER));
    assert_eq!(waits.recv_body, Some(limits::ANSWER_BODY));
    assert_eq!(config.input_buffer_size(), limits::HTTP_BUFFER);
    assert_eq!(config.output_buffer_size(), limits::HTTP_BUFFER);
    assert_eq!(config.max_idle_connections(), 0);
}

/// An answer of one megabyte, sent whole or without its end.
fn large(is_whole: bool) -> ScriptStep {
    let body = "x".repeat(1024 * 1024);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    match is_whole {
        true => ScriptStep::Send(answer.into_bytes()),
        false => ScriptStep::SendAndStay(answer.as_bytes()[..900_000].to_vec()),
    }
}

#[test]
fn one_large_answer_is_in_memory_at_a_time_and_the_wait_for_it_is_bounded() {
    let get = |steps: Vec<ScriptStep>, within: Duration| {
        let script = Script::start(steps);
        let mut request = OutgoingRequest::new(Method::Get, script.url());
        request.body_within = within;
        fetch(Trust::PublicRoots).exchange(&request)
    };
    let (long, short) = (Duration::from_secs(20), Duration::from_millis(300));
    // While the first one is not dropped, a small answer arrives, and a large one gives up.
    let first = get(vec![large(true)], long).unwrap();
    assert_eq!(get(vec![json(200, "[]")], long).unwrap().body, b"[]");
    let Err(FetchError::MaybeSent(why)) = get(vec![large(true)], short) else {
        panic!("two large answers at once");
    };
    assert_eq!(why, "other large answers were not processed within 0.3 s");
    // A large one that waits is read as soon as the first one is dropped.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| get(vec![large(true)], long).map(|answer| answer.body.len()));
        thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.join().unwrap().unwrap(), 1024 * 1024);
    });
    // One that breaks off does not keep the permit.
    get(vec![large(false)], short).unwrap_err();
    get(vec![large(true)], long).unwrap();
}
