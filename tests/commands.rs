//! The commands as users and scripts see them: their output on stdout and stderr, and their exit codes.

mod completions;
mod redeploy;
mod serve;
mod status;
mod test_connection;

use crate::support::program::{Output, Setup};

/// Checks the exit code and the output; an output that is not given must be empty.
#[track_caller]
fn check(setup: &Setup, arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = setup.run(arguments);
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (Some(code), stdout, stderr),
        "stackhook {}",
        arguments.join(" ")
    );
}

#[track_caller]
fn said(output: &Output, code: i32) -> &str {
    assert_eq!(output.code, Some(code), "{output:?}");
    assert_eq!(output.stdout, "", "{output:?}");
    &output.stderr
}

#[test]
fn a_wrong_command_line_exits_with_2_and_prints_one_line() {
    let setup = Setup::new();
    let none = "stackhook: a command is missing; stackhook --help lists them\n";
    check(&setup, &[], 2, "", none);
    let near = "stackhook: unknown command \"redploy\"; did you mean \"redeploy\"?\n";
    check(&setup, &["redploy"], 2, "", near);
    let unknown = "stackhook: unknown option \"--port\"\n";
    check(&setup, &["serve", "--port=80"], 2, "", unknown);
    let rest = "stackhook: show-config takes no argument \"now\"\n";
    check(&setup, &["show-config", "now"], 2, "", rest);
    // Arguments are escaped before they reach the terminal.
    let escaped = "stackhook: unknown command \"\\u{1b}[2J\"\n";
    check(&setup, &["\u{1b}[2J"], 2, "", escaped);
}

#[test]
fn help_and_version_are_results() {
    let setup = Setup::new();
    let version = concat!("stackhook ", env!("CARGO_PKG_VERSION"), " (");
    for arguments in [
        &["--version"][..],
        &["version"],
        &["serve", "-V", "--nonsense"],
    ] {
        let output = setup.run(arguments);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        assert!(output.stdout.starts_with(version), "{output:?}");
        assert!(output.stdout.contains(std::env::consts::ARCH), "{output:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = setup.run(&["completions", shell]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        assert!(output.stdout.contains("generate-secret"), "{output:?}");
    }
    let json = setup.run(&["show-config", "--json"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown["settings"][0]["key"], "listen", "{json}");
    assert_eq!(shown["settings"][0]["source"], "default", "{json}");
    for arguments in [&["-h"][..], &["--help"], &["help"], &["redploy", "--help"]] {
        let output = setup.run(arguments);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        assert!(output.stdout.contains("Exit codes:"), "{output:?}");
    }
    for arguments in [&["redeploy", "--help"], &["help", "redeploy"]] {
        let output = setup.run(arguments);
        assert!(output.stdout.contains("--dry-run"), "{output:?}");
    }
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let setup = Setup::new();
    for arguments in [&["--help"][..], &["show-config"], &["generate-secret"]] {
        let output = setup.run_into_closed_pipe(arguments);
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Setup::new().run_into(full.into(), &["generate-secret"]);
    let why = "stackhook: cannot write to stdout: no space left on device\n";
    assert_eq!((output.code, output.stderr.as_str()), (Some(1), why));
}

#[test]
fn a_generated_secret_is_new_and_fits_its_kind() {
    let setup = Setup::new();
    let secret = |arguments: &[&str]| {
        let output = setup.run(arguments);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        output.stdout.strip_suffix('\n').unwrap().to_owned()
    };
    let (one, two) = (secret(&["generate-secret"]), secret(&["generate-secret"]));
    assert_ne!(one, two);
    assert_eq!(one.len(), 32);
    assert!(
        one.chars().all(|sign| sign.is_ascii_alphanumeric()),
        "{one}"
    );
    let standard = secret(&["generate-secret", "--format", "standard-webhooks"]);
    let base64 = standard.strip_prefix("whsec_").unwrap();
    assert_eq!(
        (base64.len(), base64.ends_with('=')),
        (44, true),
        "{standard}"
    );
}

#[test]
fn the_configuration_is_shown_with_its_sources_and_without_secrets() {
    let setup = Setup::new()
        .file("stackhook.toml", "log = \"warn\"\n[portainer]\nurl = \"http://portainer:9000\"\napi_key = \"ptr_written-in-the-file\"\n")
        .secret("ptr_written-in-the-file")
        .env("PORTAINER_WEBHOOK_SECRET", "a-secret-of-the-environment")
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_COLOUR", "blue");
    let output = setup.run(&["show-config"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let row = |key: &str| {
        let found = output
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("{key} ")));
        found.unwrap_or_else(|| panic!("{key}: {output:?}"))
    };
    assert!(row("log").contains("warn") && row("log").ends_with("stackhook.toml:1"));
    assert!(row("portainer.url").contains("http://portainer:9000"));
    assert!(row("portainer.api_key").ends_with("stackhook.toml:4"));
    assert!(row("listen").ends_with("default"));
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert!(
        output
            .stderr
            .starts_with("stackhook: warning: PORTAINER_COLOUR: "),
        "{output:?}"
    );
}

#[test]
fn an_invalid_configuration_exits_with_78_and_reports_everything() {
    let setup = Setup::new()
        .file("odd.toml", "[portainer]\nurll = \"http://hidden-word@portainer:9000\"\n[[stack]]\nname = \"shop\"\npull = \"sometimes\"\n")
        .secret("hidden-word")
        .env("PORTAINER_API_KEY", "ptr_sentinel")
        .env("PORTAINER_WEBHOOK_SECRET", "too-short");
    for command in ["serve", "show-config", "test-connection", "redeploy"] {
        let output = setup.run(&["--config", "odd.toml", command]);
        let words = said(&output, 78);
        assert!(words.contains("odd.toml:2: "), "{command}: {words}");
        assert!(
            words.contains("did you mean \"url\"?"),
            "{command}: {words}"
        );
        assert!(words.contains("odd.toml:5: "), "{command}: {words}");
        let every = words.lines().all(|line| line.starts_with("stackhook: "));
        assert!(every, "{words}");
    }
    let words = setup.run(&["--config", "odd.toml", "serve"]).stderr;
    assert!(words.contains("PORTAINER_WEBHOOK_SECRET: "), "{words}");
    let output = setup.run(&["show-config", "--config=missing.toml"]);
    assert!(said(&output, 78).contains("missing.toml"), "{output:?}");
}

#[test]
fn healthcheck_fails_without_a_listener() {
    // No program on this host has a reason to listen there.
    let free = "127.99.88.77:9";
    let setup = Setup::new()
        .file("stackhook.toml", "[[stack]]\nname = 5\n")
        .env("STACKHOOK_LISTEN", free);
    let why = format!("stackhook: the server at {free} is not healthy: nothing listens there\n");
    check(&setup, &["healthcheck"], 1, "", &why);
}

#[test]
fn healthcheck_prints_the_system_s_message_without_its_number() {
    // A network address: no TCP connection is possible.
    let setup = Setup::new().env("STACKHOOK_LISTEN", "255.255.255.255:80");
    let output = setup.run(&["healthcheck"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(!output.stderr.contains("os error"), "{output:?}");
}

#[test]
fn healthcheck_accepts_only_a_complete_reply() {
    use std::io::{Read as _, Write as _};
    #[track_caller]
    fn check(answer: &'static str, code: i32, why: &str) {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let setup = Setup::new().env("STACKHOOK_LISTEN", &address);
        let output = setup.run(&["healthcheck"]);
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.stderr.contains(why), "{output:?}");
        assert!(
            thread
                .join()
                .unwrap()
                .starts_with("GET /healthz HTTP/1.1\r\n")
        );
    }
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", 0, "");
    check(
        "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        1,
        "status 500",
    );
    check(
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        1,
        "status 503",
    );
    check("SSH-2.0-OpenSSH_9.2\r\n", 1, "not HTTP");
    check("", 1, "not HTTP");
}
