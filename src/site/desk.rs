//! Access to the settings page: the staff password, the same-origin check of forms, and the headers of every reply to staff.

use std::sync::{Arc, LazyLock};

use crate::config::Setting;
use crate::config::Staff;
use crate::http::Request;
use crate::message::{Headers, Reply};
use crate::redact::escape_lines;
use crate::scheduler::probe::Probe;
use crate::secret::{Secret, sha256, to_base64};
use crate::signature::{self, Scheme, SchemeName, SignedRequest, TokenKind, Verified};
use crate::site::auth::Rejected;

/// The reason code of a request without a password.
pub(super) const NO_PASSWORD: &str = "no_password";
/// The reason code of a request with a wrong user or password.
pub(super) const WRONG_PASSWORD: &str = "wrong_password";
/// The name of the page among the hooks of deliveries: its space is in no hook's name.
pub(super) const SETTINGS_PAGE: &str = "settings page";

/// The style of every page; the policy allows it by its hash.
pub(super) const STYLE: &str = include_str!("page/style.css");
/// The script of every page; the policy allows it by its hash.
pub(super) const SCRIPT: &str = include_str!("page/script.js");

/// Everything that the settings page needs: password, form token, configuration and probe.
pub(crate) struct Desk {
    scheme: Scheme,
    /// `user:password`, as Basic auth has it.
    secret: Secret,
    /// Random for each process; every form carries it.
    pub(super) token: Secret,
    pub(super) shown: Vec<Setting>,
    pub(super) public_url: Option<String>,
    /// Inspects Portainer for the page.
    pub(crate) probe: Arc<Probe>,
}

impl Desk {
    /// `shown` is the effective configuration.
    ///
    /// Errors: the system has no random bytes, or the password cannot be one.
    pub(crate) fn new(
        staff: &Staff,
        public_url: Option<String>,
        shown: Vec<Setting>,
        probe: Arc<Probe>,
    ) -> Result<Desk, String> {
        let both = format!("{}:{}", staff.user, staff.password.expose());
        Ok(Desk {
            scheme: Scheme {
                header: "authorization".to_owned(),
                kind: TokenKind::Basic,
                ..Scheme::plain(SchemeName::Token)
            },
            secret: Secret::new(both).map_err(|why| format!("the staff password {why}"))?,
            token: Secret::generate(32).map_err(|error| error.to_string())?,
            shown,
            public_url,
            probe,
        })
    }

    /// Checks user and password.
    pub(super) fn verify<'r>(
        &self,
        request: &'r Request,
        unix: u64,
    ) -> Result<Verified<'r>, Rejected> {
        let given = SignedRequest {
            headers: &request.headers,
            query: None,
            body: &request.body,
        };
        let secrets = std::slice::from_ref(&self.secret);
        signature::verify(&self.scheme, secrets, given, unix).map_err(|_| {
            let (reason, words) = match request.headers.get("authorization") {
                None => (NO_PASSWORD, "sign in as staff"),
                Some(_) => (WRONG_PASSWORD, "the staff user or password is wrong"),
            };
            let rejected = Rejected::new(&request.path, 401, reason, words);
            let challenge = "Basic realm=\"stackhook\", charset=\"UTF-8\"";
            Rejected {
                reply: rejected.reply.with("WWW-Authenticate", challenge),
                ..rejected
            }
        })
    }
}

/// The metrics in the text format of Prometheus.
pub(super) fn metrics(text: &str) -> Reply {
    let mut reply = Reply::text(200, text);
    reply.headers = vec![(
        "Content-Type".into(),
        "text/plain; version=0.0.4; charset=utf-8".into(),
    )];
    reply
}

/// Adds the headers of every reply to staff: against caching, framing, type sniffing, and referrers on other sites. `same-origin`,
/// because with `no-referrer` browsers leave the Origin out of forms.
pub(super) fn guarded(reply: Reply) -> Reply {
    reply
        .with("Cache-Control", "no-store")
        .with("X-Content-Type-Options", "nosniff")
        .with("X-Frame-Options", "DENY")
        .with("Referrer-Policy", "same-origin")
        .with("Cross-Origin-Resource-Policy", "same-origin")
        .with("Cross-Origin-Opener-Policy", "same-origin")
}

/// Checks that this page itself sent the form: by `Sec-Fetch-Site`, or by `Origin` over plain HTTP, where browsers leave it out. Two
/// lines of either are never from a browser.
pub(super) fn own_page(public_url: Option<&str>, headers: &Headers) -> Result<(), String> {
    let lines = |name: &str| headers.all(name).collect::<Vec<_>>();
    let site = lines("sec-fetch-site");
    if site == ["same-origin"] {
        return Ok(());
    }
    let own = public_url.map(origin);
    let host = headers.get("host").unwrap_or_default();
    let given = match lines("origin") {
        none if none.is_empty() => "nowhere".to_owned(),
        given => given.join(", "),
    };
    let ours = |own: &str| own.eq_ignore_ascii_case(&given);
    let is_host =
        !host.is_empty() && (ours(&format!("http://{host}")) || ours(&format!("https://{host}")));
    let is_ours = own.is_some_and(ours) || is_host;
    match site.is_empty() && is_ours {
        true => Ok(()),
        false => Err(format!(
            "nothing was done: the form came from {given:?}, and this page is at {:?}; if that is where you see it, set \"public_url\" (STACKHOOK_PUBLIC_URL) to the address in your browser",
            own.map_or_else(|| format!("http://{host}"), str::to_owned)
        )),
    }
}

/// A page that carries the style and perhaps the script.
pub(super) fn html(status: u16, page: &str) -> Reply {
    static POLICY: LazyLock<String> = LazyLock::new(policy);
    let reply = Reply {
        status,
        headers: vec![("Content-Type".into(), "text/html; charset=utf-8".into())],
        body: escape_lines(page).as_bytes().to_vec(),
    };
    reply.with("Content-Security-Policy", POLICY.as_str())
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(start..).and_then(|rest| rest.find('/'));
    end.and_then(|end| url.get(..start + end)).unwrap_or(url)
}

/// The beginning of the addresses on the page.
pub(super) fn base(desk: &Desk, headers: &Headers) -> String {
    desk.public_url
        .clone()
        .unwrap_or_else(|| format!("http://{}", headers.get("host").unwrap_or("localhost")))
}

/// Allows the style and the script by their hashes, and nothing else.
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", to_base64(&sha256(&[text.as_bytes()])));
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

#[cfg(test)]
mod tests;
