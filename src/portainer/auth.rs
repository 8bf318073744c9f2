//! Who we are at Portainer: puts the credentials on every call, logs in when it must, and never more often than it may.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::{Error, Failure};
use super::wire;
use super::words::{self, Again};
use crate::clock::Clock;
use crate::config::{self, Credentials};
use crate::fetch::{self, Answer, Fetch, Head, Method, Stream};
use crate::limits;
use crate::secret::Secret;

/// One call, before anybody has put credentials on it.
pub(super) struct Call {
    pub(super) method: Method,
    /// From `/api` on, with its query.
    pub(super) path: String,
    /// "cannot list the stacks": how an error about it begins.
    pub(super) step: String,
    pub(super) again: Again,
    pub(super) json: Option<Vec<u8>>,
    pub(super) header: Option<(&'static str, String)>,
    pub(super) answer_within: Duration,
    pub(super) body_within: Duration,
    pub(super) body_max: usize,
}

impl Call {
    pub(super) fn new(method: Method, path: impl Into<String>, step: impl Into<String>) -> Call {
        Call {
            method,
            path: path.into(),
            step: step.into(),
            again: Again::Harmless,
            json: None,
            header: None,
            answer_within: limits::ANSWER,
            body_within: limits::ANSWER_BODY,
            body_max: limits::ANSWER_MAX,
        }
    }
}

/// The way to Portainer, with the credentials for it.
pub(super) struct Door {
    fetch: Fetch,
    url: String,
    credentials: Credentials,
    /// For a gateway in front of Portainer.
    headers: Vec<(String, Secret)>,
    clock: Arc<dyn Clock>,
    login: Mutex<Login>,
}

/// What is known of our logins. Whoever holds the lock may log in; the others wait and take what came of it.
#[derive(Default)]
struct Login {
    pass: Option<Pass>,
    /// How many there were, so that a pass that was replaced meanwhile is not replaced again.
    number: u64,
    refused: Option<(Instant, Error)>,
}

/// What a call shows.
#[derive(Clone)]
struct Pass {
    header: &'static str,
    value: Secret,
    number: u64,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Door {
    pub(super) fn new(
        settings: &config::PortainerSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Door, Error> {
        let fetch = Fetch::new(&settings.trust)
            .map_err(|why| Error::Unusable(Failure::new("cannot speak TLS with Portainer", why)))?;
        Ok(Door {
            fetch,
            url: settings.url.clone(),
            credentials: settings.credentials.clone(),
            headers: settings.headers.clone(),
            clock,
            login: Mutex::default(),
        })
    }

    /// Sends a call with our credentials; anything but 2xx is an error.
    pub(super) fn call(&self, call: &Call) -> Result<Answer, Error> {
        let pass = self.pass()?;
        let answer = self.exchange(call, Some(&pass))?;
        // Where a repetition does harm, only Portainer's own words are proof that it refused before it did anything.
        let certain = call.again == Again::Harmless || words::said(&answer).is_some();
        let answer = match answer.head.status {
            401 if certain && self.logs_in() => {
                let pass = self.renew(&pass)?;
                self.exchange(call, Some(&pass))?
            }
            _ => answer,
        };
        let status = answer.head.status;
        let judged = words::judge(&call.step, call.again, answer);
        match judged {
            Err(Error::Unreachable(_)) if matches!(status, 502..=504) => {
                Err(self.explain_gateway_error(call, status, judged))
            }
            judged => judged,
        }
    }

    /// A gateway's error for a call that Portainer passes on to an environment: where Portainer itself still answers, it is the
    /// environment that is away, or a time limit of a proxy.
    fn explain_gateway_error(
        &self,
        call: &Call,
        status: u16,
        judged: Result<Answer, Error>,
    ) -> Error {
        let environment = wire::environment_of(&call.path).and_then(|environment| {
            let step = "cannot read the environment";
            let ask = Call::new(Method::Get, wire::environment(environment), step);
            let answer = self.exchange(&ask, Some(&self.pass().ok()?)).ok()?;
            let answer = words::judge(step, ask.again, answer).ok()?;
            words::read::<wire::Endpoint>(step, ask.again, &answer).ok()
        });
        match (environment, judged) {
            (Some(environment), _) if environment.status == wire::ENVIRONMENT_DOWN => {
                let why = format!(
                    "Portainer answers, but the environment {:?} is down",
                    words::shown(&environment.name)
                );
                let next = "check its Docker host, and its agent if it has one";
                Error::Unreachable(Failure::new(&call.step, why).next(next))
            }
            (Some(environment), _) => {
                let why = format!(
                    "Portainer answers, but this call to the environment {:?} ended with {status}",
                    words::shown(&environment.name)
                );
                let next = "check its Docker host and its agent, and the time limit of a proxy in front of Portainer";
                Error::Unreachable(Failure::new(&call.step, why).next(next))
            }
            (None, Err(error)) => error,
            (None, Ok(_)) => Error::Unreachable(Failure::new(&call.step, "no answer")),
        }
    }

    /// Sends a call without credentials, for what Portainer tells everybody.
    pub(super) fn call_as_nobody(&self, call: &Call) -> Result<Answer, Error> {
        words::judge(&call.step, call.again, self.exchange(call, None)?)
    }

    /// Sends a call with our credentials; a 2xx answer is read by the caller, line by line.
    pub(super) fn stream(&self, call: &Call) -> Result<Stream, Error> {
        let pass = self.pass()?;
        let stream = self.begin(call, &pass)?;
        let stream = match stream.head.status {
            401 if self.logs_in() => {
                let pass = self.renew(&pass)?;
                self.begin(call, &pass)?
            }
            _ => stream,
        };
        if (200..300).contains(&stream.head.status) {
            return Ok(stream);
        }
        let head = stream.head.clone();
        let body = stream
            .beginning(limits::FOREIGN_TEXT * 4)
            .map_err(|error| words::unanswered(&call.step, call.again, error))?;
        match words::judge(&call.step, call.again, Answer { head, body }) {
            Err(error) => Err(error),
            Ok(_) => Err(Error::Refused(Failure::new(&call.step, "no answer"))),
        }
    }

    fn logs_in(&self) -> bool {
        matches!(self.credentials, Credentials::Login { .. })
    }

    fn pass(&self) -> Result<Pass, Error> {
        match &self.credentials {
            Credentials::ApiKey(key) => Ok(Pass {
                header: "X-API-Key",
                value: key.clone(),
                number: 0,
            }),
            Credentials::Login { user, password } => {
                let mut login = self.lock();
                match &login.pass {
                    Some(pass) => Ok(pass.clone()),
                    None => self.log_in(&mut login, user, password),
                }
            }
        }
    }

    /// Another pass than `used`, which was refused: the one that somebody else got meanwhile, or a new one.
    fn renew(&self, used: &Pass) -> Result<Pass, Error> {
        let Credentials::Login { user, password } = &self.credentials else {
            return Ok(used.clone());
        };
        let mut login = self.lock();
        match &login.pass {
            Some(pass) if pass.number != used.number => Ok(pass.clone()),
            _ => self.log_in(&mut login, user, password),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Login> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_in(&self, login: &mut Login, user: &str, password: &Secret) -> Result<Pass, Error> {
        let now = self.clock.now();
        if let Some((when, error)) = &login.refused
            && now.saturating_duration_since(*when) < limits::LOGIN_PAUSE
        {
            return Err(error.clone());
        }
        login.pass = None;
        let step = format!("cannot log in to Portainer as {user:?}");
        let mut call = Call::new(Method::Post, wire::LOGIN, step);
        call.json = serde_json::to_vec(&wire::Login {
            username: user,
            password: password.expose(),
        })
        .ok();
        let answer = self.exchange(&call, None)?;
        if let Some(error) = refused(&call.step, &answer, || self.uses_oauth()) {
            login.refused = Some((now, error.clone()));
            return Err(error);
        }
        let answer = words::judge(&call.step, call.again, answer)?;
        let given: wire::LoggedIn = words::read(&call.step, call.again, &answer)?;
        let value = Secret::new(format!("Bearer {}", given.jwt)).map_err(|why| {
            Error::NotPortainer(Failure::new(
                &call.step,
                format!("the JWT in the answer {why}"),
            ))
        })?;
        login.number += 1;
        login.refused = None;
        let pass = Pass {
            header: "Authorization",
            value,
            number: login.number,
        };
        login.pass = Some(pass.clone());
        Ok(pass)
    }

    /// Whether people sign in with OAuth here, which no password of ours can.
    fn uses_oauth(&self) -> bool {
        let step = "cannot read the public settings";
        let call = Call::new(Method::Get, wire::PUBLIC_SETTINGS, step);
        let settings = self
            .call_as_nobody(&call)
            .and_then(|answer| words::read::<wire::PublicSettings>(step, call.again, &answer));
        settings.is_ok_and(|settings| settings.authentication_method == wire::OAUTH)
    }

    fn exchange(&self, call: &Call, pass: Option<&Pass>) -> Result<Answer, Error> {
        self.send(call, pass, |request| {
            let answer = self.fetch.exchange(request)?;
            Ok((answer.head.status, answer))
        })
    }

    fn begin(&self, call: &Call, pass: &Pass) -> Result<Stream, Error> {
        self.send(call, Some(pass), |request| {
            let stream = self.fetch.stream(request)?;
            Ok((stream.head.status, stream))
        })
    }

    fn send<T>(
        &self,
        call: &Call,
        pass: Option<&Pass>,
        send: impl FnOnce(&fetch::Request<'_>) -> Result<(u16, T), fetch::Error>,
    ) -> Result<T, Error> {
        let url = format!("{}{}", self.url, call.path);
        let mut headers = vec![("Accept", "application/json")];
        let further = self.headers.iter();
        headers.extend(further.map(|(name, value)| (name.as_str(), value.expose())));
        headers.extend(pass.map(|pass| (pass.header, pass.value.expose())));
        headers.extend(
            call.header
                .as_ref()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let mut request = fetch::Request::new(call.method, &url);
        request.headers = &headers;
        request.body = call.json.as_deref().map(|body| ("application/json", body));
        request.answer_within = call.answer_within;
        request.body_within = call.body_within;
        request.body_max = call.body_max;
        let begun = self.clock.now();
        let answer = send(&request);
        let ended = match &answer {
            Ok((status, _)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        log::debug!(
            "portainer: {} {} {ended} in {} ms",
            call.method.as_str(),
            call.path.split('?').next().unwrap_or_default(),
            self.clock
                .now()
                .saturating_duration_since(begun)
                .as_millis(),
        );
        match answer {
            Ok((_, answer)) => Ok(answer),
            Err(fetch::Error::TimedOut(why))
                if call.again == Again::Harmless && pass.is_some() && self.is_running() =>
            {
                let why = format!(
                    "{why}, although Portainer runs: another deployment may be locking its database"
                );
                Err(Error::Busy(Failure::new(&call.step, why)))
            }
            Err(error) => Err(words::unanswered(&call.step, call.again, error)),
        }
    }

    /// Whether Portainer answers a call that needs no database.
    fn is_running(&self) -> bool {
        let mut call = Call::new(Method::Get, wire::STATUS, "cannot read the status");
        call.answer_within = limits::STILL_RUNNING;
        self.call_as_nobody(&call).is_ok()
    }
}

/// A login that Portainer refused: the same words are given again for a while instead of a second try.
fn refused(step: &str, answer: &Answer, uses_oauth: impl Fn() -> bool) -> Option<Error> {
    let said = words::said(answer)?;
    let Head { status, .. } = answer.head;
    let failure = Failure::said(step, said);
    Some(Error::Login(match status {
        422 if uses_oauth() => {
            failure.next("this Portainer signs people in with OAuth: use an API key")
        }
        422 => failure.next(
            "check user and password; a $ of the password is written $$ in a compose file",
        ),
        403 => failure.next(
            "Portainer bans an address for an hour after ten logins within a second: wait, or restart Portainer",
        ),
        _ => return None,
    }))
}
