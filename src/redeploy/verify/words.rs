//! What is said of a verdict.

use crate::health::Verdict;
use crate::stack::outcome::{ServiceReport, ServiceState};

pub(super) fn summary(verdict: &Verdict) -> String {
    let recreated: Vec<&ServiceReport> = verdict
        .services
        .iter()
        .filter(|service| service.recreated)
        .collect();
    let same_image: Vec<&str> = recreated
        .iter()
        .filter(|service| !service.new_image)
        .map(|service| service.service.as_str())
        .collect();
    let mut text = format!(
        "{} of {} services updated, {}",
        recreated.len(),
        verdict.services.len(),
        verdict.wellness()
    );
    if !same_image.is_empty() {
        text.push_str(&format!(
            "; in a new container with the same image: {}",
            same_image.join(", ")
        ));
    }
    text
}

pub(super) fn still(words: &str) -> String {
    words.replacen(" is ", " is still ", 1)
}

/// `web is restarting (exit code 3, 5 restarts), worker is exited (exit code 1)`
pub(super) fn words(verdict: &Verdict, bad: &[String]) -> String {
    let one = |service: &ServiceReport| {
        let state = in_words(service.state);
        let mut more = Vec::new();
        more.extend(service.exit_code.map(|code| format!("exit code {code}")));
        more.extend(
            service
                .restarts
                .map(|restarts| format!("{restarts} restarts")),
        );
        more.extend(verdict.reasons.get(&service.service).cloned());
        match more.is_empty() {
            true => format!("{} is {state}", service.service),
            false => format!("{} is {state} ({})", service.service, more.join(", ")),
        }
    };
    let services = verdict
        .services
        .iter()
        .filter(|service| bad.contains(&service.service));
    services.map(one).collect::<Vec<_>>().join(", ")
}

/// The services that are not well yet, and of those that are worse than young how they are: somebody who waits may know enough.
pub(super) fn awaited(verdict: &Verdict) -> Vec<String> {
    let one = |name: &String| {
        let service = verdict.services.iter().find(|one| one.service == *name);
        match service.map(|service| (service.state, service.restarts)) {
            Some((ServiceState::Restarting, Some(restarts))) => {
                format!("{name} (restarting, {restarts} restarts)")
            }
            Some((
                state @ (ServiceState::Unhealthy
                | ServiceState::Restarting
                | ServiceState::Exited
                | ServiceState::Created
                | ServiceState::Missing),
                _,
            )) => format!("{name} ({})", in_words(state)),
            _ => name.clone(),
        }
    };
    verdict.bad.iter().map(one).collect()
}

fn in_words(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Healthy => "healthy, but does not stay so",
        ServiceState::Running => "running, but does not stay so",
        ServiceState::Completed => "completed",
        ServiceState::Starting => "still starting",
        ServiceState::Unhealthy => "unhealthy",
        ServiceState::Restarting => "restarting",
        ServiceState::Exited => "exited",
        ServiceState::Created => "created and not started",
        ServiceState::Missing => "without a container",
    }
}
