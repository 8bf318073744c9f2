//! The table of commands and options. Parsing, help and shell completions are all made from it.
//!
//! To add a command: a row in [`COMMANDS`], a variant of `Command` in `cli.rs`, a function in `cli/arguments.rs` that builds it, and a
//! file in `commands/`. Tests compare the table with the parser and the documents.

use super::arguments::{self, Arguments, CommandSpec, OptionSpec};
use super::{Invocation, SecretFormat, Shell, UsageError};
use crate::signature::SchemeName;
use crate::suggest::did_you_mean;

const fn switch(name: &'static str, about: &'static str) -> OptionSpec {
    option(name, "", about)
}

const fn option(name: &'static str, value: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        value,
        about,
        values: &[],
        repeats: false,
    }
}

const JSON: OptionSpec = switch("--json", "print one JSON object");
const QUIET: OptionSpec = switch("--quiet", "print nothing on success");
const IMAGE: OptionSpec = OptionSpec {
    repeats: true,
    ..option(
        "--image",
        "REF",
        "only the services with this image; may be given several times",
    )
};
const FORCE: OptionSpec = switch(
    "--force",
    "also if nothing is newer, if the image was rolled back before, or if the stack is paused",
);

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "serve",
        arguments: "",
        summary: "receive webhooks",
        about: "Receives webhooks and redeploys stacks, until SIGTERM or SIGINT.",
        options: &[],
        notes: "Prints \"listening on http://ADDRESS\" to stderr when it is ready. A second signal ends it at once, with 130.",
        build: arguments::serve,
    },
    CommandSpec {
        name: "generate-secret",
        arguments: "",
        summary: "print a new secret for a hook",
        about: "Prints a new secret for a hook and its sender: 32 letters and digits.",
        options: &[OptionSpec {
            values: SecretFormat::NAMES,
            ..option(
                "--format",
                "FORMAT",
                "plain (the default), or standard-webhooks: whsec_ and 32 bytes in base64",
            )
        }],
        notes: "",
        build: arguments::generate_secret,
    },
    CommandSpec {
        name: "test-connection",
        arguments: "",
        summary: "check Portainer, the credentials and every configured stack",
        about: "Checks Portainer, the credentials and every configured stack; changes nothing.",
        options: &[
            switch(
                "--notify",
                "also send a test notice to every [[notify]] receiver",
            ),
            JSON,
        ],
        notes: "Prints the user, the environments, the visible stacks, and for each configured stack how it would be\n\
                redeployed. Exits with 0 if everything is correct, 1 if something is not, 75 if Portainer cannot be\n\
                reached, 78 if the configuration is wrong.",
        build: arguments::test_connection,
    },
    CommandSpec {
        name: "show-config",
        arguments: "",
        summary: "print the effective configuration and the source of each value",
        about: "Prints the effective configuration: each key, its value and its source. Secrets are not shown.",
        options: &[JSON],
        notes: "Exits with 78 if something is wrong, and reports every problem.",
        build: arguments::show_config,
    },
    CommandSpec {
        name: "redeploy",
        arguments: "[STACK…]",
        summary: "redeploy now, directly through Portainer",
        about: "Redeploys stacks now, directly through Portainer, and waits for the result.\n\n\
                A STACK is the key or the name of a configured stack. Default: the only stack, or the one of\n\
                PORTAINER_STACK_NAME.",
        options: &[
            switch("--all", "every configured stack"),
            IMAGE,
            FORCE,
            switch("--dry-run", "only print what would happen; changes nothing"),
            JSON,
            QUIET,
        ],
        notes: "Of several stacks, exit code 1 (failed, or skipped) wins over 75 (unknown, unreachable), which wins over 0.\n\
                Ctrl-C stops watching, with 130; an update that Portainer has received goes on. Run the same command\n\
                again to see how it ended.",
        build: arguments::redeploy,
    },
    CommandSpec {
        name: "rollback",
        arguments: "STACK",
        summary: "restore the images that ran before the last update",
        about: "Restores the images, and the variables, that a stack had before its last update, and waits for the result.\n\n\
                A STACK is the key or the name of a configured stack. The previous images are recorded in the state_dir,\n\
                which this command shares with the server. Images that are rolled back are blocked until newer ones are\n\
                available.",
        options: &[JSON, QUIET],
        notes: "",
        build: arguments::rollback,
    },
    CommandSpec {
        name: "pause",
        arguments: "STACK",
        summary: "skip deliveries for a stack, until it is resumed or for a time",
        about: "Pauses a stack: deliveries for it are skipped. Works beside a running server, and while Portainer is not\n\
                reachable.\n\n\
                A STACK is the key or the name of a configured stack. Needs the state_dir that the server uses.",
        options: &[option(
            "--for",
            "TIME",
            "how long, such as 30m, 2h or 3d; without it, until \"stackhook resume\"",
        )],
        notes: "",
        build: arguments::pause,
    },
    CommandSpec {
        name: "resume",
        arguments: "STACK",
        summary: "update a paused stack again",
        about: "Resumes updates of a paused stack. Deliveries that were skipped during the pause are not replayed.",
        options: &[],
        notes: "",
        build: arguments::resume,
    },
    CommandSpec {
        name: "status",
        arguments: "[STACK…]",
        summary: "print state, running images, pause, blocked images and last deliveries",
        about: "Prints the state of stacks: running images, pause, blocked images and the last deliveries. Changes\n\
                nothing.",
        options: &[JSON],
        notes: "Deliveries, pauses and blocked images are read from the state_dir, also while the server runs or Portainer\n\
                is not reachable. The state is healthy, unhealthy, updating, paused, failed or unknown.",
        build: arguments::status,
    },
    CommandSpec {
        name: "trigger",
        arguments: "[STACK…]",
        summary: "send a signed delivery to a running stackhook and report its result",
        about: "Sends a signed delivery to a running stackhook, waits for the result and exits accordingly: for pipelines\n\
                and cron.\n\n\
                Needs only the address, and the secret of the server's hook \"update\" in PORTAINER_WEBHOOK_SECRET (or _FILE).\n\
                A STACK is a key or name on that server; several make several deliveries, and the worst exit code wins.",
        options: &[
            option(
                "--url",
                "URL",
                "address of the server; default $STACKHOOK_URL. Without a path, /webhook/update/ is used",
            ),
            IMAGE,
            OptionSpec {
                repeats: true,
                ..option(
                    "--env",
                    "NAME=VALUE",
                    "set a variable of the stack that its \"env\" allows; may be given several times",
                )
            },
            FORCE,
            switch("--no-wait", "exit when the delivery is accepted"),
            switch("--json", "print the reply, one object per delivery"),
            QUIET,
        ],
        notes: "Exits with 0 if the stack is up to date and healthy, 1 if the deployment failed or was skipped, 75 if the\n\
                result is unknown or the server cannot be reached (try again), 78 if the delivery was rejected.",
        build: arguments::trigger,
    },
    CommandSpec {
        name: "sign",
        arguments: "[FILE]",
        summary: "print the headers that sign a body, or how to set up a sender",
        about: "Prints the headers that authenticate a body, one per line, as curl reads them; or the settings for the\n\
                hook's sender.\n\n  stackhook sign body.json | curl -H @- --data-binary @body.json URL\n\n\
                The body is read from FILE, or from standard input. It is signed with the hook's first secret.",
        options: &[
            option("--hook", "NAME", "the hook; default: the default hook"),
            OptionSpec {
                values: SchemeName::NAMES,
                ..option("--scheme", "SCHEME", "another scheme than the hook's own")
            },
            switch(
                "--setup",
                "print the settings for the hook's sender, and ready jobs for pipelines",
            ),
        ],
        notes: "",
        build: arguments::sign,
    },
    CommandSpec {
        name: "healthcheck",
        arguments: "",
        summary: "check that the server on this host answers",
        about: "Requests /healthz from the server on this host. Of the configuration, only the listen address is read.",
        options: &[],
        notes: "Exits with 0 if the server answers that it is healthy, otherwise with 1.",
        build: arguments::healthcheck,
    },
    CommandSpec {
        name: "completions",
        arguments: "SHELL",
        summary: "print a completion script for bash, zsh or fish",
        about: "Prints a completion script for bash, zsh or fish.\n\n  source <(stackhook completions bash)",
        options: &[],
        notes: "",
        build: arguments::completions,
    },
    CommandSpec {
        name: "help",
        arguments: "[COMMAND]",
        summary: "print this text, or the help of a command",
        about: "Prints the help of the program or of a command.",
        options: &[],
        notes: "",
        build: help,
    },
    CommandSpec {
        name: "version",
        arguments: "",
        summary: "print version, commit and target",
        about: "Prints the version, the commit it was built from and the target.",
        options: &[],
        notes: "",
        build: arguments::version,
    },
];

/// The row of a command's name.
pub(crate) fn find(name: &str) -> Option<&'static CommandSpec> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The row of a command's name, or an error with a similar one.
pub(super) fn find_command(name: &str) -> Result<&'static CommandSpec, UsageError> {
    find(name).ok_or_else(|| {
        let near = did_you_mean(name, COMMANDS.iter().map(|command| command.name));
        UsageError(format!("unknown command {name:?}{near}"))
    })
}

fn help(arguments: Arguments) -> Result<Invocation, UsageError> {
    let name = arguments.words.first();
    let command = name.map(|name| find_command(name)).transpose()?;
    Ok(Invocation::Help(command))
}

/// The possible words after a command, if they are few: shells, and commands after `help`.
pub(super) fn possible_words(command: &CommandSpec) -> Vec<&'static str> {
    match command.name {
        "completions" => Shell::NAMES.to_vec(),
        "help" => COMMANDS.iter().map(|command| command.name).collect(),
        _ => Vec::new(),
    }
}

/// The help of a command or, without one, of the program; with a final line break.
pub(crate) fn text(command: Option<&CommandSpec>) -> String {
    command.map_or_else(program_text, command_text)
}

fn program_text() -> String {
    let usage = |command: &CommandSpec| match command.arguments {
        "" => command.name.to_owned(),
        arguments => format!("{} {arguments}", command.name),
    };
    let commands: Vec<(String, &str)> = COMMANDS
        .iter()
        .map(|command| (usage(command), command.summary))
        .collect();
    format!(
        "A signed webhook in, a Portainer stack redeployed, and the truth about how it ended.\n\n\
         Usage: stackhook [--config FILE] COMMAND\n\n\
         Commands:\n{}\n\
         Options:\n  \
         --config FILE        the configuration file; default $STACKHOOK_CONFIG, ./stackhook.toml,\n                       \
         /etc/stackhook/stackhook.toml, or the environment alone\n  \
         -h, --help           this text; after a command, the help of that command\n  \
         -V, --version        the version, commit and target\n\n\
         Exit codes:\n  \
         0    success\n  \
         1    the command ran and failed: Portainer refused, a stack is not healthy, something was not found\n  \
         2    the command line is wrong\n  \
         75   temporary failure: unreachable, timed out, or result unknown\n  \
         78   the configuration is wrong\n  \
         130  stopped by a signal\n",
        rows(&commands)
    )
}

fn command_text(command: &CommandSpec) -> String {
    let options: Vec<(String, &str)> = command
        .options
        .iter()
        .map(|option| match option.value {
            "" => (option.name.to_owned(), option.about),
            value => (format!("{} {value}", option.name), option.about),
        })
        .collect();
    let arguments = match command.arguments {
        "" => String::new(),
        arguments => format!(" {arguments}"),
    };
    let (marker, options) = match options.is_empty() {
        true => ("", String::new()),
        false => (" [OPTIONS]", format!("\nOptions:\n{}", rows(&options))),
    };
    let notes = match command.notes {
        "" => String::new(),
        notes => format!("\n{notes}\n"),
    };
    format!(
        "{}\n\nUsage: stackhook [--config FILE] {}{arguments}{marker}\n{options}{notes}",
        command.about, command.name
    )
}

fn rows(rows: &[(String, &str)]) -> String {
    rows.iter()
        .map(|(name, about)| format!("  {name:<19}  {about}\n"))
        .collect()
}
