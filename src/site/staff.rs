//! What staff may do: see the page, and act on it. Who is staff was decided by `admit`; here it is made sure that this very page asked.

use std::time::{Duration, Instant};

use crate::delivery::{Accepted, Asked as AskedOf, DeliveryId};
use crate::limits;
use crate::message::{self, Reply};
use crate::request::{Answer, Asked, Awaited, Request, Wait};
use crate::scheduler::NotAccepted;
use crate::scheduler::probe::Job;
use crate::secret;
use crate::signature::Verified;
use crate::site::desk::{Desk, SETTINGS_PAGE, base, guarded, own_page};
use crate::site::lines::About;
use crate::site::{Rejected, Site};
use crate::stack::Stack;
use crate::stack::order::Order;

impl Site {
    /// The page, after a fresh look at Portainer where what is known is old.
    pub(super) fn page(&self, request: &Request, asked: Asked) -> Answer {
        let Some(desk) = &self.desk else {
            return text(404, "there is no settings page");
        };
        if !request.path.ends_with('/') {
            // Relative links on the page need the slash.
            let reply = Reply::text(303, "").with("Location", "webhooks/");
            return Answer::now(guarded(reply));
        }
        let base = base(desk, &request.headers);
        let reply = self.rendered(desk, &base);
        if self.is_fresh(desk) {
            self.log_answered(&asked, &reply, &About::not_done(""));
            return Answer::now(reply);
        }
        let look = desk.probe.ask(Job::Look);
        let wait = Wait {
            what: Awaited::Page { look, base },
            until: Instant::now() + limits::LOOK_WAIT,
            preference: None,
            asked,
        };
        Answer {
            reply,
            wait: Some(wait),
        }
    }

    /// One of the page's buttons.
    pub(super) fn act(&self, request: &Request, verified: &Verified<'_>, asked: Asked) -> Answer {
        let Some(desk) = &self.desk else {
            return text(404, "there is no settings page");
        };
        let form = message::form(verified.bytes());
        let field = |name: &str| {
            let found = form.iter().find(|(own, _)| own == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        if let Err(words) = own_page(desk.public_url.as_deref(), &request.headers) {
            return self.forged(&asked, &words);
        }
        if !desk.token.is(field("token").as_bytes()) {
            let words = "this form is from before stackhook was started again, or from elsewhere; load the page again";
            return self.forged(&asked, words);
        }
        let (action, key) = (field("action"), field("stack"));
        // Relative, so that it is right under whatever path a proxy publishes it.
        let page = match request.path.ends_with('/') {
            true => "./",
            false => "webhooks/",
        };
        if action == "test" {
            return self.job(desk, Job::Look, format!("{page}#connection"), asked);
        }
        let Some(stack) = self.stacks.iter().find(|stack| stack.key.as_str() == key) else {
            return text(400, "there is no such stack");
        };
        let (key, back) = (stack.key.clone(), format!("{page}#stack-{}", stack.key));
        match action {
            "dry-run" => self.job(desk, Job::DryRun(key), back, asked),
            "pause" => self.job(desk, Job::Pause(key), back, asked),
            "resume" => self.job(desk, Job::Resume(key), back, asked),
            "update" | "force" | "rollback" => {
                let order = Order {
                    force: action == "force",
                    rollback: action == "rollback",
                    staff: true,
                    ..Order::default()
                };
                self.order(desk, stack, order, action);
                let reply = see(&back);
                self.log_answered(&asked, &reply, &About::not_done(action));
                Answer::now(reply)
            }
            _ => text(400, "there is no such action"),
        }
    }

    /// Something for the probe; the reply, which leads back to the page, waits for it.
    fn job(&self, desk: &Desk, job: Job, back: String, asked: Asked) -> Answer {
        let job = desk.probe.ask(job);
        Answer {
            reply: see(&back),
            wait: Some(Wait {
                what: Awaited::Job { job, back },
                until: Instant::now() + limits::PROBE_WAIT,
                preference: None,
                asked,
            }),
        }
    }

    /// For the page or for what was asked on it.
    pub(super) fn wait_for_probe(&self, wait: &Wait, listening: &dyn Fn() -> bool) -> Reply {
        let Some(desk) = &self.desk else {
            return text(404, "there is no settings page").reply;
        };
        let done = |number| loop {
            let look = (Instant::now() + limits::STILL_THERE).min(wait.until);
            let done = desk.probe.wait(number, look);
            if done || Instant::now() >= wait.until || !listening() || self.scheduler.is_over() {
                break;
            }
        };
        let reply = match &wait.what {
            Awaited::Page { look, base } => {
                done(*look);
                self.rendered(desk, base)
            }
            Awaited::Job { job, back } => {
                done(*job);
                see(back)
            }
            Awaited::Delivery(_) => text(404, "this is no job of the settings page").reply,
        };
        self.log_answered(&wait.asked, &reply, &About::not_done(""));
        reply
    }

    fn rendered(&self, desk: &Desk, base: &str) -> Reply {
        let page = desk.template.render(&self.fields(desk, base));
        let mut reply = Reply::text(200, &page);
        reply.headers = vec![("Content-Type".into(), "text/html; charset=utf-8".into())];
        guarded(reply).with("Content-Security-Policy", desk.policy.clone())
    }

    /// Whether what was seen is young enough, and nothing has ended since.
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
                "rollback" => "It was not rolled back",
                _ => "It was not updated",
            };
            desk.probe.tell(&stack.key, title, vec![why.to_owned()]);
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
            orders: vec![AskedOf {
                stack: stack.key.clone(),
                name: stack.name.clone(),
                order,
            }],
            replay: None,
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

    fn forged(&self, asked: &Asked, words: &str) -> Answer {
        let rejected = Rejected::plain(asked.route, 403, "forged_form", words);
        self.log_rejected(asked, &rejected);
        Answer::now(guarded(rejected.reply))
    }
}

fn see(back: &str) -> Reply {
    guarded(Reply::text(303, "").with("Location", back.to_owned()))
}

fn text(status: u16, words: &str) -> Answer {
    Answer::now(guarded(Reply::text(status, &format!("{words}\n"))))
}
