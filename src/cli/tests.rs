//! Command lines, and the invocation or the error that they give.

use super::*;

fn typed(line: &str) -> Result<Invocation, UsageError> {
    parse(line.split_whitespace().map(OsString::from).collect())
}

#[track_caller]
fn check(line: &str, expected: Command) {
    let command = expected;
    assert_eq!(
        typed(line),
        Ok(Invocation::Run {
            config: None,
            command
        }),
        "{line}"
    );
}

#[track_caller]
fn refused(line: &str, why: &str) {
    assert_eq!(
        typed(line).map_err(|usage| usage.to_string()),
        Err(why.to_owned()),
        "{line}"
    );
}

fn image(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

#[test]
fn every_command_is_understood() {
    check("serve", Command::Serve);
    check(
        "test-connection",
        Command::TestConnection {
            notify: false,
            json: false,
        },
    );
    check(
        "test-connection --notify",
        Command::TestConnection {
            notify: true,
            json: false,
        },
    );
    check("show-config", Command::ShowConfig { json: false });
    check("show-config --json", Command::ShowConfig { json: true });
    check("healthcheck", Command::Healthcheck);
    check(
        "generate-secret",
        Command::GenerateSecret(SecretFormat::Plain),
    );
    let standard = || Command::GenerateSecret(SecretFormat::StandardWebhooks);
    check("generate-secret --format standard-webhooks", standard());
    check("generate-secret --format=standard-webhooks", standard());
    check("redeploy", Command::Redeploy(RedeployArgs::default()));
    check(
        "redeploy --image nginx app --force --image=redis:7 db --json --quiet --dry-run",
        Command::Redeploy(RedeployArgs {
            stacks: StackChoice::Named(vec!["app".to_owned(), "db".to_owned()]),
            images: vec![image("nginx"), image("redis:7")],
            force: true,
            dry_run: true,
            output: Output {
                json: true,
                quiet: true,
            },
        }),
    );
    check(
        "redeploy --all",
        Command::Redeploy(RedeployArgs {
            stacks: StackChoice::All,
            ..RedeployArgs::default()
        }),
    );
}

#[test]
fn a_body_is_signed_or_a_sender_is_set_up() {
    let hook = || Some("web".to_owned());
    check("sign", Command::Sign(SignArgs::default()));
    let body = Some(PathBuf::from("body.json"));
    check(
        "sign body.json --hook web",
        Command::Sign(SignArgs {
            body,
            hook: hook(),
            ..SignArgs::default()
        }),
    );
    let scheme = Some(SchemeName::Github);
    check(
        "sign --scheme=github",
        Command::Sign(SignArgs {
            scheme,
            ..SignArgs::default()
        }),
    );
    check(
        "sign --setup --hook web",
        Command::Sign(SignArgs {
            setup: true,
            hook: hook(),
            ..SignArgs::default()
        }),
    );
    refused(
        "sign a b",
        "sign takes at most one argument: stackhook sign [FILE]",
    );
    refused(
        "sign a --setup",
        "--setup signs nothing, so it takes no file",
    );
    refused(
        "sign --scheme gitub",
        "--scheme: expected generic, github, gitea, forgejo, gogs, bitbucket, hmac, standard-webhooks, token or url-token; did you mean \"github\"?",
    );
}

#[test]
fn a_rollback_is_of_one_stack() {
    let stack = "app".to_owned();
    check(
        "rollback app --json",
        Command::Rollback {
            stack,
            output: Output {
                json: true,
                quiet: false,
            },
        },
    );
    let one = "rollback takes exactly one argument: stackhook rollback STACK";
    refused("rollback", one);
    refused("rollback app db", one);
}

#[test]
fn a_delivery_is_described() {
    check("trigger", Command::Trigger(TriggerArgs::default()));
    check(
        "trigger app --env TAG=1=2 --image nginx --url https://hooks.example.com db --force --no-wait --json --quiet",
        Command::Trigger(TriggerArgs {
            stacks: vec!["app".to_owned(), "db".to_owned()],
            url: Some("https://hooks.example.com".to_owned()),
            images: vec![image("nginx")],
            env: BTreeMap::from([("TAG".to_owned(), "1=2".to_owned())]),
            force: true,
            no_wait: true,
            output: Output {
                json: true,
                quiet: true,
            },
        }),
    );
    refused(
        "trigger --env TAG",
        "--env needs a name and a value: --env NAME=VALUE",
    );
    refused(
        "trigger --env =hush",
        "--env needs a name and a value: --env NAME=VALUE",
    );
    refused("trigger --env A=1 --env A=2", "--env sets \"A\" twice");
    refused("trigger --dry-run", "unknown option \"--dry-run\"");
}

#[test]
fn the_file_may_be_named_on_either_side_of_the_command() {
    for line in [
        "--config a.toml serve",
        "--config=a.toml serve",
        "serve --config a.toml",
        "serve --config=a.toml",
    ] {
        let meant = Invocation::Run {
            config: Some(PathBuf::from("a.toml")),
            command: Command::Serve,
        };
        assert_eq!(typed(line), Ok(meant), "{line}");
    }
}

#[test]
fn help_and_version_win_over_everything_else() {
    for (line, command) in [
        ("-h", None),
        ("--nonsense --help", None),
        ("redeploy --nonsense -h", Some("redeploy")),
        ("--version --help", None),
        ("--config -h", None),
    ] {
        let command = command.and_then(help::find);
        assert_eq!(typed(line), Ok(Invocation::Help(command)), "{line}");
    }
    for line in ["-V", "--version", "redeploy --nonsense -V", "nonsense -V"] {
        assert_eq!(typed(line), Ok(Invocation::Version), "{line}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    refused("", "a command is missing; stackhook --help lists them");
    refused(
        "redploy",
        "unknown command \"redploy\"; did you mean \"redeploy\"?",
    );
    refused("deploy-everything", "unknown command \"deploy-everything\"");
    refused(
        "--json redeploy",
        "unknown option \"--json\" in front of the command; only --config FILE may stand there",
    );
    refused(
        "redeploy --forse",
        "unknown option \"--forse\"; did you mean \"--force\"?",
    );
    refused("redeploy -f", "unknown option \"-f\"");
    refused("redeploy --force=yes", "--force takes no value");
    refused("redeploy --token=hush", "unknown option \"--token\"");
    refused("redeploy --", "unknown option \"--\"");
    refused("serve now", "serve takes no argument \"now\"");
    refused("serve --force", "unknown option \"--force\"");
    refused(
        "show-config --confg=x",
        "unknown option \"--confg\"; did you mean \"--config\"?",
    );
}

#[test]
fn options_are_complete_and_given_once() {
    refused("redeploy --image", "--image needs a value: --image REF");
    refused("redeploy --image=", "--image needs a value: --image REF");
    refused(
        "redeploy --image --force",
        "--image needs a value: --image REF",
    );
    refused("redeploy --force --force", "--force is given twice");
    refused(
        "redeploy --all app",
        "--all and names of stacks exclude each other",
    );
    refused("--config", "--config needs a value: --config FILE");
    refused("--config= serve", "--config needs a value: --config FILE");
    refused(
        "serve --config --force",
        "--config needs a value: --config FILE",
    );
    refused("--config a serve --config=b", "--config is given twice");
    refused("--config a serve --config b", "--config is given twice");
    refused("--config=a serve --config=b", "--config is given twice");
    refused(
        "generate-secret --format plain --format plain",
        "--format is given twice",
    );
    refused(
        "generate-secret --format long",
        "--format: expected plain or standard-webhooks",
    );
}

#[test]
fn help_version_and_completions_are_commands() {
    for (line, command) in [
        ("help", None),
        ("help serve", Some("serve")),
        ("--config x help redeploy", Some("redeploy")),
        ("help help", Some("help")),
    ] {
        let command = command.and_then(help::find);
        assert_eq!(typed(line), Ok(Invocation::Help(command)), "{line}");
    }
    assert_eq!(typed("version"), Ok(Invocation::Version));
    assert_eq!(
        typed("completions fish"),
        Ok(Invocation::Completions(Shell::Fish))
    );
    refused(
        "help redploy",
        "unknown command \"redploy\"; did you mean \"redeploy\"?",
    );
    refused("version now", "version takes no argument \"now\"");
    refused(
        "completions",
        "completions takes exactly one argument: stackhook completions SHELL",
    );
    refused(
        "completions bsh",
        "completions: expected bash, zsh or fish; did you mean \"bash\"?",
    );
}

/// Arguments that make a line of this command valid.
fn line_of(command: &CommandSpec) -> String {
    match command.arguments {
        "SHELL" => format!("{} bash", command.name),
        "STACK" => format!("{} app", command.name),
        _ => command.name.to_owned(),
    }
}

#[test]
fn every_option_of_the_table_changes_its_command() {
    for command in help::COMMANDS {
        let plain = line_of(command);
        assert!(typed(&plain).is_ok(), "{plain}: {:?}", typed(&plain));
        for option in command.options {
            let value = match (option.value, option.values) {
                ("", _) => "",
                // The first value may be the default.
                (_, [.., last]) => last,
                ("REF", []) => "app",
                (_, []) => "a=1",
            };
            let line = format!("{plain} {} {value}", option.name);
            assert!(typed(&line).is_ok(), "{line}: {:?}", typed(&line));
            assert_ne!(typed(&line), typed(&plain), "{line} is ignored");
            let twice = format!("{line} {} {}", option.name, value.replace('a', "b"));
            let expected = format!("{} is given twice", option.name);
            let error = typed(&twice).err().map(|error| error.to_string());
            assert_eq!(
                error == Some(expected),
                !option.repeats,
                "{twice}: {error:?}"
            );
        }
    }
}

#[test]
fn commands_take_as_many_arguments_as_the_table_says() {
    for command in help::COMMANDS {
        let count = |words: &str| typed(&format!("{} {words}", command.name)).is_ok();
        let word = if command.name == "help" {
            "serve"
        } else {
            "bash"
        };
        let counts = (count(""), count(word), count(&format!("{word} {word}")));
        let expected = match command.arguments {
            "" => (true, false, false),
            "[STACK…]" => (true, true, true),
            "[FILE]" | "[COMMAND]" => (true, true, false),
            _ => (false, true, false),
        };
        assert_eq!(counts, expected, "{}", command.name);
    }
}

#[test]
fn help_and_completions_name_every_command_and_option() {
    let scripts = [Shell::Bash, Shell::Zsh, Shell::Fish].map(completions::script);
    for command in help::COMMANDS {
        let own = help::text(Some(command));
        assert!(own.contains(&format!("] {}", command.name)), "{own}");
        let all = help::text(None);
        assert!(all.contains(&format!("\n  {} ", command.name)), "{all}");
        for script in &scripts {
            assert!(script.contains(command.name), "{script}");
        }
        for option in command.options {
            assert!(own.contains(option.name), "{own}");
            let bare = option.name.trim_start_matches('-');
            for script in &scripts {
                assert!(script.contains(bare), "{} in {script}", option.name);
            }
        }
    }
}

#[test]
fn help_fits_a_terminal_and_lists_the_exit_codes() {
    for code in ["0", "1", "2", "75", "78", "130"] {
        assert!(help::text(None).contains(&format!("\n  {code} ")), "{code}");
    }
    let commands = help::COMMANDS.iter().map(Some);
    for text in commands.chain([None]).map(help::text) {
        for line in text.lines() {
            assert!(line.chars().count() <= 120, "{line}");
        }
    }
}
