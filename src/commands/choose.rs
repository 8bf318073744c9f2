//! Selects the configured stacks that a command acts on.

use super::CommandError;
use crate::cli::StackChoice;
use crate::config::Config;
use crate::stack::Stack;
use crate::suggest::did_you_mean;

/// The selected stacks, each once; at least one.
pub(super) fn choose<'c>(
    choice: &StackChoice,
    config: &'c Config,
) -> Result<Vec<&'c Stack>, CommandError> {
    if config.stacks.is_empty() {
        let text =
            "no stack is configured; set PORTAINER_STACK_NAME to the stack's name in Portainer";
        return Err(CommandError::Configuration(text.to_owned()));
    }
    match choice {
        StackChoice::All => Ok(config.stacks.iter().collect()),
        StackChoice::Default => Ok(vec![default_stack(config)?]),
        StackChoice::Named(names) => {
            let mut chosen: Vec<&Stack> = Vec::new();
            for name in names {
                let stack = find_stack(name, config)?;
                if chosen.iter().all(|known| known.key != stack.key) {
                    chosen.push(stack);
                }
            }
            Ok(chosen)
        }
    }
}

fn default_stack(config: &Config) -> Result<&Stack, CommandError> {
    let default = |stack: &&Stack| config.default_stack.as_ref() == Some(&stack.key);
    match config.stacks.as_slice() {
        [only] => Ok(only),
        stacks => stacks.iter().find(default).ok_or_else(|| {
            CommandError::Usage(format!(
                "name a stack, or use --all; configured: {}",
                keys(stacks)
            ))
        }),
    }
}

/// Finds a stack by key, or else by its name in Portainer, which ignores case.
pub(super) fn find_stack<'c>(name: &str, config: &'c Config) -> Result<&'c Stack, CommandError> {
    let stacks = &config.stacks;
    if let Some(stack) = stacks.iter().find(|stack| stack.key.as_str() == name) {
        return Ok(stack);
    }
    let by_name = |stack: &&Stack| stack.name.eq_ignore_ascii_case(name);
    let found: Vec<&Stack> = stacks.iter().filter(by_name).collect();
    match found.as_slice() {
        [stack] => Ok(stack),
        [] => {
            let keys_and_names = stacks
                .iter()
                .flat_map(|stack| [stack.key.as_str(), stack.name.as_str()]);
            let near = did_you_mean(name, keys_and_names);
            let keys = keys(stacks);
            let text = format!("there is no stack {name:?}{near}; configured: {keys}");
            Err(CommandError::Usage(text))
        }
        several => Err(CommandError::Usage(format!(
            "several stacks are named {name:?}; their keys are {}",
            keys(several.iter().copied())
        ))),
    }
}

fn keys<'c>(stacks: impl IntoIterator<Item = &'c Stack>) -> String {
    let keys: Vec<&str> = stacks.into_iter().map(|stack| stack.key.as_str()).collect();
    keys.join(", ")
}
