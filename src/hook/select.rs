//! Selects the stacks of a delivery, and makes the order for each.

use std::collections::BTreeMap;

use super::{Hook, rules};
use crate::event::{ParsedDelivery, quoted};
use crate::stack::order::Order;
use crate::stack::{Stack, StackKey};

/// Reason why a verified and parsed delivery leads to no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SelectionError {
    /// 200: a rule refuses it; the rule and the fact that it refuses.
    Ignored(String),
    /// 400: it requests something that this hook cannot do; what it could do instead.
    Refused(String),
}

impl Hook {
    /// Makes the orders of a delivery, one for each stack; several events are merged. `only` is the stack that the
    /// path names, `stacks` are all that are configured.
    ///
    /// Errors: the reason why there is nothing to do.
    pub(crate) fn orders(
        &self,
        delivery: &ParsedDelivery,
        only: Option<&StackKey>,
        stacks: &[Stack],
    ) -> Result<Vec<(StackKey, Order)>, SelectionError> {
        let targets = self.target_stacks(delivery, only, stacks)?;
        for stack in &targets {
            may_set(stack, &delivery.requested.set)?;
        }
        let order = self.order(delivery).map_err(SelectionError::Ignored)?;
        Ok(targets
            .into_iter()
            .map(|stack| (stack.key.clone(), order.clone()))
            .collect())
    }

    /// A pipeline names one stack; the deliveries of other senders are for all stacks of the hook.
    fn target_stacks<'s>(
        &self,
        delivery: &ParsedDelivery,
        only: Option<&StackKey>,
        stacks: &'s [Stack],
    ) -> Result<Vec<&'s Stack>, SelectionError> {
        let mine = |key: &StackKey| stacks.iter().find(|stack| stack.key == *key);
        let reach: Vec<&Stack> = self.stacks.iter().filter_map(mine).collect();
        if let Some(named) = &delivery.requested.stack {
            let stack = by_name(named, &reach)?;
            return match only {
                Some(only) if *only != stack.key => Err(SelectionError::Refused(format!(
                    "the path is about stack \"{only}\", the body about \"{}\"",
                    stack.key
                ))),
                _ => Ok(vec![stack]),
            };
        }
        let default = self
            .default_stack
            .as_ref()
            .filter(|_| self.sender.is_pipeline());
        if let Some(key) = only.or(default) {
            let stack = reach.iter().find(|stack| stack.key == *key);
            return stack.map(|stack| vec![*stack]).ok_or_else(|| {
                SelectionError::Refused(format!(
                    "this hook has no stack \"{key}\"; {}",
                    list(&reach)
                ))
            });
        }
        match reach.len() {
            0 => Err(SelectionError::Refused("this hook has no stack".to_owned())),
            2.. if self.sender.is_pipeline() => Err(SelectionError::Refused(format!(
                "\"stack\" must name one of several stacks; {}",
                list(&reach)
            ))),
            _ => Ok(reach),
        }
    }

    /// Merges the orders of all events that the rules allow.
    fn order(&self, delivery: &ParsedDelivery) -> Result<Order, String> {
        let mut merged: Option<Order> = None;
        let mut refusals: Vec<String> = Vec::new();
        for event in &delivery.events {
            let images = match rules::select_images(self, event) {
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
                set: delivery.requested.set.clone(),
                force: delivery.requested.force,
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

/// Finds a stack by its key, or by its name in Portainer, which is compared without case.
fn by_name<'s>(named: &str, reach: &[&'s Stack]) -> Result<&'s Stack, SelectionError> {
    if let Some(stack) = reach.iter().find(|stack| stack.key.as_str() == named) {
        return Ok(stack);
    }
    let mut matching = reach.iter().filter(|stack| {
        stack.key.as_str().eq_ignore_ascii_case(named) || stack.name.eq_ignore_ascii_case(named)
    });
    match (matching.next(), matching.next()) {
        (Some(stack), None) => Ok(stack),
        (Some(_), Some(_)) => Err(SelectionError::Refused(format!(
            "several stacks have the name {}; use the key; {}",
            quoted(named),
            list(reach)
        ))),
        (None, _) => Err(SelectionError::Refused(format!(
            "unknown stack {}; {}",
            quoted(named),
            list(reach)
        ))),
    }
}

fn list(reach: &[&Stack]) -> String {
    let keys: Vec<&str> = reach.iter().map(|stack| stack.key.as_str()).collect();
    format!("the stacks of this hook are {}", keys.join(", "))
}

fn may_set(stack: &Stack, set: &BTreeMap<String, String>) -> Result<(), SelectionError> {
    let Some(name) = set.keys().find(|name| !stack.env.contains(name)) else {
        return Ok(());
    };
    let allowed = match stack.env.as_slice() {
        [] => "its list \"env\" is empty".to_owned(),
        names => format!("its list \"env\" has {}", names.join(", ")),
    };
    Err(SelectionError::Refused(format!(
        "variable {} may not be set on stack \"{}\": {allowed}",
        quoted(name),
        stack.key
    )))
}

#[cfg(test)]
mod tests;
