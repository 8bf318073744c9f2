//! A look that asks only for what may have changed: while containers settle, those that ran well and run still are not
//! inspected again. Nothing may be concluded from it before it was completed.

use crate::health::{Seen, seen};
use crate::portainer::{Containers, Error, Listed, Portainer};
use crate::redeploy::{Submission, look};
use crate::stack::outcome::ServiceState;

/// What is known after the list was read and what is new in it was inspected.
#[derive(Debug)]
pub(super) struct Glance {
    /// The stack; containers that were not asked for are as they were.
    pub(super) seen: Seen,
    /// For a compose stack: the list, and what is fresh of it.
    open: Option<(Containers, Vec<seen::Container>)>,
}

impl Glance {
    /// Looks at a stack again, knowing what was seen of it.
    pub(super) fn at(
        portainer: &Portainer,
        submission: &Submission,
        last: &Seen,
    ) -> Result<Glance, Error> {
        let Seen::Compose(last) = last else {
            let seen = look::again(portainer, submission)?;
            return Ok(Glance { seen, open: None });
        };
        let environment = submission.environment;
        let listed = portainer.containers(environment, &submission.project)?;
        let as_before = |one: &Listed| last.containers.iter().find(|old| runs_still(old, one));
        let old: Vec<seen::Container> = listed.list.iter().filter_map(as_before).cloned().collect();
        let seen = look::inspected(portainer, environment, &listed, old.clone())?;
        let fresh = seen
            .containers
            .iter()
            .filter(|one| !old.iter().any(|old| old.id == one.id))
            .cloned()
            .collect();
        Ok(Glance {
            seen: Seen::Compose(seen),
            open: (!old.is_empty()).then_some((listed, fresh)),
        })
    }

    /// The same look with everything inspected. A restart that the list did not show is seen here: by another start.
    pub(super) fn completed(
        self,
        portainer: &Portainer,
        submission: &Submission,
    ) -> Result<Seen, Error> {
        match self.open {
            Some((listed, fresh)) => {
                look::inspected(portainer, submission.environment, &listed, fresh)
                    .map(Seen::Compose)
            }
            None => Ok(self.seen),
        }
    }
}

/// Whether a container ran well, and is listed as running: what else it may do is a matter of time.
fn runs_still(old: &seen::Container, listed: &Listed) -> bool {
    old.id == listed.id
        && old.state == listed.state
        && matches!(old.state(), ServiceState::Running | ServiceState::Healthy)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::fake::{Behaviour, Era};
    use crate::redeploy::bench::{Bench, GOOD};
    use crate::stack::order::Order;
    use crate::stack::outcome::Outcome;

    const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    healthcheck: &check
      test: [\"CMD\", \"/app\", \"health\"]
      interval: 1s
      retries: 3
  worker:
    image: ghcr.io/acme/worker:1
    healthcheck: *check
";

    /// It is listed as running all the time, and well when it was looked at before the update.
    #[test]
    fn a_service_that_is_not_touched_and_sickens_meanwhile_is_seen() {
        let bench = Bench::with(Era::A, |world| {
            let an_hour = Duration::from_secs(3600);
            let after = an_hour + Duration::from_secs(10);
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("ghcr.io/acme/worker:1", Behaviour::Sickens { after });
            world.compose_stack("web-stack", FILE, &[]);
            let after = Duration::from_secs(30);
            world.push("ghcr.io/acme/web:1", Behaviour::Healthy { after });
        });
        let report = bench.run(&Order::default());
        assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
        assert!(
            report.message.contains("worker is unhealthy"),
            "{}",
            report.message
        );
    }
}
