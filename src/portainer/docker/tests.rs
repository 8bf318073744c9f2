use super::*;

fn listed(text: &str) -> Listed {
    serde_json::from_str(text).unwrap()
}

fn inspected(text: &str) -> Inspected {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_container_is_listed_with_the_labels_of_compose() {
    let read = listed(
        r#"{"Id":"3d36","Names":["/shop-web-2"],"Image":"acme/web:1","ImageID":"sha256:1b","State":"running","Status":"Up","Created":1795494135,
        "Labels":{"com.docker.compose.service":"web","com.docker.compose.container-number":"2","com.docker.compose.oneoff":"False",
        "com.docker.compose.depends_on":"db:service_healthy:false","com.docker.compose.image":"sha256:1b","com.docker.compose.config-hash":"00",
        "traefik.auth":"secret"},"Mounts":[],"Portainer":{"ResourceControl":null}}"#,
    );
    assert_eq!(
        (&*read.id, &*read.image_id, &*read.state),
        ("3d36", "sha256:1b", "running")
    );
    assert_eq!(read.labels.service, "web");
    assert_eq!(read.labels.depends_on, "db:service_healthy:false");
    assert!(read.labels.is_of_compose());
    assert!(!format!("{read:?}").contains("secret"));
}

#[test]
fn a_container_without_labels_and_names_is_listed_all_the_same() {
    let read = listed(r#"{"Id":"3d36","Names":null,"Labels":null}"#);
    assert_eq!((&*read.image_id, &*read.labels.service), ("", ""));
}

#[test]
fn distinguishes_one_off_containers_from_services() {
    let read = listed(r#"{"Id":"a","Labels":{"com.docker.compose.oneoff":"True"}}"#);
    assert!(!read.labels.is_of_compose());
}

#[test]
fn an_inspection_is_read_without_the_environment() {
    let read = inspected(
        r#"{"Id":"4f6d","Created":"x","Image":"sha256:1b","Name":"/shop-web-1","RestartCount":7,
        "State":{"Status":"restarting","Running":true,"Restarting":true,"ExitCode":3,"Error":"no such file","StartedAt":"2026-11-24T04:21:24.7Z",
        "Health":{"Status":"unhealthy","FailingStreak":0,"Log":[{"ExitCode":1,"Output":"secret"}]}},
        "Config":{"Image":"acme/web:1","Env":["PASSWORD=secret"],"Labels":{"com.docker.compose.service":"web"},
        "Healthcheck":{"Test":["CMD","/app"],"Interval":1000000000,"Timeout":2000000000,"Retries":5,"StartPeriod":10000000000}},
        "HostConfig":{"RestartPolicy":{"Name":"unless-stopped","MaximumRetryCount":0}}}"#,
    );
    assert_eq!(
        (&*read.image_id, &*read.reference),
        ("sha256:1b", "acme/web:1")
    );
    assert_eq!(
        (&*read.state, read.exit_code, read.restart_count),
        ("restarting", 3, 7)
    );
    assert_eq!(read.health.as_deref(), Some("unhealthy"));
    assert_eq!(
        (&*read.started_at, &*read.restart_policy),
        ("2026-11-24T04:21:24.7Z", "unless-stopped")
    );
    let check = read.healthcheck.unwrap();
    assert_eq!(check.interval, Duration::from_secs(1));
    assert_eq!(check.takes(), Duration::from_secs(10 + 5 * 3));
    assert!(!format!("{read:?}").contains("secret"));
}

#[test]
fn an_almost_empty_inspection_is_read() {
    let read = inspected(
        r#"{"Id":"a","State":{"Status":"created","Health":null},"Config":{"Labels":null},"HostConfig":null}"#,
    );
    assert_eq!(
        (&*read.state, read.health, read.healthcheck),
        ("created", None, None)
    );
}

#[test]
fn a_health_check_has_docker_s_defaults_where_it_sets_nothing() {
    let check = |json: &str, takes: Option<u64>| {
        let text = format!(r#"{{"Id":"a","Config":{{"Healthcheck":{json}}}}}"#);
        let read = inspected(&text).healthcheck.map(|check| check.takes());
        assert_eq!(read, takes.map(Duration::from_secs), "{json}");
    };
    check(r#"{"Test":["CMD-SHELL","true"]}"#, Some(3 * 60));
    check(
        r#"{"Test":["CMD-SHELL","true"],"Interval":0,"Timeout":-1,"Retries":0}"#,
        Some(3 * 60),
    );
    check(
        r#"{"Test":["CMD-SHELL","true"],"Retries":1,"StartPeriod":5000000000}"#,
        Some(65),
    );
    check(r#"{"Test":["NONE"],"Retries":1}"#, None);
    check(r#"{"Test":[]}"#, None);
    check("null", None);
}

#[test]
fn health_without_a_check_is_none() {
    let read = inspected(r#"{"Id":"a","State":{"Status":"running","Health":{"Status":"none"}}}"#);
    assert_eq!(read.health, None);
}

#[test]
fn rejects_ids_that_would_change_the_path() {
    let digits = "0123456789abcdef".repeat(4);
    let check = |text: &str, is_valid| {
        assert_eq!(checked_id("x", "image", text).is_ok(), is_valid, "{text}");
    };
    check(&digits, true);
    check(&format!("sha256:{digits}"), true);
    check(&digits[..12], true);
    check(&digits[..11], false);
    check(&format!("{digits}0"), false);
    for hostile in [
        "",
        "sha256:",
        "../../../2/docker/containers/0123456789ab",
        "sha256:../../0123456789ab",
        "0123456789ab/../0123456789ab",
        "0123456789ab?force=1",
        "0123456789ab%2f..",
        "0123456789ab\r\nX: y",
        "md5:0123456789ab",
        "０１２３４５６７８９ａｂ",
    ] {
        check(hostile, false);
    }
}

#[test]
fn rejects_references_that_would_change_the_path() {
    for valid in [
        "web",
        "127.0.0.1:5000/a/web:1",
        "ghcr.io/acme/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(checked_image_name("x", valid).unwrap(), valid);
    }
    for hostile in [
        "../web",
        "..",
        "../../2/docker/containers/x",
        "web/../../x",
        "..:5000/web",
        "web:../x",
        "web?x=1",
        "web%2f..",
        "web#x",
        "a//b",
        "/web",
        "web/",
    ] {
        assert!(checked_image_name("x", hostile).is_err(), "{hostile}");
    }
}

fn framed(stream: u8, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0][..], &length, text.as_bytes()].concat()
}

#[track_caller]
fn check_log(bytes: &[u8], plain: &str) {
    assert_eq!(log_text(bytes), plain);
}

#[test]
fn removes_the_frames_of_a_log() {
    check_log(b"", "");
    check_log(
        &[framed(1, "starting\n"), framed(2, "fatal\n")].concat(),
        "starting\nfatal\n",
    );
    check_log(&framed(1, ""), "");
    let cut_off = framed(2, "fatal\n");
    check_log(&cut_off[..11], "fat");
}

#[test]
fn keeps_the_log_of_a_terminal() {
    check_log(b"> hello\r\n> bye\r\n", "> hello\r\n> bye\r\n");
}

#[test]
fn keeps_the_end_of_a_long_log() {
    let long = "é".repeat(limits::LOG_KEPT);
    let kept = log_text(&framed(1, &format!("{long}!")));
    assert!(kept.len() <= limits::LOG_KEPT);
    assert!(kept.ends_with("éé!"));
    assert!(kept.starts_with('é'));
}

#[test]
fn parses_the_date_of_an_answer() {
    let check = |date: &str, seconds| assert_eq!(parse_http_date(date), seconds, "{date}");
    // The first is the example of RFC 9110; the others are from `date -u -d @N`.
    check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
    check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
    check("Tue, 29 Feb 2000 12:00:00 GMT", Some(951_825_600));
    check("Mon, 01 Mar 2100 00:00:00 GMT", Some(4_107_542_400));
    check("Tue, 24 Nov 2026 11:40:41 GMT", Some(1_795_520_441));
    check("Sunday, 06-Nov-94 08:49:37 GMT", None);
    check("Sun, 06 Nov 1994 08:49:37 CET", None);
    check("Sun, 00 Foo 1994 08:49:37 GMT", None);
    check("", None);
}

#[test]
fn escapes_query_values() {
    assert_eq!(
        filters("label", "a=b \"c\""),
        "%7B%22label%22%3A%5B%22a%3Db%20%5C%22c%5C%22%22%5D%7D"
    );
    assert_eq!(in_query("127.0.0.1:5000/web"), "127.0.0.1%3A5000%2Fweb");
}
