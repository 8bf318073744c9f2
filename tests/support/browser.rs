//! A real browser: Debian's chromium, controlled over WebDriver (W3C) through its chromedriver. Shares nothing with the product.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client;

/// The key of an element in WebDriver's JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// The time limit for everything that a page does by itself.
const SOON: Duration = Duration::from_secs(30);

/// The accessibility rules, installed by `.ci/run`.
const AXE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/tools/node_modules/axe-core/axe.min.js"
);
/// Runs them, and returns the violations to WebDriver.
const RUN_AXE: &str = "
    const done = arguments[arguments.length - 1], rules = {'target-size': {enabled: true}};
    const text = rule => rule.id + ': ' + rule.nodes.map(node => node.html.slice(0, 200) + ' ' + node.failureSummary).join('; ');
    axe.run(document, {rules}).then(result => done(result.violations.map(text)), error => done([String(error)]));";

pub(crate) const TAB: char = '\u{e004}';
pub(crate) const ENTER: char = '\u{e007}';

/// A browser with one window; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// Starts chromedriver and a browser that resolves `stackhook.test` to this machine: a name that is not a secure context. Tries
    /// several times, because on a busy machine the driver may not get its port and the browser may start too slowly.
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
        // Later output must not fill the pipe.
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
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": options,
            "acceptInsecureCerts": true,
            // On a busy machine the accessibility rules take longer than the default of 30 s.
            "timeouts": {"script": 180_000},
        }}});
        let answer = browser.exchange("POST", "/session", Some(&wanted));
        let session = answer["value"]["sessionId"].as_str();
        browser.session = session.ok_or_else(|| answer.to_string())?.to_owned();
        Ok(browser)
    }

    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// The visible text of the first element that matches.
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

    /// Runs a script on the page and returns its result.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.run_with(script, json!([]))
    }

    /// The same, with arguments.
    #[track_caller]
    pub(crate) fn run_with(&self, script: &str, arguments: Value) -> Value {
        self.post(
            "/execute/sync",
            &json!({"script": script, "args": arguments}),
        )
    }

    /// The violations that axe-core finds on the page, a text each.
    #[track_caller]
    pub(crate) fn axe(&self) -> Value {
        let source = std::fs::read_to_string(AXE)
            .unwrap_or_else(|error| panic!("{AXE}: {error}; .ci/run installs it"));
        let script = format!("{source};{RUN_AXE}");
        self.post("/execute/async", &json!({"script": script, "args": []}))
    }

    /// Presses a key, such as `TAB`.
    #[track_caller]
    pub(crate) fn press_key(&self, key: char) {
        let strokes = json!([{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]);
        self.actions(json!({"type": "key", "id": "keyboard", "actions": strokes}));
    }

    /// Taps twice on the middle of an element, as fast as a person can.
    #[track_caller]
    pub(crate) fn double_tap(&self, css: &str) {
        let middle = self.run_with(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();
             return [Math.round(b.x + b.width / 2), Math.round(b.y + b.height / 2)]",
            json!([css]),
        );
        let tap = [
            json!({"type": "pointerMove", "x": middle[0], "y": middle[1]}),
            json!({"type": "pointerDown", "button": 0}),
            json!({"type": "pointerUp", "button": 0}),
        ];
        let pause = [json!({"type": "pause", "duration": 150})];
        let strokes: Vec<&Value> = tap.iter().chain(&pause).chain(&tap).collect();
        let pointer = json!({"pointerType": "mouse"});
        self.actions(
            json!({"type": "pointer", "id": "mouse", "parameters": pointer, "actions": strokes}),
        );
    }

    #[track_caller]
    fn actions(&self, source: Value) {
        self.post("/actions", &json!({"actions": [source]}));
    }

    /// Runs a command of the DevTools protocol that WebDriver does not have.
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

    /// Waits until the condition holds; `what` is for the message of a failure.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, there: impl Fn() -> bool) {
        let until = Instant::now() + SOON;
        while !there() {
            assert!(
                Instant::now() < until,
                "{what:?} did not come:\n{}",
                self.page_now()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The page's text; empty while another page loads.
    fn page_now(&self) -> String {
        let script =
            json!({"script": "return document.body ? document.body.innerText : ''", "args": []});
        let answer = self.try_call("POST", "/execute/sync", Some(&script));
        let text = answer
            .ok()
            .and_then(|text| text.as_str().map(str::to_owned));
        text.unwrap_or_default()
    }

    /// Acts on an element; finds it and tries again while that fails, because another page may be loading.
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

    /// Writes a picture of the whole page to the directory in the variable SCREENSHOTS, if it is set.
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

    /// Returns the value of the answer; an error fails the test.
    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.try_call("POST", path, Some(body))
            .unwrap_or_else(|error| panic!("{path} {body}: {error}"))
    }

    /// Returns the value of the answer, or the error.
    fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Value> {
        let path = format!("/session/{}{path}", self.session);
        let mut answer = self.exchange(method, &path, body);
        let value = answer["value"].take();
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
