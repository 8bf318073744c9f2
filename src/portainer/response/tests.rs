use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
const PLAIN: (&str, &str) = ("content-type", "text/plain");

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> FetchedAnswer {
    let header = |name: &str| {
        let found = headers.iter().find(|(one, _)| *one == name)?;
        Some(found.1.to_owned())
    };
    let head = ResponseHead {
        status,
        content_type: header("content-type"),
        location: header("location"),
        redirect_reason: header("redirect-reason"),
        ..ResponseHead::default()
    };
    FetchedAnswer::new(head, body.as_bytes().to_vec())
}

fn read_request() -> OutgoingRequest {
    OutgoingRequest::new(Method::Get, "https://portainer.example/api/stacks")
}

fn update_request() -> OutgoingRequest {
    OutgoingRequest::new(Method::Put, "https://portainer.example/api/stacks/3")
}

fn variant(error: &PortainerError) -> &'static str {
    match error {
        PortainerError::Busy(_) => "busy",
        PortainerError::Unreachable(_) => "unreachable",
        PortainerError::Untrusted(_) => "untrusted",
        PortainerError::Interrupted(_) => "interrupted",
        PortainerError::Login(_) => "login",
        PortainerError::Denied(_) => "denied",
        PortainerError::NotFound(_) => "not found",
        PortainerError::Conflict(_) => "conflict",
        PortainerError::Refused(_) => "refused",
        PortainerError::NotPortainer(_) => "not Portainer",
        PortainerError::Locked(_) => "locked",
        PortainerError::Unusable(_) => "unusable",
    }
}

/// Checks the errors that an answer yields for a read and for an update.
#[track_caller]
fn check(answer: &FetchedAnswer, question: &str, update: &str, words: &str) {
    let asked = classify("cannot ask", &read_request(), answer.clone()).unwrap_err();
    assert_eq!(variant(&asked), question, "{asked}");
    assert!(asked.to_string().contains(words), "{asked}");
    let updated = classify("cannot update", &update_request(), answer.clone()).unwrap_err();
    assert_eq!(variant(&updated), update, "{updated}");
}

#[test]
fn a_message_of_portainer_decides() {
    let error = |status| {
        answer(
            status,
            &[JSON],
            r#"{"message":"Some text","details":"More text"}"#,
        )
    };
    let words = "\"Some text\" (More text)";
    for (status, expected) in [
        (400, "refused"),
        (401, "denied"),
        (403, "denied"),
        (404, "not found"),
        (405, "refused"),
        (409, "conflict"),
        (500, "refused"),
        (502, "refused"),
        (503, "refused"),
    ] {
        check(&error(status), expected, expected, words);
    }
}

#[test]
fn an_update_without_a_message_of_portainer_is_interrupted() {
    let page = "<html>Bad gateway</html>";
    check(
        &answer(502, &[HTML], page),
        "unreachable",
        "interrupted",
        "a proxy answers 502",
    );
    check(&answer(503, &[], ""), "unreachable", "interrupted", "503");
    check(
        &answer(504, &[PLAIN], "timeout"),
        "unreachable",
        "interrupted",
        "504",
    );
    let gateway = r#"{"message":"The upstream server is timing out"}"#;
    check(
        &answer(504, &[JSON], gateway),
        "unreachable",
        "interrupted",
        "a proxy answers 504 \"The upstream server is timing out\"",
    );
    check(
        &answer(500, &[HTML], page),
        "not Portainer",
        "interrupted",
        "text/html",
    );
    check(
        &answer(404, &[HTML], page),
        "not Portainer",
        "interrupted",
        "text/html",
    );
    check(
        &answer(404, &[PLAIN], "404 page not found"),
        "not found",
        "interrupted",
        "404",
    );
    check(
        &answer(403, &[PLAIN], "Forbidden"),
        "denied",
        "interrupted",
        "something before Portainer",
    );
    for status in [401, 403, 407] {
        let words = "[portainer] headers";
        check(
            &answer(status, &[HTML], page),
            "denied",
            "interrupted",
            words,
        );
    }
    for status in [520, 522, 524, 527, 530] {
        let words = format!("a proxy answers {status}");
        check(
            &answer(status, &[HTML], page),
            "unreachable",
            "interrupted",
            &words,
        );
    }
    check(&answer(528, &[PLAIN], ""), "refused", "interrupted", "528");
    check(
        &answer(405, &[], ""),
        "refused",
        "interrupted",
        "405 with no content type",
    );
    check(
        &answer(500, &[JSON], r#"{"error":"x"}"#),
        "refused",
        "interrupted",
        "500",
    );
    check(&answer(500, &[JSON], "{"), "refused", "interrupted", "500");
}

#[test]
fn a_redirect_is_named_without_possible_secrets() {
    let to = |target: &str| answer(302, &[("location", target)], "");
    let words = "redirected (302) to \"https://sso.example/login\", where nothing was sent";
    check(
        &to("https://me:secret@sso.example/login?token=secret#x"),
        "not Portainer",
        "interrupted",
        words,
    );
    check(
        &to("/login?next=secret"),
        "not Portainer",
        "interrupted",
        "to \"/login\", where",
    );
    check(
        &answer(301, &[], ""),
        "not Portainer",
        "interrupted",
        "nowhere",
    );
}

#[test]
fn a_portainer_without_an_administrator_is_recognised() {
    let reason = ("redirect-reason", "AdminInitTimeout");
    let body = r#"{"message":"Administrator initialization timeout","details":"Administrator initialization timeout"}"#;
    check(
        &answer(303, &[JSON, reason], body),
        "locked",
        "locked",
        "waits for its first administrator",
    );
    check(
        &answer(303, &[reason], ""),
        "locked",
        "interrupted",
        "waits for its first administrator",
    );
}

#[test]
fn plain_http_to_a_tls_port_is_recognised() {
    for page in [
        "Client sent an HTTP request to an HTTPS server.\n",
        "<center>The plain HTTP request was sent to HTTPS port</center>",
    ] {
        check(
            &answer(400, &[HTML], page),
            "not Portainer",
            "interrupted",
            "begin the address with https://",
        );
    }
}

#[test]
fn a_success_must_be_json() {
    let json = classify("x", &update_request(), answer(200, &[JSON], "[1]")).unwrap();
    assert_eq!(parse::<Vec<u8>>("x", false, &json).unwrap(), [1]);
    let untyped = answer(200, &[], "[1]");
    assert_eq!(parse::<Vec<u8>>("x", false, &untyped).unwrap(), [1]);
    for broken in [
        answer(200, &[HTML], "[1]"),
        answer(200, &[JSON], "<html>"),
        answer(200, &[JSON], r#"["secret"]"#),
    ] {
        let asked = parse::<Vec<u8>>("cannot ask", true, &broken).unwrap_err();
        assert_eq!(variant(&asked), "not Portainer", "{asked}");
        let updated = parse::<Vec<u8>>("cannot update", false, &broken).unwrap_err();
        assert_eq!(variant(&updated), "interrupted", "{updated}");
        assert!(!format!("{asked} {updated:?}").contains("secret"));
    }
}

#[test]
fn a_missing_answer_is_classified_by_what_may_have_arrived() {
    use FetchError as Fetched;
    let why = || "why".to_owned();
    let check = |error: fn(String) -> Fetched, question: &str, update: &str| {
        assert_eq!(variant(&no_response("x", true, error(why()))), question);
        assert_eq!(variant(&no_response("x", false, error(why()))), update);
    };
    check(Fetched::NotSent, "unreachable", "unreachable");
    check(Fetched::Untrusted, "untrusted", "untrusted");
    check(Fetched::MaybeSent, "unreachable", "interrupted");
    check(Fetched::Garbled, "not Portainer", "interrupted");
}

#[test]
fn an_interrupted_update_may_have_been_sent() {
    let failed = |error| no_response("x", false, error);
    assert!(failed(FetchError::NotSent(String::new())).nothing_was_sent());
    assert!(!failed(FetchError::MaybeSent(String::new())).nothing_was_sent());
    assert!(!failed(FetchError::Garbled(String::new())).nothing_was_sent());
}

#[test]
fn a_message_is_shown_once_on_one_line_and_shortened() {
    let check = |body: &str, message: &str, details: &str| {
        let error = classify("x", &update_request(), answer(500, &[JSON], body)).unwrap_err();
        assert_eq!(error.portainer_says(), Some((message, details)));
    };
    check(
        r#"{"message":"failed to deploy","details":"Failed to deploy"}"#,
        "failed to deploy",
        "",
    );
    check(r#"{"message":"a\nb\u001b[31m"}"#, "a b [31m", "");
    check(r#"{"message":"a","details":null}"#, "a", "");
    let long = format!(r#"{{"message":"{}"}}"#, "é".repeat(limits::FOREIGN_TEXT));
    let error = classify("x", &update_request(), answer(500, &[JSON], &long)).unwrap_err();
    assert_eq!(
        error.portainer_says().unwrap().0.len(),
        limits::FOREIGN_TEXT
    );
}

#[test]
fn distinguishes_errors_of_the_engine_from_those_of_a_gateway() {
    let message = |status| {
        answer(
            status,
            &[JSON],
            r#"{"message":"This node is not a swarm manager"}"#,
        )
    };
    let docker = OutgoingRequest::new(
        Method::Get,
        "https://portainer.example/api/endpoints/1/docker/services",
    );
    let check = |request: &OutgoingRequest, status, expected: &str| {
        let error = classify("cannot list", request, message(status)).unwrap_err();
        assert_eq!(variant(&error), expected, "{status}: {error}");
        assert!(error.to_string().contains("not a swarm manager"), "{error}");
    };
    check(&docker, 500, "refused");
    check(&docker, 503, "refused");
    check(&docker, 502, "unreachable");
    check(&docker, 504, "unreachable");
    check(&read_request(), 503, "unreachable");
    check(&read_request(), 500, "refused");
}

#[test]
fn a_list_of_too_many_entries_is_refused() {
    let list = |entries: usize| {
        let body = format!("[{}]", vec!["0"; entries].join(","));
        parse::<Entries<u8>>("cannot list", true, &answer(200, &[JSON], &body))
    };
    assert!(list(0).unwrap().0.is_empty());
    assert_eq!(
        list(limits::ANSWER_ENTRIES - 1).unwrap().0.len(),
        limits::ANSWER_ENTRIES - 1
    );
    for _ in 0..2 {
        let error = list(limits::ANSWER_ENTRIES).map(|list| list.0).unwrap_err();
        assert_eq!(variant(&error), "not Portainer");
        assert!(
            error.to_string().contains("more than 50000 list entries"),
            "{error}"
        );
    }
    let null = answer(200, &[JSON], "null");
    let empty = parse::<Entries<u8>>("x", true, &null).unwrap();
    assert!(empty.0.is_empty());
}
