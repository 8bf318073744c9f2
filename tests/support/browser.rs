//! A real browser: Debian's chromium, told what to do over WebDriver (W3C) by its chromedriver. Shares nothing with the product.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client;

/// What WebDriver calls an element in its JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// How long anything may take that a page does by itself.
const SOON: Duration = Duration::from_secs(30);

/// A browser with one window; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// Starts chromedriver and a browser that finds `stackhook.test` on this machine: a name that is no secure context. More than
    /// once, for either gives up now and then on a busy machine: the driver when its port is free for one family of addresses
    /// only, the browser when it is slow to start.
    #[track_caller]
    pub(crate) fn start() -> Browser {
        let mut last = String::new();
        for _ in 0..3 {
            match Browser::start_once() {
                Ok(browser) => return browser,
                Err(why) => last = why,
            }
        }
        panic!("no browser: {last}");
    }

    fn start_once() -> Result<Browser, String> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (Debian: chromium-driver)");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        // Whatever it says later must not fill its pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser = Browser {
            driver,
            address: SocketAddr::from(([127, 0, 0, 1], port.unwrap_or_default())),
            session: String::new(),
        };
        if port.is_none() {
            return Err("chromedriver does not listen".to_owned());
        }
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP stackhook.test 127.0.0.1",
            "--window-size=1200,900",
        ];
        let options = json!({"args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let said = browser.exchange("POST", "/session", Some(&wanted));
        let session = said["value"]["sessionId"].as_str();
        browser.session = session.ok_or_else(|| said.to_string())?.to_owned();
        Ok(browser)
    }

    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// The element's text as a person sees it; of several the first.
    #[track_caller]
    pub(crate) fn text(&self, css: &str) -> String {
        let text = self.with(css, |element| {
            self.try_call("GET", &format!("/element/{element}/text"), None)
        });
        text.as_str().unwrap().to_owned()
    }

    /// The whole page's text.
    #[track_caller]
    pub(crate) fn page(&self) -> String {
        self.text("body")
    }

    #[track_caller]
    pub(crate) fn click(&self, css: &str) {
        self.with(css, |element| {
            self.try_call(
                "POST",
                &format!("/element/{element}/click"),
                Some(&json!({})),
            )
        });
    }

    pub(crate) fn has(&self, css: &str) -> bool {
        let found = self.post("/elements", &json!({"using": "css selector", "value": css}));
        !found.as_array().unwrap().is_empty()
    }

    /// What a script on the page returns.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// A command of the DevTools protocol, for what WebDriver cannot.
    #[track_caller]
    pub(crate) fn devtools(&self, command: &str, parameters: Value) -> Value {
        let call = json!({"cmd": command, "params": parameters});
        self.post("/goog/cdp/execute", &call)
    }

    /// Waits until the page's text has these words.
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        self.wait(words, || self.page_now().contains(words));
    }

    /// Waits until the page has a text, and these words are not in it.
    #[track_caller]
    pub(crate) fn wait_until_gone(&self, words: &str) {
        let gone = |page: &str| !page.is_empty() && !page.contains(words);
        self.wait(words, || gone(&self.page_now()));
    }

    /// Waits until the element's text is this.
    #[track_caller]
    pub(crate) fn wait_for_text(&self, css: &str, text: &str) {
        self.wait(text, || self.text(css) == text);
    }

    #[track_caller]
    fn wait(&self, what: &str, there: impl Fn() -> bool) {
        let until = Instant::now() + SOON;
        while !there() {
            assert!(
                Instant::now() < until,
                "{what:?} is waited for in vain:\n{}",
                self.page_now()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The page's text, perhaps nothing while pages come and go.
    fn page_now(&self) -> String {
        let script =
            json!({"script": "return document.body ? document.body.innerText : ''", "args": []});
        let said = self.try_call("POST", "/execute/sync", Some(&script));
        let text = said.ok().and_then(|text| text.as_str().map(str::to_owned));
        text.unwrap_or_default()
    }

    /// Does something with an element, and finds it anew as long as that fails: when pages come and go, an element of the last one is
    /// not there any more, or not yet where it will be.
    #[track_caller]
    fn with(&self, css: &str, act: impl Fn(&str) -> Result<Value, Value>) -> Value {
        let until = Instant::now() + SOON;
        let find = json!({"using": "css selector", "value": css});
        loop {
            let found = self.try_call("POST", "/element", Some(&find));
            let done =
                found.and_then(|found| act(found[ELEMENT].as_str().expect("an element has an id")));
            match done {
                Ok(done) => return done,
                Err(error) => assert!(Instant::now() < until, "{css}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes a picture of the whole page, where the environment names a directory for pictures.
    pub(crate) fn picture(&self, name: &str) {
        let Some(directory) = std::env::var_os("SCREENSHOTS") else {
            return;
        };
        let shot = self.devtools(
            "Page.captureScreenshot",
            json!({"captureBeyondViewport": true}),
        );
        let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), png).unwrap();
    }

    /// The value of the answer; an error fails the test.
    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.try_call("POST", path, Some(body))
            .unwrap_or_else(|error| panic!("{path} {body}: {error}"))
    }

    /// The value of the answer, or the error.
    fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Value> {
        let path = format!("/session/{}{path}", self.session);
        let mut said = self.exchange(method, &path, body);
        let value = said["value"].take();
        match value["error"].is_string() {
            true => Err(value),
            false => Ok(value),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = [("Content-Type", "application/json")];
        let request = client::request(self.address, method, path, &headers, body.as_bytes());
        let reply = client::exchange(self.address, &request);
        let text = String::from_utf8_lossy(&reply);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.exchange("DELETE", &format!("/session/{}", self.session), None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
