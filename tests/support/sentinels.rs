//! Secrets that a test configured, and everything that the product let out: when the test ends, none of the one may be
//! found in the other.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Judges when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Sentinels(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    secrets: Vec<String>,
    /// Where something was seen, and what.
    seen: Vec<(String, String)>,
}

impl Sentinels {
    /// From now on, and looking back, nobody may see this.
    pub(crate) fn hide(&self, secret: &str) {
        assert!(secret.len() >= 5, "{secret:?} would be found anywhere");
        let mut inner = self.0.lock().unwrap();
        inner.secrets.push(secret.to_owned());
        // The way in which Basic authentication and `X-Registry-Auth` carry it.
        inner.secrets.push(STANDARD.encode(secret));
    }

    /// The product let this out.
    pub(crate) fn saw(&self, place: &str, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.0.lock().unwrap().seen.push((place.to_owned(), text));
    }

    /// What was seen that nobody may see.
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
        // A second panic would end the process before the first one was told.
        if !std::thread::panicking()
            && let Some(leak) = self.leak()
        {
            panic!("{leak}");
        }
    }
}

#[test]
fn a_leak_is_found_wherever_it_is() {
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
