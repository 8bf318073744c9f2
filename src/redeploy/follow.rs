//! Step 6: how the deployment ends. The answer decides, not Portainer's version; what is ambiguous is never sent again, but looked at.

use crate::health::seen::Seen;
use crate::limits;
use crate::portainer::{Error, Record, Status};
use crate::redeploy::look;
use crate::redeploy::{End, Run, Step, Submission};
use crate::stack::outcome::{Fault, Outcome, ServiceReport, ServiceState};

impl Run<'_> {
    /// `Ok`: Portainer says that it is done, or it can be seen; what that is worth is for the verification to tell.
    pub(super) fn follow(
        &self,
        submission: &Submission,
        answer: Result<Record, Error>,
    ) -> Result<(), End> {
        match answer {
            Ok(record) if record.status == Status::Deploying => self.poll(submission, None),
            Ok(record) => self.judge(submission, &record).unwrap_or(Ok(())),
            Err(error @ Error::Interrupted(_)) => self.poll(submission, Some(error)),
            Err(error) => Err(self.failed(submission, error.to_string())),
        }
    }

    /// `None`: still under way. `lost`: the answer to the update did not arrive, so a record as before proves nothing.
    fn poll(&self, submission: &Submission, lost: Option<Error>) -> Result<(), End> {
        self.step(Step::Following);
        let mut pause = limits::FOLLOW_PAUSE.0;
        while !self.left().is_zero() {
            self.cx.clock.sleep(pause);
            pause = (pause * 3 / 2).min(limits::FOLLOW_PAUSE.1);
            // Portainer may be restarting: whatever it cannot say now it may say later.
            let Ok(record) = self.cx.portainer.stack(submission.id) else {
                continue;
            };
            let untold = lost.is_some() && record.update_date == submission.update_date;
            if let Some(end) = self
                .judge(submission, &record)
                .filter(|end| end.is_err() || !untold)
            {
                return end;
            }
            if let (true, Some(lost), Some(gone)) = (untold, &lost, self.gone(submission)) {
                return Err(self.failed(
                    submission,
                    format!("{lost}; {} ran and has no container left", gone.join(", ")),
                ));
            }
        }
        let why = lost.map_or_else(
            || "Portainer is still deploying".to_owned(),
            |lost| lost.to_string(),
        );
        let message = format!(
            "{why}; the time was over before it could be found out how the update ended; look at the stack in Portainer"
        );
        Err(End {
            services: self.services_now(submission),
            ..End::new(Outcome::Unknown, message)
        })
    }

    fn judge(&self, submission: &Submission, record: &Record) -> Option<Result<(), End>> {
        match record.status {
            Status::Deploying => None,
            Status::Active | Status::Unsaid => Some(Ok(())),
            Status::Inactive => Some(Err(
                self.failed(submission, "the stack was stopped meanwhile".to_owned())
            )),
            Status::Error => {
                let said = record
                    .deployment_message
                    .as_deref()
                    .unwrap_or("Portainer does not say why");
                Some(Err(self.failed(
                    submission,
                    format!("the deployment failed: {said}"),
                )))
            }
        }
    }

    /// Services that ran and of which nothing is left, where that can be seen.
    fn gone(&self, submission: &Submission) -> Option<Vec<String>> {
        let before = submission.before.as_ref()?;
        let seen = look::containers(
            self.cx.portainer,
            submission.environment,
            &submission.project,
        )
        .ok()?;
        Some(seen.gone_since(before)).filter(|gone| !gone.is_empty())
    }

    /// A failed update: what Portainer said, which variables it stored all the same, and what runs now.
    fn failed(&self, submission: &Submission, why: String) -> End {
        let mut message = why;
        let stored = self.stored_all_the_same(submission);
        if !stored.is_empty() {
            message.push_str(&format!(
                "; Portainer has stored the new value of {}",
                stored.join(", ")
            ));
        }
        if let Ok(seen) = look::containers(
            self.cx.portainer,
            submission.environment,
            &submission.project,
        ) {
            let before = submission.before.clone().unwrap_or_default();
            message.push_str(&format!("; {}", runs_now(&before, &seen)));
            let services = with_missing(&before, &seen);
            return End {
                services,
                ..End::failed(Fault::Refused, message)
            };
        }
        End::failed(
            Fault::Refused,
            format!("{message}; what runs now cannot be seen"),
        )
    }

    /// The variables whose new values Portainer keeps although the update failed.
    fn stored_all_the_same(&self, submission: &Submission) -> Vec<String> {
        if submission.variables_before.is_empty() {
            return Vec::new();
        }
        let Ok(record) = self.cx.portainer.stack(submission.id) else {
            return Vec::new();
        };
        let stored = record.variables();
        let changed =
            |(name, before): &(&String, &Option<String>)| stored.get(*name) != before.as_ref();
        submission
            .variables_before
            .iter()
            .filter(changed)
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn services_now(&self, submission: &Submission) -> Vec<ServiceReport> {
        let before = submission.before.clone().unwrap_or_default();
        let seen = look::containers(
            self.cx.portainer,
            submission.environment,
            &submission.project,
        );
        seen.map(|seen| with_missing(&before, &seen))
            .unwrap_or_default()
    }
}

/// The services as seen, and those that had a container and have none.
fn with_missing(before: &Seen, seen: &Seen) -> Vec<ServiceReport> {
    let mut services = seen.report(before);
    for mut gone in before.report(before) {
        if seen.of(&gone.service).is_empty() {
            gone.state = ServiceState::Missing;
            services.push(gone);
        }
    }
    services
}

/// What runs after a failed update, in words.
fn runs_now(before: &Seen, seen: &Seen) -> String {
    let gone = seen.gone_since(before);
    let new = seen
        .report(before)
        .into_iter()
        .filter(|service| service.recreated)
        .map(|service| service.service);
    let new: Vec<String> = new.collect();
    match (seen.containers.is_empty(), gone.is_empty(), new.is_empty()) {
        (true, ..) if before.containers.is_empty() => "no container can be seen".to_owned(),
        (true, ..) => "the stack is down: no container is left".to_owned(),
        (false, false, _) => format!("down: {}", gone.join(", ")),
        (false, true, true) => "the containers are as before".to_owned(),
        (false, true, false) => format!("in a new container: {}", new.join(", ")),
    }
}
