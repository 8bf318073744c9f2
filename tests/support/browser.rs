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
    /// Starts chromedriver and a browser that finds `stackhook.test` on this machine: a name that is no secure context.
    #[track_caller]
    pub(crate) fn start() -> Browser {
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
            address: SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver listens"))),
            session: String::new(),
        };
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
        let session = browser.call("POST", "/session", Some(&wanted));
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// The element's text as a person sees it; of several the first.
    #[track_caller]
    pub(crate) fn text(&self, css: &str) -> String {
        let element = self.element(css);
        let text = self.get(&format!("/element/{element}/text"));
        text.as_str().unwrap().to_owned()
    }

    /// The whole page's text.
    #[track_caller]
    pub(crate) fn page(&self) -> String {
        self.text("body")
    }

    #[track_caller]
    pub(crate) fn click(&self, css: &str) {
        let element = self.element(css);
        self.post(&format!("/element/{element}/click"), &json!({}));
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
        let until = Instant::now() + SOON;
        while !self.page_now().contains(words) {
            assert!(
                Instant::now() < until,
                "{words:?} does not come:\n{}",
                self.page_now()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The same while pages come and go: an element of the last one is not there any more.
    fn page_now(&self) -> String {
        let script =
            json!({"script": "return document.body ? document.body.innerText : ''", "args": []});
        let path = format!("/session/{}/execute/sync", self.session);
        let said = self.exchange("POST", &path, Some(&script));
        said["value"].as_str().unwrap_or_default().to_owned()
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

    #[track_caller]
    fn element(&self, css: &str) -> String {
        let found = self.post("/element", &json!({"using": "css selector", "value": css}));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.call("GET", &format!("/session/{}{path}", self.session), None)
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        self.call("POST", &path, Some(body))
    }

    /// The value of the answer; an error fails the test.
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let mut said = self.exchange(method, path, body);
        let error = &said["value"]["error"];
        assert!(
            error.is_null() || !error.is_string(),
            "{path} {body:?}: {said}"
        );
        said["value"].take()
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
