//! Finds the stack in Portainer by its name, and reads its file.

use std::collections::BTreeMap;

use crate::compose::{self, Variables};
use crate::portainer::{
    Environment, Kind, Origin, Portainer, PortainerError, Record, SourceAccess, StackStatus,
};
use crate::redact::Redactor;
use crate::redeploy::{AttemptError, RedeployResult, UnderWay};
use crate::stack::Stack;

/// A stack that was found and that, by its record, can be updated.
#[derive(Debug)]
pub(super) struct FoundStack {
    pub(super) record: Record,
    pub(super) file: String,
    /// The reason for which Portainer does not show the file, if a redeploy changes that.
    pub(super) unreadable: Option<String>,
    /// The name of its environment, if this user may see it.
    pub(super) environment: Option<String>,
}

impl FoundStack {
    /// Returns true if the previous images can be restored: only for compose stacks whose file Portainer keeps.
    pub(super) fn can_roll_back(&self) -> bool {
        self.record.kind == Kind::Compose && self.record.origin() == Origin::File
    }
}

/// Finds the stack and reads its file.
pub(super) fn find(portainer: &Portainer, stack: &Stack) -> Result<FoundStack, AttemptError> {
    let records = portainer.stacks()?;
    let environments = portainer.environments()?;
    let record = choose(
        records,
        &environments,
        &stack.name,
        stack.environment.as_deref(),
    )
    .map_err(RedeployResult::refused)?;
    let environment = environments
        .iter()
        .find(|one| one.id == record.environment)
        .map(|one| one.name.clone());
    let what = format!("the stack {:?}", record.name);
    match record.kind {
        Kind::Compose | Kind::Swarm => {}
        Kind::Kubernetes => return Err(RedeployResult::refused(format!(
            "{what} is a Kubernetes stack; stackhook updates Docker Compose and Swarm stacks only"
        ))
        .into()),
        Kind::Other(number) => {
            return Err(RedeployResult::refused(format!(
                "{what} is of type {number}, which stackhook does not know"
            ))
            .into());
        }
    }
    match record.status {
        StackStatus::Active | StackStatus::Error | StackStatus::Unspecified => {}
        StackStatus::Deploying => return Err(AttemptError::Busy(UnderWay::Reported)),
        StackStatus::Inactive => {
            return Err(RedeployResult::skipped(format!("{what} is stopped in Portainer, and an update would start it; start it there (Stacks > {} > Start this stack) to have it updated again", record.name)).into());
        }
    }
    if environment.is_none() && !environments.is_empty() {
        return Err(RedeployResult::refused(format!("{what} belongs to environment {}, which Portainer no longer has (or does not show to this user); associate the stack with an environment in Portainer", record.environment)).into());
    }
    if record.source == SourceAccess::Hidden {
        return Err(RedeployResult::refused(format!("Portainer does not show this user the git Source of {what} and refuses to redeploy it; share the Source with this user in Portainer, or use an administrator's API key")).into());
    }
    let (file, unreadable) = read_file(portainer, &record)?;
    Ok(FoundStack {
        record,
        file,
        unreadable,
        environment,
    })
}

/// A stack's file, or, of a git stack, the reason for which Portainer does not show it: git settings that were saved and not deployed,
/// or a lost checkout. A redeploy fixes both.
pub(super) fn read_file(
    portainer: &Portainer,
    record: &Record,
) -> Result<(String, Option<String>), PortainerError> {
    match portainer.file(record.id) {
        Ok(file) => Ok((file, None)),
        Err(PortainerError::Conflict(_)) if record.origin() != Origin::File => {
            let why = "its git settings were changed in Portainer and not deployed since";
            Ok((String::new(), Some(why.to_owned())))
        }
        Err(error) if record.origin() != Origin::File && is_unreadable(&error) => {
            Ok((String::new(), Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// Returns true if Portainer itself says that it cannot read the file.
fn is_unreadable(error: &PortainerError) -> bool {
    let is_final = match error {
        PortainerError::NotFound(_) | PortainerError::Refused(_) => !error.is_away(),
        _ => false,
    };
    is_final && error.portainer_says().is_some()
}

/// The variables that compose sees when Portainer deploys a stack.
pub(super) fn compose_variables(record: &Record, set: &BTreeMap<String, String>) -> Variables {
    match record.kind {
        Kind::Swarm => Variables::for_swarm(&record.variables(), set),
        Kind::Compose | Kind::Kubernetes | Kind::Other(_) => {
            Variables::for_compose(&record.name, &record.variables(), set)
        }
    }
}

/// The redactor that also knows the stack's variables, and the names that are not secret.
/// `running`: references that its containers were made from, once they are known.
pub(super) fn redactor(
    redactor: &Redactor,
    stack: &Stack,
    found: &FoundStack,
    running: Vec<String>,
) -> Redactor {
    let variables = found.record.variables();
    let mut plain = vec![
        stack.name.clone(),
        stack.key.to_string(),
        found.record.name.clone(),
    ];
    plain.extend(found.environment.clone());
    plain.extend(running);
    if let Ok(file) = compose::read(
        &found.file,
        &compose_variables(&found.record, &BTreeMap::new()),
    ) {
        plain.extend(file.services.keys().cloned());
        plain.extend(
            file.services
                .values()
                .filter_map(|service| Some(service.image.as_ref()?.to_string())),
        );
    }
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let variables = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    redactor.clone().with_env(variables, &plain)
}

/// The record of a stack by its name. Portainer writes names in lower case, so case is ignored.
pub(crate) fn choose(
    records: Vec<Record>,
    environments: &[Environment],
    name: &str,
    environment: Option<&str>,
) -> Result<Record, String> {
    let name_of = |record: &Record| {
        let found = environments.iter().find(|one| one.id == record.environment);
        found.map_or_else(|| record.environment.to_string(), |one| one.name.clone())
    };
    let here = |record: &Record| {
        environment.is_none_or(|wanted| {
            name_of(record).eq_ignore_ascii_case(wanted) || record.environment.to_string() == wanted
        })
    };
    let (mut named, others): (Vec<Record>, Vec<Record>) = records
        .into_iter()
        .partition(|record| record.name.eq_ignore_ascii_case(name));
    let elsewhere: Vec<String> = named
        .iter()
        .filter(|record| !here(record))
        .map(name_of)
        .collect();
    named.retain(here);
    match (named.pop(), named.is_empty()) {
        (Some(record), true) => Ok(record),
        (Some(record), false) => {
            let mut all: Vec<String> = named
                .iter()
                .map(name_of)
                .chain([name_of(&record)])
                .collect();
            all.sort_unstable();
            Err(format!(
                "several stacks are named {name:?}, on the environments {}; say which one is meant with PORTAINER_ENVIRONMENT or the stack's \"environment\"",
                all.join(", ")
            ))
        }
        (None, _) if !elsewhere.is_empty() => Err(format!(
            "the stack {name:?} is not on environment {:?} but on {}",
            environment.unwrap_or_default(),
            elsewhere.join(", ")
        )),
        (None, _) => Err(not_found(&others, name)),
    }
}

fn not_found(others: &[Record], name: &str) -> String {
    let mut text = format!("no stack named {name:?}");
    if let Some(record) = others.iter().find(|record| record.id.to_string() == name) {
        text.push_str(&format!(
            "; {name} is the id of the stack named {}",
            record.name
        ));
    }
    let mut names: Vec<String> = others.iter().map(|record| record.name.clone()).collect();
    names.sort_unstable();
    match names.is_empty() {
        true => text.push_str("; Portainer shows this user no stack at all"),
        false => text.push_str(&format!("; Portainer has: {}", names.join(", "))),
    }
    text.push_str(" (perhaps it is not shared with this user, or was made outside Portainer, which then cannot update it)");
    text
}
