//! Which stacks a delivery is for, and what is asked of each.

use std::collections::BTreeMap;

use super::{Hook, Sender, rules};
use crate::event::{Told, quoted};
use crate::stack::order::Order;
use crate::stack::{Stack, StackKey};

/// Why a verified and readable delivery asks nothing of any stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotForUs {
    /// 200: the rules do not want it; which one refused, and what the event said.
    Ignored(String),
    /// 400: it asks for what this hook cannot do; what, and what it could.
    Refused(String),
}

impl Hook {
    /// The orders that a delivery amounts to, one a stack; several events are merged. `only` is the stack that the
    /// path names, `stacks` are all that are configured.
    ///
    /// # Errors
    /// Why there is nothing to do.
    pub(crate) fn orders(
        &self,
        told: &Told,
        only: Option<&StackKey>,
        stacks: &[Stack],
    ) -> Result<Vec<(StackKey, Order)>, NotForUs> {
        let meant = self.meant(told, only, stacks)?;
        for stack in &meant {
            may_set(stack, &told.wishes.set)?;
        }
        let order = self.order(told).map_err(NotForUs::Ignored)?;
        Ok(meant
            .into_iter()
            .map(|stack| (stack.key.clone(), order.clone()))
            .collect())
    }

    /// The stacks: sender `generic` means one, everybody else all of the hook.
    fn meant<'s>(
        &self,
        told: &Told,
        only: Option<&StackKey>,
        stacks: &'s [Stack],
    ) -> Result<Vec<&'s Stack>, NotForUs> {
        let mine = |key: &StackKey| stacks.iter().find(|stack| stack.key == *key);
        let reach: Vec<&Stack> = self.stacks.iter().filter_map(mine).collect();
        if let Some(named) = &told.wishes.stack {
            let stack = by_name(named, &reach)?;
            return match only {
                Some(only) if *only != stack.key => Err(NotForUs::Refused(format!(
                    "the path is about stack \"{only}\", the body about \"{}\"",
                    stack.key
                ))),
                _ => Ok(vec![stack]),
            };
        }
        let default = self
            .default_stack
            .as_ref()
            .filter(|_| self.sender == Sender::Generic);
        if let Some(key) = only.or(default) {
            let stack = reach.iter().find(|stack| stack.key == *key);
            return stack.map(|stack| vec![*stack]).ok_or_else(|| {
                NotForUs::Refused(format!(
                    "this hook has no stack \"{key}\"; {}",
                    list(&reach)
                ))
            });
        }
        match reach.len() {
            0 => Err(NotForUs::Refused("this hook has no stack".to_owned())),
            2.. if self.sender == Sender::Generic => Err(NotForUs::Refused(format!(
                "\"stack\" must say which one is meant; {}",
                list(&reach)
            ))),
            _ => Ok(reach),
        }
    }

    /// What the events that the rules allow ask for together.
    fn order(&self, told: &Told) -> Result<Order, String> {
        let mut merged: Option<Order> = None;
        let mut refusals: Vec<String> = Vec::new();
        for event in &told.events {
            let images = match rules::judge(self, event) {
                Ok(images) => images,
                Err(refusal) => {
                    if !refusals.contains(&refusal) {
                        refusals.push(refusal);
                    }
                    continue;
                }
            };
            let order = Order {
                images,
                set: told.wishes.set.clone(),
                force: told.wishes.force,
                cause: event.cause.clone(),
                staff: false,
                rollback: false,
            };
            match &mut merged {
                None => merged = Some(order),
                Some(merged) => merged.merge(order),
            }
        }
        merged.ok_or_else(|| refusals.join("; "))
    }
}

/// By key, or by the name in Portainer, which knows no case.
fn by_name<'s>(named: &str, reach: &[&'s Stack]) -> Result<&'s Stack, NotForUs> {
    if let Some(stack) = reach.iter().find(|stack| stack.key.as_str() == named) {
        return Ok(stack);
    }
    let mut matching = reach.iter().filter(|stack| {
        stack.key.as_str().eq_ignore_ascii_case(named) || stack.name.eq_ignore_ascii_case(named)
    });
    match (matching.next(), matching.next()) {
        (Some(stack), None) => Ok(stack),
        (Some(_), Some(_)) => Err(NotForUs::Refused(format!(
            "several stacks are called {}; use the key; {}",
            quoted(named),
            list(reach)
        ))),
        (None, _) => Err(NotForUs::Refused(format!(
            "unknown stack {}; {}",
            quoted(named),
            list(reach)
        ))),
    }
}

fn list(reach: &[&Stack]) -> String {
    let keys: Vec<&str> = reach.iter().map(|stack| stack.key.as_str()).collect();
    format!("known are {}", keys.join(", "))
}

fn may_set(stack: &Stack, set: &BTreeMap<String, String>) -> Result<(), NotForUs> {
    let Some(name) = set.keys().find(|name| !stack.env.contains(name)) else {
        return Ok(());
    };
    let allowed = match stack.env.as_slice() {
        [] => "its list \"env\" is empty".to_owned(),
        names => format!("its list \"env\" has {}", names.join(", ")),
    };
    Err(NotForUs::Refused(format!(
        "variable {} may not be set on stack \"{}\": {allowed}",
        quoted(name),
        stack.key
    )))
}

#[cfg(test)]
mod tests;
