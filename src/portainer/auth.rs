//! Authenticated calls: adds the credentials, logs in when needed, and renews a rejected session once per call.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::response::{
    self, CallFailure, Entries, PortainerError, is_repeatable, nullable, one_line,
};
use super::{Environment, EnvironmentId, Portainer};
use crate::config::Credentials;
use crate::fetch::{FetchError, FetchedAnswer, Method, OutgoingRequest, Stream};
use crate::limits;
use crate::secret::Secret;

/// The pause after a rejected login: Portainer bans an address after ten in a second.
const LOGIN_PAUSE: Duration = Duration::from_secs(60);

/// Time for Portainer to respond to a ping while another call has no response yet.
const STILL_RUNNING: Duration = Duration::from_secs(5);

/// The state of the login. The thread that holds the lock may log in; the others wait for it and use its result.
#[derive(Default)]
pub(super) struct Session {
    token: Option<Token>,
    /// The number of logins, so that a token that was replaced meanwhile is not replaced again.
    number: u64,
    rejected: Option<(Instant, PortainerError)>,
}

/// The credentials of one call.
#[derive(Clone)]
struct Token {
    header: &'static str,
    value: Secret,
    number: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LoginRequest<'a> {
    username: &'a str,
    password: &'a str,
}

#[derive(Deserialize)]
pub(super) struct LoginAnswer {
    jwt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PublicSettings {
    #[serde(default, deserialize_with = "nullable")]
    authentication_method: i64,
}

/// A JSON body for a request.
pub(super) fn json_body(value: &impl Serialize) -> Option<(&'static str, Vec<u8>)> {
    let bytes = serde_json::to_vec(value).ok()?;
    Some(("application/json", bytes))
}

impl Portainer {
    /// A request for a path from `/api` on, with the headers for a gateway in front of Portainer.
    pub(super) fn request(&self, method: Method, path: &str) -> OutgoingRequest {
        let mut request = OutgoingRequest::new(method, format!("{}{path}", self.url));
        request.set_header("Accept", "application/json");
        for (name, value) in &self.headers {
            request.set_header(name, value.expose());
        }
        request
    }

    /// Reads one object.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        step: &str,
        path: &str,
    ) -> Result<T, PortainerError> {
        let answer = self.call(step, self.request(Method::Get, path))?;
        response::parse(step, true, &answer)
    }

    /// Sends a GET whose answer is a list.
    pub(super) fn get_list<T: DeserializeOwned>(
        &self,
        step: &str,
        path: &str,
    ) -> Result<Vec<T>, PortainerError> {
        self.get::<Entries<T>>(step, path).map(|list| list.0)
    }

    /// Reads one object without credentials, from a route that is open to all.
    pub(super) fn get_public<T: DeserializeOwned>(
        &self,
        step: &str,
        path: &str,
    ) -> Result<T, PortainerError> {
        let request = self.request(Method::Get, path);
        let answer = self.exchange_public(step, &request)?;
        response::parse(step, true, &response::classify(step, &request, answer)?)
    }

    /// Sends a call with the credentials; every status but 2xx is an error. `step` begins its message.
    pub(super) fn call(
        &self,
        step: &str,
        mut request: OutgoingRequest,
    ) -> Result<FetchedAnswer, PortainerError> {
        let token = self.token()?;
        let mut answer = self.exchange(step, &mut request, &token)?;
        // A call that must not be repeated is certain to have been rejected only if the message is Portainer's own.
        let is_certain = is_repeatable(&request) || response::error_message(&answer).is_some();
        if answer.head.status == 401
            && is_certain
            && let Some(token) = self.renew(&token)?
        {
            // A large answer would block the next one.
            drop(answer);
            answer = self.exchange(step, &mut request, &token)?;
        }
        self.classify(step, &request, answer)
    }

    /// Sends a call with the credentials; the caller reads the body of a 2xx answer piece by piece.
    pub(super) fn stream(
        &self,
        step: &str,
        mut request: OutgoingRequest,
    ) -> Result<Stream, PortainerError> {
        let token = self.token()?;
        let mut stream = self.begin(step, &mut request, &token)?;
        if stream.head.status == 401
            && let Some(token) = self.renew(&token)?
        {
            stream = self.begin(step, &mut request, &token)?;
        }
        if (200..300).contains(&stream.head.status) {
            return Ok(stream);
        }
        let head = stream.head.clone();
        let body = stream
            .beginning(limits::FOREIGN_TEXT * 4)
            .map_err(|error| response::no_response(step, true, error))?;
        match self.classify(step, &request, FetchedAnswer::new(head, body)) {
            Err(error) => Err(error),
            Ok(_) => Err(PortainerError::Refused(CallFailure::new(step, "no answer"))),
        }
    }

    /// Classifies an answer. A gateway's error for a call to an environment means something else if Portainer itself still answers: the
    /// environment is down, or a proxy's time limit has passed.
    fn classify(
        &self,
        step: &str,
        request: &OutgoingRequest,
        answer: FetchedAnswer,
    ) -> Result<FetchedAnswer, PortainerError> {
        let status = answer.head.status;
        let error = match response::classify(step, request, answer) {
            Err(error @ PortainerError::Unreachable(_)) => error,
            other => return other,
        };
        let path = request.url.strip_prefix(&self.url).unwrap_or_default();
        let environment = environment_of(path).and_then(|id| {
            let step = "cannot read the environment";
            let path = format!("/api/endpoints/{id}?excludeSnapshots=true");
            let mut request = self.request(Method::Get, &path);
            let answer = self
                .exchange(step, &mut request, &self.token().ok()?)
                .ok()?;
            let answer = response::classify(step, &request, answer).ok()?;
            response::parse::<Environment>(step, true, &answer).ok()
        });
        let Some(environment) = environment else {
            return Err(error);
        };
        let name = one_line(&environment.name);
        let (why, next) = match environment.is_down() {
            true => (
                format!("Portainer answers, but the environment {name:?} is down"),
                "check its Docker host, and its agent if it has one",
            ),
            false => (
                format!(
                    "Portainer answers, but this call to the environment {name:?} ended with {status}"
                ),
                "check its Docker host and its agent, and the time limit of a proxy in front of Portainer",
            ),
        };
        Err(PortainerError::Unreachable(
            CallFailure::new(step, why).next(next),
        ))
    }

    /// The token of the session, or the API key.
    fn token(&self) -> Result<Token, PortainerError> {
        match &self.credentials {
            Credentials::ApiKey(key) => Ok(Token {
                header: "X-API-Key",
                value: key.clone(),
                number: 0,
            }),
            Credentials::Login { user, password } => {
                let mut session = self.lock_session();
                match &session.token {
                    Some(token) => Ok(token.clone()),
                    None => self.log_in(&mut session, user, password),
                }
            }
        }
    }

    /// Replaces the token `used`, which was rejected, by a new one or by the one that another thread got meanwhile. `None` for an API
    /// key, which cannot be renewed.
    fn renew(&self, used: &Token) -> Result<Option<Token>, PortainerError> {
        let Credentials::Login { user, password } = &self.credentials else {
            return Ok(None);
        };
        let mut session = self.lock_session();
        match &session.token {
            Some(token) if token.number != used.number => Ok(Some(token.clone())),
            _ => self.log_in(&mut session, user, password).map(Some),
        }
    }

    fn lock_session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs in, unless Portainer has just rejected a login: then the same error is returned without another attempt.
    fn log_in(
        &self,
        session: &mut Session,
        user: &str,
        password: &Secret,
    ) -> Result<Token, PortainerError> {
        let now = self.clock.now();
        if let Some((when, error)) = &session.rejected
            && now.saturating_duration_since(*when) < LOGIN_PAUSE
        {
            return Err(error.clone());
        }
        session.token = None;
        let step = format!("cannot log in to Portainer as {user:?}");
        let mut request = self.request(Method::Post, "/api/auth");
        request.body = json_body(&LoginRequest {
            username: user,
            password: password.expose(),
        });
        let answer = self.exchange_public(&step, &request)?;
        if let Some(error) = self.login_error(&step, &answer) {
            session.rejected = Some((now, error.clone()));
            return Err(error);
        }
        let answer = response::classify(&step, &request, answer)?;
        let login: LoginAnswer = response::parse(&step, true, &answer)?;
        let value = Secret::new(format!("Bearer {}", login.jwt)).map_err(|why| {
            let why = format!("the JWT in the answer {why}");
            PortainerError::NotPortainer(CallFailure::new(&step, why))
        })?;
        session.number += 1;
        session.rejected = None;
        let token = Token {
            header: "Authorization",
            value,
            number: session.number,
        };
        session.token = Some(token.clone());
        Ok(token)
    }

    /// The error for a login that Portainer itself rejected.
    fn login_error(&self, step: &str, answer: &FetchedAnswer) -> Option<PortainerError> {
        let failure = CallFailure::with_message(step, response::error_message(answer)?);
        Some(PortainerError::Login(match answer.head.status {
            422 if self.uses_oauth() => {
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

    /// Tells whether users sign in with OAuth, so that no password can work.
    fn uses_oauth(&self) -> bool {
        const OAUTH: i64 = 3;
        let step = "cannot read the public settings";
        let settings = self.get_public::<PublicSettings>(step, "/api/settings/public");
        settings.is_ok_and(|settings| settings.authentication_method == OAUTH)
    }

    fn exchange(
        &self,
        step: &str,
        request: &mut OutgoingRequest,
        token: &Token,
    ) -> Result<FetchedAnswer, PortainerError> {
        request.set_header(token.header, token.value.expose());
        let answer = self.logged(
            request,
            || self.fetch.exchange(request),
            |answer| answer.head.status,
        );
        answer.map_err(|error| self.no_response(step, request, error))
    }

    fn begin(
        &self,
        step: &str,
        request: &mut OutgoingRequest,
        token: &Token,
    ) -> Result<Stream, PortainerError> {
        request.set_header(token.header, token.value.expose());
        let stream = self.logged(
            request,
            || self.fetch.stream(request),
            |stream| stream.head.status,
        );
        stream.map_err(|error| self.no_response(step, request, error))
    }

    fn exchange_public(
        &self,
        step: &str,
        request: &OutgoingRequest,
    ) -> Result<FetchedAnswer, PortainerError> {
        self.logged(
            request,
            || self.fetch.exchange(request),
            |answer| answer.head.status,
        )
        .map_err(|error| response::no_response(step, true, error))
    }

    /// Sends a request and logs its path, result and duration; never its query, headers or body, which may be secret.
    fn logged<T>(
        &self,
        request: &OutgoingRequest,
        send: impl FnOnce() -> Result<T, FetchError>,
        status: impl FnOnce(&T) -> u16,
    ) -> Result<T, FetchError> {
        let path = request.url.strip_prefix(&self.url).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let begun = self.clock.now();
        let answer = send();
        let result = match &answer {
            Ok(answer) => status(answer).to_string(),
            Err(error) => error.to_string(),
        };
        let duration = self.clock.now().saturating_duration_since(begun);
        log::debug!(
            "portainer: {} {path} {result} in {} ms",
            request.method.as_str(),
            duration.as_millis(),
        );
        answer
    }

    /// The error of an authenticated call without an answer. If Portainer answers a call that needs no database, it is busy.
    fn no_response(
        &self,
        step: &str,
        request: &OutgoingRequest,
        error: FetchError,
    ) -> PortainerError {
        match error {
            FetchError::TimedOut(why) if is_repeatable(request) && self.is_running() => {
                let why = format!(
                    "{why}, although Portainer runs: another deployment may be locking its database"
                );
                PortainerError::Busy(CallFailure::new(step, why))
            }
            error => response::no_response(step, is_repeatable(request), error),
        }
    }

    /// Tells whether Portainer answers a call that needs no database.
    fn is_running(&self) -> bool {
        let mut request = self.request(Method::Get, super::STATUS);
        request.answer_within = STILL_RUNNING;
        let step = "cannot read the status";
        let answer = self.exchange_public(step, &request);
        answer.is_ok_and(|answer| response::classify(step, &request, answer).is_ok())
    }
}

/// The environment that Portainer passes this path on to.
fn environment_of(path: &str) -> Option<EnvironmentId> {
    let rest = path.strip_prefix("/api/endpoints/")?;
    let (id, rest) = rest.split_once('/')?;
    let is_passed_on = rest.starts_with("docker/") || rest == "forceupdateservice";
    id.parse().ok().filter(|_| is_passed_on).map(EnvironmentId)
}
