//! Which of the configured stacks a command is about.

use super::Stop;
use crate::cli::Which;
use crate::config::Config;
use crate::stack::Stack;
use crate::suggest::did_you_mean;

/// The stacks that are meant, each once; at least one.
pub(super) fn choose<'c>(which: &Which, config: &'c Config) -> Result<Vec<&'c Stack>, Stop> {
    if config.stacks.is_empty() {
        let words =
            "no stack is configured; set PORTAINER_STACK_NAME to the stack's name in Portainer";
        return Err(Stop::Configuration(words.to_owned()));
    }
    match which {
        Which::All => Ok(config.stacks.iter().collect()),
        Which::Unsaid => Ok(vec![unsaid(config)?]),
        Which::Named(names) => {
            let mut chosen: Vec<&Stack> = Vec::new();
            for name in names {
                let stack = named(name, config)?;
                if chosen.iter().all(|known| known.key != stack.key) {
                    chosen.push(stack);
                }
            }
            Ok(chosen)
        }
    }
}

fn unsaid(config: &Config) -> Result<&Stack, Stop> {
    let default = |stack: &&Stack| config.default_stack.as_ref() == Some(&stack.key);
    match config.stacks.as_slice() {
        [only] => Ok(only),
        stacks => stacks.iter().find(default).ok_or_else(|| {
            Stop::Usage(format!(
                "name a stack, or use --all; configured: {}",
                keys(stacks)
            ))
        }),
    }
}

/// By key, or else by the name in Portainer, which knows no case.
fn named<'c>(name: &str, config: &'c Config) -> Result<&'c Stack, Stop> {
    let stacks = &config.stacks;
    if let Some(stack) = stacks.iter().find(|stack| stack.key.as_str() == name) {
        return Ok(stack);
    }
    let by_name = |stack: &&Stack| stack.name.eq_ignore_ascii_case(name);
    let found: Vec<&Stack> = stacks.iter().filter(by_name).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let keys_and_names = stacks
                .iter()
                .flat_map(|stack| [stack.key.as_str(), stack.name.as_str()]);
            let near = did_you_mean(name, keys_and_names);
            let help = format!("{near}; configured: {}", keys(stacks));
            Err(Stop::Usage(format!("there is no stack {name:?}{help}")))
        }
        several => Err(Stop::Usage(format!(
            "several stacks are named {name:?}; their keys are {}",
            keys(several.iter().copied())
        ))),
    }
}

fn keys<'c>(stacks: impl IntoIterator<Item = &'c Stack>) -> String {
    let keys: Vec<&str> = stacks.into_iter().map(|stack| stack.key.as_str()).collect();
    keys.join(", ")
}
