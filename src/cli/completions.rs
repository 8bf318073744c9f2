//! Completion scripts for shells, made from the table of commands.

use super::help::{COMMANDS, OptionHelp};
use crate::text::string_enum;

string_enum! {
    /// A shell with completions.
    Shell:
    /// GNU bash.
    Bash = "bash",
    /// The Z shell.
    Zsh = "zsh",
    /// The friendly interactive shell.
    Fish = "fish",
}

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        // zsh runs bash completions.
        Shell::Zsh => format!(
            "#compdef stackhook\nautoload -Uz +X compinit bashcompinit && compinit && bashcompinit\n{}",
            bash()
        ),
        Shell::Fish => fish(),
    }
}

fn words(words: impl Iterator<Item = &'static str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// The first argument, if there are only a few: shells, and commands after `help`.
fn arguments(command: &str) -> String {
    match command {
        "completions" => Shell::NAMES.join(" "),
        "help" => words(COMMANDS.iter().map(|command| command.name)),
        _ => String::new(),
    }
}

fn bash() -> String {
    let commands = words(COMMANDS.iter().map(|command| command.name));
    let cases: String = COMMANDS
        .iter()
        .map(|command| {
            let options = words(command.options.iter().map(|option| option.name));
            let arguments = arguments(command.name);
            format!(
                "        {}) words=\"{arguments} {options} --config --help\" ;;\n",
                command.name
            )
        })
        .collect();
    let mut with_values: Vec<&OptionHelp> = Vec::new();
    for option in COMMANDS.iter().flat_map(|command| command.options) {
        let is_new = with_values.iter().all(|known| known.name != option.name);
        if !option.values.is_empty() && is_new {
            with_values.push(option);
        }
    }
    let values: String = with_values
        .iter()
        .map(|option| {
            format!(
                "        {}) COMPREPLY=($(compgen -W \"{}\" -- \"$current\")); return ;;\n",
                option.name,
                option.values.join(" ")
            )
        })
        .collect();
    format!(
        "_stackhook() {{\n    \
             local current=\"${{COMP_WORDS[COMP_CWORD]}}\" previous=\"${{COMP_WORDS[COMP_CWORD-1]}}\" command= word words\n    \
             for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n        \
                 case \" {commands} \" in *\" $word \"*) command=$word; break ;; esac\n    \
             done\n    \
             case \"$previous\" in\n{values}        \
                 --config) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n    \
             esac\n    \
             case \"$command\" in\n{cases}        \
                 *) words=\"{commands} --config --help --version\" ;;\n    \
             esac\n    \
             COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n\
         }}\n\
         complete -o default -F _stackhook stackhook\n"
    )
}

fn fish() -> String {
    let mut script = "complete -c stackhook -f\n\
                      complete -c stackhook -l config -r -F -d 'the configuration file'\n\
                      complete -c stackhook -s h -l help -d 'print help'\n\
                      complete -c stackhook -n __fish_use_subcommand -s V -l version -d 'print the version'\n"
        .to_owned();
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "\\'"));
    for command in COMMANDS {
        script.push_str(&format!(
            "complete -c stackhook -n __fish_use_subcommand -a {} -d {}\n",
            command.name,
            quoted(command.summary)
        ));
        let condition = format!("'__fish_seen_subcommand_from {}'", command.name);
        let arguments = arguments(command.name);
        if !arguments.is_empty() {
            script.push_str(&format!(
                "complete -c stackhook -n {condition} -a '{arguments}'\n"
            ));
        }
        for option in command.options {
            let values = match (option.value, option.values) {
                ("", _) => String::new(),
                (_, []) => " -x".to_owned(),
                (_, values) => format!(" -x -a '{}'", values.join(" ")),
            };
            script.push_str(&format!(
                "complete -c stackhook -n {condition} -l {}{values} -d {}\n",
                option.name.trim_start_matches('-'),
                quoted(option.about)
            ));
        }
    }
    script
}
