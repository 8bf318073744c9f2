//! The client against scripted answers and against the fake Portainer.

mod transcripts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::clock::skipping::SkippingClock;
use crate::config::{Credentials, Trust};
use crate::fake::{Behaviour, Era, Fake, Fault, When};
use crate::fetch::scripted::{Script, ScriptStep, answer, json};
use crate::image::Reference;
use crate::limits;
use crate::secret::Secret;
use crate::tls::TlsFront;

const KEY: &str = "ptr_key/with+signs=";

fn settings(url: String, credentials: Credentials) -> config::PortainerSettings {
    config::PortainerSettings {
        url,
        credentials,
        trust: Trust::PublicRoots,
        headers: Vec::new(),
        timeout: Duration::from_secs(60),
    }
}

fn by_key(script: &Script) -> Portainer {
    let key = Credentials::ApiKey(Secret::new(KEY).unwrap());
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    Portainer::new(&settings(script.url(), key), clock).unwrap()
}

#[test]
fn stacks_are_listed_with_the_api_key() {
    let script = Script::start(vec![json(
        200,
        r#"[{"Id":3,"Name":"shop","EndpointId":1,"Status":1,"Type":2,"Env":null}]"#,
    )]);
    let stacks = by_key(&script).stacks().unwrap();
    assert_eq!(stacks.len(), 1);
    let requests = script.requests();
    assert!(
        requests[0].starts_with("GET /api/stacks HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    assert!(
        requests[0]
            .to_lowercase()
            .contains(&format!("x-api-key: {KEY}\r\n").to_lowercase())
    );
    assert!(!requests[0].to_lowercase().contains("authorization:"));
}

fn by_login(url: String, password: &str) -> (Portainer, Arc<AtomicU64>) {
    let ahead = Arc::new(AtomicU64::new(0));
    let clock = Arc::new(SkippingClock::new(Arc::clone(&ahead)));
    let credentials = Credentials::Login {
        user: "admin".to_owned(),
        password: Secret::new(password).unwrap(),
    };
    let portainer = Portainer::new(&settings(url, credentials), clock).unwrap();
    (portainer, ahead)
}

fn logins(fake: &Fake) -> usize {
    let calls = fake.calls();
    calls.iter().filter(|call| call.path == "/api/auth").count()
}

const FILE: &str = "services:\n  web:\n    image: ghcr.io/acme/web:1\n";

fn fake() -> (Fake, StackId) {
    let fake = Fake::start(Era::A);
    let id = fake.world(|world| {
        world.push("ghcr.io/acme/web:1", Behaviour::Runs);
        world.compose_stack("shop", FILE, &[("TAG", "1")])
    });
    (fake, StackId(id))
}

fn with_key_of(fake: &Fake) -> Portainer {
    let key = Credentials::ApiKey(Secret::new(fake.api_key()).unwrap());
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    Portainer::new(&settings(fake.url(), key), clock).unwrap()
}

#[test]
fn one_login_serves_many_calls_and_the_password_is_sent_nowhere_else() {
    let (fake, _) = fake();
    let (portainer, _) = by_login(fake.url(), fake.password());
    portainer.stacks().unwrap();
    portainer.environments().unwrap();
    assert_eq!(logins(&fake), 1);
    for call in fake.calls() {
        assert!(!call.headers.contains_key("cookie"), "{call:?}");
        assert!(!call.headers.contains_key("x-api-key"), "{call:?}");
        let sent = call.body.to_string().contains(fake.password());
        assert_eq!(sent, call.path == "/api/auth", "{call:?}");
    }
}

#[test]
fn a_jwt_that_died_with_portainer_is_renewed_and_the_update_is_sent_again() {
    let (fake, id) = fake();
    let (portainer, _) = by_login(fake.url(), fake.password());
    let record = portainer.stack(id).unwrap();
    fake.world(|world| world.portainer_dies());
    let update = Update::new(&record, FILE, &BTreeMap::new(), false);
    portainer.update(update, limits::ANSWER).unwrap();
    assert_eq!(logins(&fake), 2);
    let statuses: Vec<_> = fake.puts().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(401), Some(200)]);
}

#[test]
fn a_refused_login_is_not_tried_again_for_a_minute() {
    let (fake, _) = fake();
    let (portainer, ahead) = by_login(fake.url(), "wrong pa$word");
    let first = portainer.stacks().unwrap_err();
    assert!(matches!(first, PortainerError::Login(_)), "{first:?}");
    let words = first.to_string();
    assert!(
        words.starts_with(
            "cannot log in to Portainer as \"admin\": Portainer answers 422 \"Invalid credentials\""
        ),
        "{words}"
    );
    assert!(words.contains("$$"), "{words}");
    assert!(!words.contains("wrong"), "{words}");
    // Half a minute is left for a slow machine.
    ahead.store(30_000, Ordering::SeqCst);
    assert_eq!(portainer.stacks().unwrap_err().to_string(), words);
    assert_eq!(logins(&fake), 1);
    ahead.store(61_000, Ordering::SeqCst);
    assert_eq!(portainer.stacks().unwrap_err().to_string(), words);
    assert_eq!(logins(&fake), 2);
}

#[test]
fn many_threads_log_in_once() {
    let (fake, _) = fake();
    let (right, _) = by_login(fake.url(), fake.password());
    let (wrong, _) = by_login(fake.url(), "another password");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| right.stacks().unwrap());
            scope.spawn(|| wrong.stacks().unwrap_err());
        }
    });
    assert_eq!(logins(&fake), 2);
    fake.world(|world| world.portainer_dies());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| right.stacks().unwrap());
        }
    });
    assert_eq!(logins(&fake), 3, "one new login for all who were refused");
}

#[test]
fn a_ban_says_how_long_it_lasts() {
    let banned = json(
        403,
        r#"{"message":"Access denied","details":"Access denied to resource"}"#,
    );
    let script = Script::start(vec![banned]);
    let (portainer, _) = by_login(script.url(), "password");
    let error = portainer.stacks().unwrap_err();
    assert!(matches!(error, PortainerError::Login(_)), "{error:?}");
    assert!(error.to_string().contains("for an hour"), "{error}");
    assert_eq!(
        portainer.stacks().unwrap_err().to_string(),
        error.to_string()
    );
    assert_eq!(script.requests().len(), 1);
}

#[test]
fn a_login_without_an_answer_is_not_a_refusal_and_its_update_was_not_sent() {
    let unavailable = || answer(503, &[("Content-Type", "text/html")], "<html>");
    let token = json(200, r#"{"jwt":"header.body.sign"}"#);
    let script = Script::start(vec![unavailable(), unavailable(), token, json(200, "[]")]);
    let (portainer, _) = by_login(script.url(), "password");
    let record = record(3);
    let update = Update::new(&record, FILE, &BTreeMap::new(), false);
    let error = portainer.update(update, limits::ANSWER).unwrap_err();
    assert!(error.nothing_was_sent(), "{error:?}");
    assert!(matches!(
        portainer.stacks().unwrap_err(),
        PortainerError::Unreachable(_)
    ));
    assert_eq!(portainer.stacks().unwrap().len(), 0);
    assert!(
        script.requests()[3]
            .to_lowercase()
            .contains("authorization: bearer header.body.sign\r\n")
    );
}

#[test]
fn a_wrong_api_key_is_denied_and_never_shown() {
    let refused = || {
        json(
            401,
            r#"{"message":"Invalid JWT token","details":"Unauthorized"}"#,
        )
    };
    let script = Script::start(vec![refused(), refused()]);
    let portainer = by_key(&script);
    let error = portainer.stacks().unwrap_err();
    assert!(matches!(error, PortainerError::Denied(_)), "{error:?}");
    assert!(
        error.to_string().contains("check the credentials"),
        "{error}"
    );
    assert_eq!(script.requests().len(), 1, "there is nothing else to try");
    assert!(!format!("{error} {error:?} {portainer:?}").contains(KEY));
}

fn record(id: i64) -> Record {
    let text = format!(r#"{{"Id":{id},"Name":"shop","EndpointId":1,"Type":2}}"#);
    serde_json::from_str(&text).unwrap()
}

/// The result of an update that gets this answer.
fn updated(step: ScriptStep) -> Result<Record, PortainerError> {
    let script = Script::start(vec![step]);
    let update = Update::new(&record(3), FILE, &BTreeMap::new(), false);
    let result = by_key(&script).update(update, Duration::from_millis(300));
    assert_eq!(script.requests().len(), 1, "an update is sent once");
    result
}

#[test]
fn an_update_that_may_have_been_carried_out_is_interrupted_and_sent_once() {
    let html = &[("Content-Type", "text/html")];
    for step in [
        ScriptStep::Silent,
        ScriptStep::Send(Vec::new()),
        ScriptStep::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"Id\":3".to_vec()),
        answer(200, html, "<html>please log in</html>"),
        answer(200, &[("Content-Type", "application/json")], "{}"),
        answer(302, &[("Location", "/login")], ""),
        answer(401, html, "<html>"),
        answer(502, html, "<html>"),
        answer(504, &[], ""),
        ScriptStep::Send(b"nonsense\r\n\r\n".to_vec()),
    ] {
        let error = updated(step).unwrap_err();
        assert!(matches!(error, PortainerError::Interrupted(_)), "{error:?}");
        assert!(!error.nothing_was_sent());
        assert!(
            error
                .to_string()
                .starts_with("cannot update the stack \"shop\": "),
            "{error}"
        );
    }
}

#[test]
fn an_answered_update_has_the_result_that_portainer_reports() {
    let stack =
        r#"{"Id":3,"Name":"shop","EndpointId":1,"Type":2,"Status":3,"ResourceControl":null}"#;
    assert_eq!(
        updated(json(200, stack)).unwrap().status,
        StackStatus::Deploying
    );
    let busy = r#"{"message":"Unable to update stack","details":"Stack deployment is already in progress"}"#;
    assert!(matches!(
        updated(json(409, busy)),
        Err(PortainerError::Conflict(_))
    ));
    let failed = r#"{"message":"failed to deploy a stack: compose up operation failed: x","details":"Failed to deploy a stack: compose up operation failed: x"}"#;
    let error = updated(json(500, failed)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot update the stack \"shop\": Portainer answers 500 \"failed to deploy a stack: compose up operation failed: x\""
    );
}

#[test]
fn the_path_prefix_stays_in_front_of_everything() {
    let script = Script::start(vec![json(200, "[]")]);
    let key = Credentials::ApiKey(Secret::new(KEY).unwrap());
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    let url = format!("{}/tools/portainer", script.url());
    Portainer::new(&settings(url, key), clock)
        .unwrap()
        .stacks()
        .unwrap();
    assert!(script.requests()[0].starts_with("GET /tools/portainer/api/stacks HTTP/1.1\r\n"));
}

#[test]
fn the_version_is_read_without_credentials_from_the_route_of_each_release() {
    let missing = answer(404, &[("Content-Type", "text/plain")], "404 page not found");
    let script = Script::start(vec![
        missing,
        json(200, r#"{"Version":"2.11.0","InstanceID":"x"}"#),
    ]);
    assert_eq!(by_key(&script).version().unwrap(), "2.11.0");
    let requests = script.requests();
    assert!(
        requests[0].starts_with("GET /api/system/status "),
        "{}",
        requests[0]
    );
    assert!(
        requests[1].starts_with("GET /api/status "),
        "{}",
        requests[1]
    );
    assert!(requests.iter().all(|request| !request.contains(KEY)));
}

#[test]
fn the_user_is_unknown_before_2_20() {
    let check = |step: ScriptStep, me: Option<bool>| {
        let script = Script::start(vec![step]);
        let read = by_key(&script).me().unwrap();
        assert_eq!(read.map(|me| me.administrator), me);
    };
    check(
        json(200, r#"{"Id":1,"Username":"admin","Role":1}"#),
        Some(true),
    );
    check(
        json(200, r#"{"Id":2,"Username":"bot","Role":2}"#),
        Some(false),
    );
    check(
        json(
            400,
            r#"{"message":"Invalid user identifier route variable","details":"x"}"#,
        ),
        None,
    );
    check(
        json(404, r#"{"message":"Unable to find a user","details":"x"}"#),
        None,
    );
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

const DONE: &str =
    "{\"status\":\"Pulling\"}\r\n{\"status\":\"Status: Downloaded newer image for x\"}\r\n";

#[test]
fn a_pull_names_one_tag_or_digest_and_the_registry_s_credentials() {
    let digest = "sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let check = |text: &str, registry: Option<i64>, line: &str, header: Option<&str>| {
        let script = Script::start(vec![json(200, DONE)]);
        let pulled = by_key(&script).pull(
            EnvironmentId(2),
            &reference(text),
            None,
            registry.map(RegistryId),
            limits::PULL,
        );
        pulled.unwrap();
        let requests = script.requests()[0].clone();
        let wanted = format!("POST /api/endpoints/2/docker/images/create?{line} HTTP/1.1\r\n");
        assert!(requests.starts_with(&wanted), "{requests}");
        let auth = requests.lines().find_map(|line| {
            line.to_lowercase()
                .starts_with("x-registry-auth: ")
                .then(|| line[17..].to_owned())
        });
        assert_eq!(auth.as_deref(), header);
    };
    check(
        "ghcr.io/acme/web",
        None,
        "fromImage=ghcr.io%2Facme%2Fweb&tag=latest",
        None,
    );
    check(
        "nginx:1",
        Some(7),
        "fromImage=nginx&tag=1",
        Some("eyJyZWdpc3RyeUlkIjo3fQ=="),
    );
    check(
        &format!("r.example:5000/web:1@{digest}"),
        None,
        &format!(
            "fromImage=r.example%3A5000%2Fweb&tag={}",
            digest.replace(':', "%3A")
        ),
        None,
    );
}

#[test]
fn a_pull_that_fails_inside_its_200_is_a_failure() {
    let check = |body: &str, words: &str| {
        let script = Script::start(vec![json(200, body)]);
        let error = by_key(&script)
            .pull(
                EnvironmentId(1),
                &reference("acme/web:1"),
                None,
                None,
                limits::PULL,
            )
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot pull \"acme/web:1\": {words}")
        );
        assert!(!error.nothing_was_sent());
    };
    check(
        "{\"status\":\"Pulling\"}\r\n{\"error\":\"toomanyrequests: slow down\"}\r\n",
        "toomanyrequests: slow down; the registry limits pulls: wait, or store an account for it in Portainer under Registries",
    );
    check(
        "{\"status\":\"Pulling\"}\r\n",
        "its progress ended before the pull did",
    );
}

#[test]
fn a_registry_that_requires_credentials_is_explained() {
    let check = |step: ScriptStep, hinted: bool| {
        let script = Script::start(vec![step]);
        let web = reference("acme/web:1");
        let error = by_key(&script)
            .pull(EnvironmentId(1), &web, None, None, limits::PULL)
            .unwrap_err();
        let hint = "store the registry's credentials in Portainer and give them to the environment";
        assert_eq!(error.to_string().ends_with(hint), hinted, "{error}");
    };
    check(
        json(500, r#"{"message":"Head x: no basic auth credentials"}"#),
        true,
    );
    check(
        json(
            404,
            r#"{"message":"pull access denied for acme/web, repository does not exist"}"#,
        ),
        true,
    );
    check(
        json(
            200,
            "{\"error\":\"unauthorized: authentication required\"}\r\n",
        ),
        true,
    );
    check(
        json(404, r#"{"message":"manifest for acme/web:1 not found"}"#),
        false,
    );
    check(
        json(
            403,
            r#"{"message":"Access denied","details":"unauthorized"}"#,
        ),
        false,
    );
}

#[test]
fn a_pull_whose_stream_breaks_off_fails_even_after_a_success_line() {
    let whole = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{DONE}",
        DONE.len() + 1
    );
    let script = Script::start(vec![ScriptStep::Send(whole.into_bytes())]);
    let error = by_key(&script)
        .pull(
            EnvironmentId(1),
            &reference("acme/web:1"),
            None,
            None,
            limits::PULL,
        )
        .unwrap_err();
    assert!(matches!(error, PortainerError::Interrupted(_)), "{error:?}");
}

#[test]
fn missing_objects_are_none_but_a_missing_environment_is_an_error() {
    let docker = || json(404, r#"{"message":"No such image: acme/web:1"}"#);
    let own = || {
        json(
            404,
            r#"{"message":"Unable to find an environment with the specified identifier inside the database","details":"Object not found inside the database (bucket=endpoints, key=77)"}"#,
        )
    };
    let script = Script::start(vec![docker(), docker(), docker(), own()]);
    let portainer = by_key(&script);
    let environment = EnvironmentId(1);
    assert_eq!(portainer.image(environment, "acme/web:1").unwrap(), None);
    assert_eq!(
        portainer.inspect(environment, "0123456789ab").unwrap(),
        None
    );
    assert_eq!(
        portainer
            .distribution(environment, &reference("acme/web:1"))
            .unwrap(),
        None
    );
    let gone = portainer.image(environment, "acme/web:1").unwrap_err();
    assert!(matches!(gone, PortainerError::NotFound(_)), "{gone:?}");
}

#[test]
fn a_tag_and_a_forced_update_name_their_objects() {
    let tagged = ScriptStep::Send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_vec());
    let script = Script::start(vec![
        tagged,
        json(200, r#"{"Warnings":null}"#),
        json(200, "[]"),
    ]);
    let portainer = by_key(&script);
    portainer
        .tag(
            EnvironmentId(1),
            "sha256:1b1a00000000",
            &reference("127.0.0.1:5000/web:1"),
        )
        .unwrap();
    let service = SwarmService {
        id: "rso".to_owned(),
        name: "shop_web".to_owned(),
        image: String::new(),
        version: 1,
        force_update: 0,
        mode: Mode::Global,
        update: None,
    };
    portainer
        .force_update_service(
            EnvironmentId(1),
            &service.id,
            &service.name,
            true,
            limits::ANSWER,
        )
        .unwrap();
    portainer.services(EnvironmentId(1), "shop").unwrap();
    let requests = script.requests();
    assert!(
        requests[0].starts_with(
            "POST /api/endpoints/1/docker/images/sha256:1b1a00000000/tag?repo=127.0.0.1%3A5000%2Fweb&tag=1 "
        ),
        "{}",
        requests[0]
    );
    assert!(
        requests[1].starts_with("PUT /api/endpoints/1/forceupdateservice "),
        "{}",
        requests[1]
    );
    assert!(
        requests[1].ends_with(r#"{"ServiceID":"rso","PullImage":true}"#),
        "{}",
        requests[1]
    );
    assert!(requests[2].starts_with("GET /api/endpoints/1/docker/services?filters=%7B%22label%22%3A%5B%22com.docker.stack.namespace%3Dshop%22%5D%7D "), "{}", requests[2]);
}

#[test]
fn a_stack_is_found_inspected_and_updated() {
    let (fake, id) = fake();
    let portainer = with_key_of(&fake);
    assert_eq!(portainer.version().unwrap(), Era::A.version());
    assert!(portainer.me().unwrap().unwrap().administrator);
    assert_eq!(portainer.environments().unwrap()[0].name, "local");
    let record = portainer.stacks().unwrap().remove(0);
    assert_eq!(
        (record.id, portainer.file(id).unwrap().as_str()),
        (id, FILE)
    );
    let containers = portainer.containers(record.environment, "shop").unwrap();
    let [web] = &containers.list[..] else {
        panic!("{containers:?}");
    };
    assert_eq!((&*web.labels.service, &*web.state), ("web", "running"));
    let close = portainer
        .inspect(record.environment, &web.id)
        .unwrap()
        .unwrap();
    assert_eq!(
        (&*close.reference, &*close.image_id),
        ("ghcr.io/acme/web:1", &*web.image_id)
    );
    let image = portainer
        .image(record.environment, "ghcr.io/acme/web:1")
        .unwrap()
        .unwrap();
    assert_eq!(image.id, web.image_id);
    fake.world(|world| world.push("ghcr.io/acme/web:1", Behaviour::Runs));
    let web_1 = reference("ghcr.io/acme/web:1");
    assert!(
        portainer
            .distribution(record.environment, &web_1)
            .unwrap()
            .is_some()
    );
    let pull = || {
        portainer
            .pull(record.environment, &web_1, None, None, limits::PULL)
            .unwrap()
    };
    pull();
    pull();
    let update = Update::new(&record, FILE, &BTreeMap::new(), false);
    assert_eq!(
        portainer.update(update, limits::ANSWER).unwrap().status,
        StackStatus::Active
    );
    let after = portainer.containers(record.environment, "shop").unwrap();
    assert_ne!(after.list[0].id, web.id);
    portainer
        .logs(record.environment, &after.list[0].id, 20)
        .unwrap();
    for call in fake.calls() {
        assert!(call.path != "/api/registries" && call.path != "/api/system/version");
    }
}

#[test]
fn portainer_s_own_certificate_is_pinned_and_everything_works_behind_it() {
    let (fake, _) = fake();
    let address = fake.url().trim_start_matches("http://").parse().unwrap();
    let front = TlsFront::start(address);
    let key = Credentials::ApiKey(Secret::new(fake.api_key()).unwrap());
    let mut settings = settings(format!("https://{}", front.addr), key);
    let clock = || Arc::new(SkippingClock::new(Arc::default()));
    let error = Portainer::new(&settings, clock())
        .unwrap()
        .stacks()
        .unwrap_err();
    assert!(matches!(error, PortainerError::Untrusted(_)), "{error:?}");
    assert!(
        error.to_string().contains("PORTAINER_CERTIFICATE_SHA256="),
        "{error}"
    );
    assert_eq!(fake.calls().len(), 0);
    settings.trust = Trust::Certificate(front.sha256);
    let portainer = Portainer::new(&settings, clock()).unwrap();
    assert_eq!(portainer.stacks().unwrap().len(), 1);
}

#[test]
fn every_answer_may_have_the_allowed_number_of_entries() {
    let (fake, _) = fake();
    let stack = r#"{"Id":9,"Name":"other","EndpointId":1}"#;
    let list = format!(
        "[{}]",
        vec![stack; limits::ANSWER_ENTRIES * 2 / 3].join(",")
    );
    let answer = Fault::Answer(200, "application/json", list);
    fake.fault(When::every("GET", "/api/stacks"), answer);
    let portainer = with_key_of(&fake);
    for _ in 0..3 {
        let stacks = portainer.stacks().unwrap();
        assert_eq!(stacks.len(), limits::ANSWER_ENTRIES * 2 / 3);
    }
}

#[test]
fn an_update_is_repeated_only_if_portainer_itself_rejects_the_session() {
    let portainers = r#"{"message":"Invalid JWT token","details":"Unauthorized"}"#;
    for (content_type, body, puts) in [
        ("application/json", portainers, 2),
        ("text/html", "<html>401 Unauthorized</html>", 1),
        ("text/plain", "Unauthorized", 1),
        ("application/json", r#"{"error":"Unauthorized"}"#, 1),
        ("application/json", "", 1),
    ] {
        let (fake, id) = fake();
        let (portainer, _) = by_login(fake.url(), fake.password());
        let record = portainer.stack(id).unwrap();
        let answer = Fault::Answer(401, content_type, body.to_owned());
        fake.fault(When::next("PUT", "/api/stacks/"), answer);
        let update = Update::new(&record, FILE, &BTreeMap::new(), false);
        let result = portainer.update(update, limits::ANSWER);
        assert_eq!(fake.puts().len(), puts, "{content_type} {body}");
        assert_eq!(logins(&fake), puts, "{content_type} {body}");
        match puts {
            1 => assert!(
                matches!(result, Err(PortainerError::Interrupted(_))),
                "{content_type} {body}: {result:?}"
            ),
            _ => drop(result.unwrap()),
        }
    }
}

#[test]
fn a_pull_renews_a_session_that_portainer_rejects() {
    let (fake, _) = fake();
    let (portainer, _) = by_login(fake.url(), fake.password());
    portainer.stacks().unwrap();
    fake.world(|world| world.portainer_dies());
    let reference = reference("ghcr.io/acme/web:1");
    let environment = EnvironmentId(1);
    portainer
        .pull(environment, &reference, None, None, limits::PULL)
        .unwrap();
    assert_eq!(logins(&fake), 2);
}
