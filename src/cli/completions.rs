//! Completion scripts for shells, made from the table of commands.

use std::collections::BTreeMap;

use super::Shell;
use super::help::{COMMANDS, possible_words};

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

fn bash() -> String {
    let commands = words(COMMANDS.iter().map(|command| command.name));
    let cases: String = COMMANDS
        .iter()
        .map(|command| {
            let options = words(command.options.iter().map(|option| option.name));
            let arguments = possible_words(command).join(" ");
            format!(
                "        {}) words=\"{arguments} {options} --config --help\" ;;\n",
                command.name
            )
        })
        .collect();
    // One case per name: options of the same name have the same values.
    let options = COMMANDS.iter().flat_map(|command| command.options);
    let with_values: BTreeMap<&str, &[&str]> = options
        .filter(|option| !option.value.is_empty())
        .map(|option| (option.name, option.values))
        .collect();
    let case = |(name, values): (&str, &[&str])| {
        let values = values.join(" ");
        format!(
            "        {name}) COMPREPLY=($(compgen -W \"{values}\" -- \"$current\")); return ;;\n"
        )
    };
    let values: String = with_values.into_iter().map(case).collect();
    format!(
        "_stackhook() {{\n    \
             local current=\"${{COMP_WORDS[COMP_CWORD]}}\" previous=\"${{COMP_WORDS[COMP_CWORD-1]}}\" command= word words\n    \
             for word in \"${{COMP_WORDS[@]:1:$((COMP_CWORD-1))}}\"; do\n        \
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
    let commands = words(COMMANDS.iter().map(|command| command.name));
    let no_command = format!("'not __fish_seen_subcommand_from {commands}'");
    let mut script = format!(
        "complete -c stackhook -f\n\
                      complete -c stackhook -l config -r -F -d 'the configuration file'\n\
                      complete -c stackhook -s h -l help -d 'print help'\n\
                      complete -c stackhook -n {no_command} -s V -l version -d 'print the version'\n"
    );
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "\\'"));
    for command in COMMANDS {
        script.push_str(&format!(
            "complete -c stackhook -n {no_command} -a {} -d {}\n",
            command.name,
            quoted(command.summary)
        ));
        let condition = format!("'__fish_seen_subcommand_from {}'", command.name);
        let arguments = possible_words(command).join(" ");
        if !arguments.is_empty() {
            script.push_str(&format!(
                "complete -c stackhook -n {condition} -a '{arguments}'\n"
            ));
        }
        if command.arguments.contains("FILE") {
            script.push_str(&format!("complete -c stackhook -n {condition} -F\n"));
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
