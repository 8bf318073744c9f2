//! What bad containers wrote last: collected before a way back removes them, kept for staff alone.

use crate::portainer::EnvironmentId;
use crate::redeploy::{RedeployResult, Run, Submission, inspect};
use crate::stack::outcome::{ServiceLog, ServiceState};

/// Unhealthy services whose logs are kept.
const LOGS_KEPT: usize = 5;

/// Lines of an unhealthy container's log that are kept for the settings page.
const LOG_LINES: usize = 20;

impl Run<'_> {
    /// A failed end with the logs of its bad services. Where they cannot be read there are none: an end is not lost over that.
    pub(super) fn with_logs(&self, submission: &Submission, end: RedeployResult) -> RedeployResult {
        let bad: Vec<&str> = end
            .services
            .iter()
            .filter(|service| is_bad(service.state))
            .map(|service| service.service.as_str())
            .take(LOGS_KEPT)
            .collect();
        if submission.containers().is_none() || bad.is_empty() {
            return end;
        }
        let environment = submission.environment;
        let Ok(seen) = inspect::containers(self.cx.portainer, environment, &submission.project)
        else {
            return end;
        };
        let log = |service: &str| {
            let containers = seen.of(service);
            // Of several replicas one that is not well speaks.
            let worst = containers.iter().find(|one| is_bad(one.state()));
            let container = worst.or(containers.first())?;
            self.log_of(environment, &container.id)
                .map(|text| ServiceLog {
                    service: service.to_owned(),
                    text,
                })
        };
        let logs = bad.into_iter().filter_map(log).collect();
        RedeployResult { logs, ..end }
    }

    fn log_of(&self, environment: EnvironmentId, container: &str) -> Option<String> {
        let log = self.cx.portainer.logs(environment, container, LOG_LINES);
        let text = self.redactor.show_log(log.ok()?.trim_end());
        Some(text).filter(|text| !text.is_empty())
    }
}

fn is_bad(state: ServiceState) -> bool {
    match state {
        ServiceState::Healthy | ServiceState::Running | ServiceState::Completed => false,
        ServiceState::Starting
        | ServiceState::Unhealthy
        | ServiceState::Restarting
        | ServiceState::Exited
        | ServiceState::Created
        | ServiceState::Missing => true,
    }
}
