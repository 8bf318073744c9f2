use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
const PLAIN: (&str, &str) = ("content-type", "text/plain");

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let header = |name: &str| {
        let found = headers.iter().find(|(one, _)| *one == name)?;
        Some(found.1.to_owned())
    };
    Answer {
        head: Head {
            status,
            content_type: header("content-type"),
            location: header("location"),
            date: None,
            redirect_reason: header("redirect-reason"),
            api_version: None,
        },
        body: body.as_bytes().to_vec(),
    }
}

fn variant(error: &Error) -> &'static str {
    match error {
        Error::Busy(_) => "busy",
        Error::Unreachable(_) => "unreachable",
        Error::Untrusted(_) => "untrusted",
        Error::Interrupted(_) => "interrupted",
        Error::Login(_) => "login",
        Error::Denied(_) => "denied",
        Error::NotFound(_) => "not found",
        Error::Conflict(_) => "conflict",
        Error::Refused(_) => "refused",
        Error::NotPortainer(_) => "not Portainer",
        Error::Locked(_) => "locked",
        Error::Unusable(_) => "unusable",
    }
}

/// What a question and what an update come to.
#[track_caller]
fn check(answer: &Answer, question: &str, update: &str, words: &str) {
    let asked = judge("cannot ask", Again::Harmless, answer.clone()).unwrap_err();
    assert_eq!(variant(&asked), question, "{asked}");
    assert!(asked.to_string().contains(words), "{asked}");
    let updated = judge("cannot update", Again::Never, answer.clone()).unwrap_err();
    assert_eq!(variant(&updated), update, "{updated}");
}

#[test]
fn portainer_s_own_words_decide() {
    let said = |status| {
        answer(
            status,
            &[JSON],
            r#"{"message":"Some text","details":"More text"}"#,
        )
    };
    let words = "\"Some text\" (More text)";
    for (status, came) in [
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
        check(&said(status), came, came, words);
    }
}

#[test]
fn an_update_without_portainer_s_words_is_never_certain() {
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
        "refused",
        "interrupted",
        "504",
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
fn a_redirect_is_named_without_what_may_be_secret_in_it() {
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
    let told = r#"{"message":"Administrator initialization timeout","details":"Administrator initialization timeout"}"#;
    check(
        &answer(303, &[JSON, reason], told),
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
    for said_by_go_or_nginx in [
        "Client sent an HTTP request to an HTTPS server.\n",
        "<center>The plain HTTP request was sent to HTTPS port</center>",
    ] {
        check(
            &answer(400, &[HTML], said_by_go_or_nginx),
            "not Portainer",
            "interrupted",
            "begin the address with https://",
        );
    }
}

#[test]
fn success_is_passed_on_and_must_be_json() {
    let json = judge("x", Again::Never, answer(200, &[JSON], "[1]")).unwrap();
    assert_eq!(read::<Vec<u8>>("x", Again::Never, &json).unwrap(), [1]);
    let untyped = answer(200, &[], "[1]");
    assert_eq!(read::<Vec<u8>>("x", Again::Never, &untyped).unwrap(), [1]);
    for broken in [
        answer(200, &[HTML], "[1]"),
        answer(200, &[JSON], "<html>"),
        answer(200, &[JSON], r#"["secret"]"#),
    ] {
        let asked = read::<Vec<u8>>("cannot ask", Again::Harmless, &broken).unwrap_err();
        assert_eq!(variant(&asked), "not Portainer", "{asked}");
        let updated = read::<Vec<u8>>("cannot update", Again::Never, &broken).unwrap_err();
        assert_eq!(variant(&updated), "interrupted", "{updated}");
        assert!(!format!("{asked} {updated:?}").contains("secret"));
    }
}

#[test]
fn a_missing_answer_is_judged_by_what_may_have_arrived() {
    use fetch::Error as Fetched;
    let why = || "why".to_owned();
    let check = |error: fn(String) -> Fetched, question: &str, update: &str| {
        assert_eq!(
            variant(&unanswered("x", Again::Harmless, error(why()))),
            question
        );
        assert_eq!(
            variant(&unanswered("x", Again::Never, error(why()))),
            update
        );
    };
    check(Fetched::NotSent, "unreachable", "unreachable");
    check(Fetched::Untrusted, "untrusted", "untrusted");
    check(Fetched::MaybeSent, "unreachable", "interrupted");
    check(Fetched::Garbled, "not Portainer", "interrupted");
}

#[test]
fn an_interrupted_update_was_not_certainly_not_sent() {
    let update = |error| unanswered("x", Again::Never, error);
    assert!(update(fetch::Error::NotSent(String::new())).nothing_was_sent());
    assert!(!update(fetch::Error::MaybeSent(String::new())).nothing_was_sent());
    assert!(!update(fetch::Error::Garbled(String::new())).nothing_was_sent());
}

#[test]
fn portainer_s_words_are_shown_once_on_one_line_and_cut() {
    let check = |body: &str, message: &str, details: &str| {
        let error = judge("x", Again::Never, answer(500, &[JSON], body)).unwrap_err();
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
    let error = judge("x", Again::Never, answer(500, &[JSON], &long)).unwrap_err();
    assert_eq!(
        error.portainer_says().unwrap().0.len(),
        limits::FOREIGN_TEXT
    );
}
