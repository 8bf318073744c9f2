//! The completion scripts, run by the shells they are for.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::program::Setup;

/// Lines that end where the Tab key is pressed, one of the completions, and a word that must not be one.
const LINES: &[(&str, &str, &str)] = &[
    ("stackhook roll", "rollback", "redeploy"),
    ("stackhook redeploy --fo", "--force", "--format"),
    (
        "stackhook generate-secret --format st",
        "standard-webhooks",
        "plain",
    ),
    ("stackhook sign --scheme git", "github", "generic"),
    ("stackhook completions z", "zsh", "bash"),
    ("stackhook help generate", "generate-secret", "serve"),
    ("stackhook --config x.toml roll", "rollback", "redeploy"),
    (
        "stackhook redeploy --config x.toml --dry",
        "--dry-run",
        "--force",
    ),
];

/// Reads lines and prints the completions of each on one line.
const BASH: &str = r#"
eval "$SCRIPT"
complete -p stackhook >/dev/null || exit 1
while IFS= read -r line; do
    read -ra COMP_WORDS <<<"$line"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _stackhook
    echo "${COMPREPLY[*]}"
done
"#;

const FISH: &str = r#"
echo "$SCRIPT" | source
while read -l line
    complete -C "$line" | string split -f 1 (printf "\t") | string join " "
end
true
"#;

/// Completion in zsh needs a terminal; the word that Tab completes is read from what it draws.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; eval \"\$SCRIPT\"; echo READ\Y"
zpty -r z out '*READY*'
while IFS= read -r line; do
    zpty -w -n z "$line"$'\t'
    sleep 1
    zpty -w -n z $'\x15'"echo EN\D"$'\r'
    zpty -r z out '*END*'
    print -r -- ${out//$'\n'/ }
done
"#;

fn complete(shell: &str, arguments: &[&str], lines: &[String]) -> Vec<String> {
    let script = Setup::new().run(&["completions", shell]).stdout;
    let mut child = Command::new(shell)
        .args(arguments)
        .env("SCRIPT", script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shell} is needed: {error}"));
    let input = lines.join("\n") + "\n";
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{shell}: {output:?}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed.lines().map(without_escapes).collect()
}

/// The text with a space for every escape sequence of a terminal.
fn without_escapes(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    let after_letter = |part: &str| {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        part[end.map_or(part.len(), |end| end + 1)..].to_owned()
    };
    parts.fold(first, |text, part| format!("{text} {}", after_letter(part)))
}

fn check(shell: &str, arguments: &[&str]) {
    let lines: Vec<String> = LINES.iter().map(|(line, ..)| (*line).to_owned()).collect();
    let found = complete(shell, arguments, &lines);
    assert_eq!(found.len(), lines.len(), "{found:?}");
    for ((line, expected, other), found) in LINES.iter().zip(found) {
        let has = |word: &str| found.split_whitespace().any(|found| found == word);
        assert!(has(expected) && !has(other), "{shell}: {line}: {found:?}");
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    check("bash", &["--norc", "-c", BASH]);
}

#[test]
fn bash_completes_every_option_of_the_help() {
    let setup = Setup::new();
    let mut lines = Vec::new();
    for command in setup.run(&["--help"]).stdout.lines() {
        let command = command.trim_start().split(' ').next().unwrap();
        let help = setup.run(&["help", command]);
        let options = help
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("  --"));
        let names = options.map(|line| line.split(' ').next().unwrap());
        lines.extend(
            names
                .filter(|_| help.code == Some(0))
                .map(|name| format!("stackhook {command} --{name}")),
        );
    }
    assert!(lines.len() > 20, "{lines:?}");
    let found = complete("bash", &["--norc", "-c", BASH], &lines);
    for (line, found) in lines.iter().zip(found) {
        let option = line.rsplit(' ').next().unwrap();
        assert!(
            found.split(' ').any(|word| word == option),
            "{line}: {found:?}"
        );
    }
}

#[test]
#[ignore = "needs fish"]
fn fish_completes_commands_options_and_values() {
    check("fish", &["--no-config", "-c", FISH]);
}

#[test]
#[ignore = "needs zsh"]
fn zsh_completes_commands_options_and_values() {
    check("zsh", &["-f", "-c", ZSH]);
}
