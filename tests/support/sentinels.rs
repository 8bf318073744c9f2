//! Secrets that a test configured, and all output of the product: when the test ends, no secret may be in the output.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Checks for leaks when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Sentinels(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    secrets: Vec<String>,
    /// Place and text of each output.
    seen: Vec<(String, String)>,
}

impl Sentinels {
    /// Registers a secret; output from before counts, too.
    pub(crate) fn hide(&self, secret: &str) {
        assert!(secret.len() >= 5, "{secret:?} would be found anywhere");
        let mut inner = self.0.lock().unwrap();
        inner.secrets.push(secret.to_owned());
        // The form used by Basic authentication and `X-Registry-Auth`.
        inner.secrets.push(STANDARD.encode(secret));
    }

    /// Records output of the product.
    pub(crate) fn saw(&self, place: &str, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.0.lock().unwrap().seen.push((place.to_owned(), text));
    }

    /// The first secret found in the output.
    fn leak(&self) -> Option<String> {
        let inner = self.0.lock().unwrap();
        let mut secrets = inner.secrets.iter().map(String::as_str).chain(["ptr_"]);
        secrets.find_map(|secret| {
            let (place, text) = inner.seen.iter().find(|(_, text)| text.contains(secret))?;
            Some(format!("{secret:?} was seen on {place}:\n{text}"))
        })
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        // A second panic would abort the process before the first is reported.
        if !std::thread::panicking()
            && let Some(leak) = self.leak()
        {
            panic!("{leak}");
        }
    }
}

#[test]
fn finds_a_leak_in_any_encoding() {
    #[track_caller]
    fn check(text: &str, found: bool) {
        let sentinels = Sentinels::default();
        sentinels.saw("stderr", b"harmless");
        sentinels.saw("a reply", text.as_bytes());
        sentinels.hide("hunter2-hunter2");
        assert_eq!(sentinels.leak().is_some(), found, "{text}");
        std::mem::forget(sentinels);
    }
    check("nothing in it", false);
    check("password: hunter2-hunter2.", true);
    check("Authorization: Basic aHVudGVyMi1odW50ZXIy", true);
    check("key=ptr_abc", true);
    let dropped = std::panic::catch_unwind(|| {
        let sentinels = Sentinels::default();
        sentinels.saw("stdout", b"ptr_abc");
    });
    assert!(dropped.is_err(), "dropping tells");
}
