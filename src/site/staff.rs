//! The staff's side of the site: authentication, the settings page, its buttons, and metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::delivery::{Accepted, DeliveryId, PartProgress, RequestedRedeploy};
use crate::http::{Answer, Awaited, Method, Request, Wait};
use crate::limits;
use crate::message::{self, Headers, Reply};
use crate::scheduler::NotAccepted;
use crate::scheduler::probe::{DryRun, ProbeJob, StaffAction};
use crate::secret;
use crate::signature::Verified;
use crate::site::Site;
use crate::site::access_log::{RequestInfo, Summary};
use crate::site::auth::{NO_DELIVERY, Rejected, StaffPage};
use crate::site::desk::{self, Desk, SETTINGS_PAGE, base, guarded, own_page};
use crate::stack::Stack;
use crate::stack::order::Order;

/// The delay before the reply to a wrong password. Every password is compared at once, so guessing is slowed down without locking
/// out staff who share an address with the guesser.
const WRONG_PASSWORD_DELAY: Duration = Duration::from_secs(2);

/// The state of the confirmation that an action needs.
enum Confirmation {
    /// It was confirmed.
    Given,
    /// The dry run was shown only just now: the second tap of a double tap must not confirm what could not be read yet.
    TooSoon,
    /// The dry run comes first.
    Missing,
}

impl Site {
    /// Authenticates and answers a request for the settings page or the metrics.
    pub(super) fn staff(
        self: &Arc<Self>,
        page: StaffPage,
        request: &Request,
        info: RequestInfo,
    ) -> Answer {
        let Some(desk) = &self.desk else {
            return self.refuse_staff(&info, request, 404, "the settings page is off");
        };
        let verified = match desk.verify(request, self.clock.unix()) {
            Ok(verified) => verified,
            Err(rejected) => {
                let (method, path) = (&request.method, &request.path);
                let rejected = self.for_browser(method, path, &request.headers, rejected);
                let is_guess = rejected.reason == desk::WRONG_PASSWORD;
                let reply = guarded(self.reject(&info, rejected));
                return match is_guess {
                    true => Answer::Later(reply, WRONG_PASSWORD_DELAY),
                    false => Answer::Now(reply),
                };
            }
        };
        let info = info.of_staff();
        match (page, &request.method) {
            (StaffPage::Metrics, _) => {
                let text = self
                    .metrics
                    .render(self.scheduler.open(), self.clock.unix());
                let reply = guarded(desk::metrics(&text));
                Answer::Now(self.answer(&info, reply, &Summary::routine()))
            }
            (StaffPage::State, _) => Answer::Now(self.state(desk, request, &info)),
            (StaffPage::Delivery(id), _) => self.delivery_detail(desk, &id, request, &info),
            (StaffPage::Settings, Method::Post) => self.act(desk, request, &verified, info),
            (StaffPage::Settings, _) => self.page(desk, request, info),
        }
    }

    /// The page, after a fresh inspection of Portainer if the last one is old.
    fn page(self: &Arc<Self>, desk: &Desk, request: &Request, info: RequestInfo) -> Answer {
        if !request.path.ends_with('/') {
            // Relative links on the page need the slash.
            let reply = redirect("webhooks/");
            return Answer::Now(self.answer(&info, reply, &Summary::note("")));
        }
        if self.is_fresh(desk) {
            let reply = self.rendered(desk, &base(desk, &request.headers));
            return Answer::Now(self.answer(&info, reply, &Summary::note("")));
        }
        let job = desk.probe.ask(ProbeJob::Refresh);
        let (site, base) = (Arc::clone(self), base(desk, &request.headers));
        wait_for(job, limits::LOOK_WAIT, move || {
            let rendered = site.desk.as_ref().map(|desk| site.rendered(desk, &base));
            let reply = rendered.unwrap_or_else(|| Reply::text(404, ""));
            site.answer(&info, reply, &Summary::note(""))
        })
    }

    /// Carries out one of the page's buttons.
    fn act(
        self: &Arc<Self>,
        desk: &Desk,
        request: &Request,
        verified: &Verified<'_>,
        info: RequestInfo,
    ) -> Answer {
        let form = message::form(verified.bytes());
        let field = |name: &str| {
            let found = form.iter().find(|(own, _)| own == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        if let Err(reason) = check_form(desk, &request.headers, field("token")) {
            let rejected = Rejected::new(info.route(), 403, "forged_form", &reason);
            let (method, path) = (&request.method, &request.path);
            let rejected = self.for_browser(method, path, &request.headers, rejected);
            return Answer::Now(guarded(self.reject(&info, rejected)));
        }
        let (action, key) = (field("action"), field("stack"));
        // Relative, so that it is right under any path of a proxy.
        let page = match request.path.ends_with('/') {
            true => "./",
            false => "webhooks/",
        };
        if action == "test" {
            return self.job(desk, ProbeJob::Refresh, format!("{page}#connection"), info);
        }
        let Some(stack) = self.stacks.iter().find(|stack| stack.key.as_str() == key) else {
            return self.refuse_staff(
                &info,
                request,
                400,
                "the stack of this form is not configured",
            );
        };
        let (key, back) = (stack.key.clone(), format!("{page}#stack-{}", stack.key));
        let staff_action = match action {
            "pause" => return self.job(desk, ProbeJob::Pause(key), back, info),
            "resume" => return self.job(desk, ProbeJob::Resume(key), back, info),
            "unblock" => return self.job(desk, ProbeJob::Unblock(key), back, info),
            "dismiss" => {
                desk.probe.forget_note(&key);
                return self.redirected(&info, &back, action);
            }
            "update" | "dry-run" => StaffAction::Update,
            "force" => StaffAction::Force,
            "rollback" => StaffAction::RollBack,
            _ => {
                return self.refuse_staff(
                    &info,
                    request,
                    400,
                    "the action of this form is unknown",
                );
            }
        };
        let check = format!("{page}#check-{key}");
        match self.confirmation(desk, stack, (action, staff_action), field("confirm")) {
            Confirmation::Given => {}
            Confirmation::TooSoon => return self.redirected(&info, &check, action),
            Confirmation::Missing => {
                let dry_run = DryRun {
                    marker: self.stack_marker(desk, stack),
                    stack: key,
                    action: staff_action,
                };
                return self.job(desk, ProbeJob::DryRun(dry_run), check, info);
            }
        }
        let order = Order {
            force: staff_action == StaffAction::Force,
            rollback: staff_action == StaffAction::RollBack,
            staff: true,
            ..Order::default()
        };
        self.order(desk, stack, order, action);
        self.redirected(&info, &back, action)
    }

    /// Only the button of a failed card, or that of a current dry run of this very action, carries an action out.
    fn confirmation(
        &self,
        desk: &Desk,
        stack: &Stack,
        (name, action): (&str, StaffAction),
        confirm: &str,
    ) -> Confirmation {
        if self.is_offered(desk, stack, name, confirm) {
            return Confirmation::Given;
        }
        let note = desk.probe.note(&stack.key).filter(|note| {
            note.action == Some(action)
                && note.number.to_string() == confirm
                && note.marker == self.stack_marker(desk, stack)
        });
        match note {
            Some(note) if note.at.elapsed() >= limits::CONFIRM_AFTER => Confirmation::Given,
            Some(_) => Confirmation::TooSoon,
            None => Confirmation::Missing,
        }
    }

    fn redirected(&self, info: &RequestInfo, location: &str, action: &str) -> Answer {
        Answer::Now(self.answer(info, redirect(location), &Summary::note(action)))
    }

    /// The state of the page for its script: a digest of what it shows, and the steps of running updates.
    fn state(&self, desk: &Desk, request: &Request, info: &RequestInfo) -> Reply {
        if !self.is_fresh(desk) {
            desk.probe.ask(ProbeJob::Refresh);
        }
        let history = self.scheduler.history();
        let parts = history.iter().flat_map(|delivery| &delivery.parts);
        let running: Vec<_> = parts
            .filter_map(|part| match &part.progress {
                PartProgress::Running(step) => {
                    Some(json!({"stack": part.stack.as_str(), "step": step}))
                }
                PartProgress::Waiting | PartProgress::Ended(_) => None,
            })
            .collect();
        let page = self.page_state(desk, &base(desk, &request.headers));
        let state = json!({"state": page, "running": running});
        let mut digest = secret::to_hex(&secret::sha256(&[state.to_string().as_bytes()]));
        digest.truncate(16);
        let etag = format!("\"{digest}\"");
        let known = request.headers.get("if-none-match");
        let reply = match known.is_some_and(|known| known.contains(&etag)) {
            true => Reply {
                status: 304,
                headers: Vec::new(),
                body: Vec::new(),
            },
            false => Reply::json(200, &state),
        };
        self.answer(info, guarded(reply).with("ETag", etag), &Summary::routine())
    }

    /// The page of a single delivery.
    fn delivery_detail(
        &self,
        desk: &Desk,
        id: &DeliveryId,
        request: &Request,
        info: &RequestInfo,
    ) -> Answer {
        match self.scheduler.find(id) {
            Some(delivery) => {
                let reply = guarded(desk::html(200, &self.delivery_page(desk, &delivery)));
                Answer::Now(self.answer(info, reply, &Summary::note("")))
            }
            None => self.refuse_staff(info, request, 404, NO_DELIVERY),
        }
    }

    /// Starts a job of the probe. The reply, a redirect to the page, waits for it.
    fn job(
        self: &Arc<Self>,
        desk: &Desk,
        job: ProbeJob,
        back: String,
        info: RequestInfo,
    ) -> Answer {
        let (site, job) = (Arc::clone(self), desk.probe.ask(job));
        wait_for(job, limits::PROBE_WAIT, move || {
            site.answer(&info, redirect(&back), &Summary::note(""))
        })
    }

    /// The reply to a request of staff that cannot be answered.
    fn refuse_staff(
        &self,
        info: &RequestInfo,
        request: &Request,
        status: u16,
        text: &str,
    ) -> Answer {
        let (method, path) = (&request.method, &request.path);
        let rejected = Rejected::new(path, status, "", text);
        let rejected = self.for_browser(method, path, &request.headers, rejected);
        Answer::Now(self.answer(info, guarded(rejected.reply), &Summary::note(text)))
    }

    fn rendered(&self, desk: &Desk, base: &str) -> Reply {
        guarded(desk::html(200, &self.settings_html(desk, base)))
    }

    /// Returns true if the last inspection is recent, and nothing has ended since.
    fn is_fresh(&self, desk: &Desk) -> bool {
        let Some(look) = desk.probe.last() else {
            return false;
        };
        let ended = self
            .scheduler
            .history()
            .iter()
            .filter_map(|delivery| delivery.ended)
            .max();
        look.at.elapsed() < limits::LOOK_FRESH && ended.is_none_or(|ended| ended < look.unix)
    }

    fn order(&self, desk: &Desk, stack: &Stack, order: Order, action: &str) {
        let failed = |why: &str| {
            let title = match action {
                "rollback" => "The rollback was not started",
                _ => "The update was not started",
            };
            let marker = self.stack_marker(desk, stack);
            let lines = vec![why.to_owned()];
            desk.probe.show_note(&stack.key, title, lines, None, marker);
        };
        let id = match secret::random() {
            Ok(bytes) => DeliveryId::new(bytes),
            Err(error) => return failed(&error.to_string()),
        };
        let accepted = Accepted {
            id: id.clone(),
            hook: SETTINGS_PAGE.to_owned(),
            strict: true,
            wait: Duration::ZERO,
            time: None,
            orders: vec![RequestedRedeploy {
                stack: stack.key.clone(),
                name: stack.name.clone(),
                order,
            }],
            replay: None,
            signed_at: None,
            duplicate: None,
            event: action.to_owned(),
        };
        match self.scheduler.accept(accepted) {
            Ok(_) => {
                desk.probe.forget_note(&stack.key);
                log::info!(
                    hook = SETTINGS_PAGE,
                    delivery = id.as_str(),
                    stacks = stack.key.as_str();
                    "{action} asked for by staff"
                );
            }
            Err(NotAccepted::Busy) => {
                failed("an update of this stack is under way; wait for its end and try again");
            }
            // What staff ask for carries no signed time.
            Err(NotAccepted::Full | NotAccepted::Unremembered) => {
                failed("too many deliveries are open")
            }
            Err(NotAccepted::NotWritten) => failed("the journal cannot be written"),
            Err(NotAccepted::Stopping) => failed("stackhook is shutting down"),
        }
    }
}

/// Waits for a job of the probe, then renders the reply; the page shows how far the job got.
fn wait_for(job: u64, at_most: Duration, reply: impl FnOnce() -> Reply + Send + 'static) -> Answer {
    Answer::Wait(Wait {
        awaited: Awaited::Job(job),
        until: Instant::now() + at_most,
        finish: Box::new(move |_| reply()),
    })
}

/// Accepts a form only from the page of this process.
fn check_form(desk: &Desk, headers: &Headers, token: &str) -> Result<(), String> {
    own_page(desk.public_url.as_deref(), headers)?;
    if desk.token.is(token.as_bytes()) {
        Ok(())
    } else {
        Err(
            "this form is from before the last restart, or from elsewhere; load the page again"
                .to_owned(),
        )
    }
}

fn redirect(location: &str) -> Reply {
    guarded(Reply::text(303, "").with("Location", location.to_owned()))
}
