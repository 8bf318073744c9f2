//! Starts the real program with its own environment and files. Everything it prints or sends is searched for secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::{self, Reply};
use super::fake::Fake;
use super::sentinels::Sentinels;
use super::sign;
use super::temp_dir::TempDir;

/// Deadline for anything that should happen at once.
const SOON: Duration = Duration::from_secs(20);

/// The program under test, or the released one named by `STACKHOOK_BINARY`.
fn program() -> OsString {
    let named = std::env::var_os(BINARY);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_stackhook").into())
}

/// Returns true for a released program; only then do measurements mean something.
pub(crate) fn is_released() -> bool {
    std::env::var_os(BINARY).is_some()
}

const BINARY: &str = "STACKHOOK_BINARY";

/// Environment variables and files of a program; nothing is inherited from the test process.
#[derive(Debug)]
pub(crate) struct Setup {
    dir: TempDir,
    environment: BTreeMap<String, String>,
    /// Arguments of `ulimit` before the program starts.
    limit: Option<String>,
    /// User id to run it as, if not that of the test process.
    user: Option<u32>,
    sentinels: Arc<Sentinels>,
}

/// Exit code and output of a finished run.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Setup {
    /// Creates an empty configuration.
    pub(crate) fn new() -> Setup {
        Setup {
            dir: TempDir::new(),
            environment: BTreeMap::new(),
            limit: None,
            user: None,
            sentinels: Arc::default(),
        }
    }

    /// Configures this Portainer with its administrator's API key.
    pub(crate) fn with(portainer: &Fake) -> Setup {
        let setup = Setup::new()
            .env("PORTAINER_URL", &portainer.url())
            .env("PORTAINER_API_KEY", portainer.api_key());
        setup.secret(portainer.password())
    }

    /// Sets a variable. Its value counts as a secret if the name suggests it.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Setup {
        let secret = ["SECRET", "PASSWORD", "API_KEY", "NOTIFY_URL"];
        if secret.iter().any(|word| name.ends_with(word)) && !value.is_empty() {
            value.lines().for_each(|line| self.sentinels.hide(line));
        }
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes a file of mode 0600 in the working directory; register secrets in it with [`Setup::secret`].
    pub(crate) fn file(self, name: &str, text: &str) -> Setup {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// Registers a secret that must not appear in any output.
    pub(crate) fn secret(self, secret: &str) -> Setup {
        self.sentinels.hide(secret);
        self
    }

    /// Lowers a resource limit, with the arguments of `ulimit`: `-n 64`.
    pub(crate) fn limited(mut self, limit: &str) -> Setup {
        self.limit = Some(limit.to_owned());
        self
    }

    /// Runs the program as another user (needs root), from a copy in the working directory.
    pub(crate) fn run_by(mut self, user: u32) -> Setup {
        let copy = self.dir.path().join("stackhook");
        std::fs::copy(program(), copy).unwrap();
        self.user = Some(user);
        self
    }

    /// The working directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command and waits until it exits.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments, Stdio::piped()).ended(SOON * 6)
    }

    /// Runs a command, sends SIGINT as soon as `ready`, and waits until it exits.
    #[track_caller]
    pub(crate) fn interrupt(&self, arguments: &[&str], ready: impl Fn() -> bool) -> Output {
        let running = self.spawn(arguments, Stdio::piped());
        let deadline = Instant::now() + SOON;
        while !ready() {
            assert!(Instant::now() < deadline, "{}", running.stderr.text());
            thread::sleep(Duration::from_millis(2));
        }
        let sent = Command::new("sh")
            .args(["-c", "kill -s INT \"$0\"", &running.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        running.ended(SOON)
    }

    /// Runs a command with another stdout.
    #[track_caller]
    pub(crate) fn run_into(&self, stdout: Stdio, arguments: &[&str]) -> Output {
        self.spawn(arguments, stdout).ended(SOON)
    }

    /// Runs a command whose stdout is a pipe without a reader.
    #[track_caller]
    pub(crate) fn run_into_closed_pipe(&self, arguments: &[&str]) -> Output {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.run_into(Stdio::from(writer), arguments)
    }

    /// Starts the server and waits until it listens, by default on a free port.
    #[track_caller]
    pub(crate) fn serve(mut self) -> Stackhook {
        let listen = "STACKHOOK_LISTEN".to_owned();
        self.environment
            .entry(listen)
            .or_insert_with(|| "127.0.0.1:0".to_owned());
        let running = self.spawn(&["serve"], Stdio::piped());
        let address = running.stderr.wait_for(SOON, |text| {
            let (_, rest) = text.split_once("listening on http://")?;
            let end = rest.find(
                |character: char| !matches!(character, '0'..='9' | 'a'..='f' | '.' | ':' | '[' | ']'),
            )?;
            rest[..end].parse().ok()
        });
        let Some(address) = address else {
            panic!("does not listen: {}", running.stderr.text());
        };
        Stackhook {
            address,
            running,
            setup: self,
        }
    }

    #[track_caller]
    fn spawn(&self, arguments: &[&str], stdout: Stdio) -> Running {
        let program = match self.user {
            None => program(),
            Some(_) => self.dir.path().join("stackhook").into(),
        };
        let mut command = match &self.limit {
            None => Command::new(program),
            Some(limit) => {
                let mut shell = Command::new("sh");
                let line = format!("ulimit {limit} && exec \"$0\" \"$@\"");
                shell.args(["-c", &line]).arg(program);
                shell
            }
        };
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let mut child = command.spawn().unwrap();
        Running {
            stdout: Captured::start(child.stdout.take()),
            stderr: Captured::start(child.stderr.take()),
            child,
            sentinels: Arc::clone(&self.sentinels),
        }
    }
}

/// A running server; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Stackhook {
    /// Address it listens on.
    pub(crate) address: SocketAddr,
    running: Running,
    setup: Setup,
}

impl Stackhook {
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Reply {
        self.request("GET", target, &[], b"")
    }

    #[track_caller]
    pub(crate) fn post(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.request("POST", target, headers, body)
    }

    /// Posts a body with the signature of sender `generic`. The signature counts as a secret.
    #[track_caller]
    pub(crate) fn signed(&self, target: &str, secret: &str, body: &str) -> Reply {
        self.signed_with(target, secret, &[], body)
    }

    /// Posts a signed body with further headers.
    #[track_caller]
    pub(crate) fn signed_with(
        &self,
        target: &str,
        secret: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let signature = sign::hex_hmac(secret, body.as_bytes());
        self.setup.sentinels.hide(&signature);
        let mut all = vec![("X-Portainer-Signature", signature.as_str())];
        all.extend(headers);
        self.post(target, &all, body.as_bytes())
    }

    #[track_caller]
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        client::parse(&self.raw(&client::request(
            self.address,
            method,
            target,
            headers,
            body,
        )))
    }

    /// Sends bytes unchanged; returns the reply, possibly empty.
    pub(crate) fn raw(&self, request: &[u8]) -> Vec<u8> {
        let reply = client::exchange(self.address, request);
        self.setup.sentinels.saw("a reply", &reply);
        reply
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.running.stderr.text()
    }

    /// Waits until the log contains a text.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, words: &str) {
        let found = |text: &str| text.contains(words).then_some(());
        if self.running.stderr.wait_for(SOON, found).is_none() {
            panic!("{words:?} is not in the log:\n{}", self.log());
        }
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.running.child.id()
    }

    /// The configuration it was started with, for commands beside it.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.id().to_string()])
            .status();
        assert!(sent.unwrap().success(), "SIG{name}");
    }

    /// Waits until it exits, after a signal.
    #[track_caller]
    pub(crate) fn wait(self) -> (Output, Setup) {
        (self.running.ended(SOON), self.setup)
    }

    /// Kills it without a chance to react.
    pub(crate) fn kill(mut self) -> (Output, Setup) {
        let _ = self.running.child.kill();
        self.wait()
    }
}

/// A process and its output; killed, and its output searched for secrets, when it is dropped.
#[derive(Debug)]
struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
    sentinels: Arc<Sentinels>,
}

impl Running {
    #[track_caller]
    fn ended(mut self, within: Duration) -> Output {
        let until = Instant::now() + within;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                None => panic!("still running: {}", self.stderr.text()),
            }
        };
        Output {
            code: status.code(),
            stdout: self.stdout.end(),
            stderr: self.stderr.end(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.sentinels.saw("stdout", self.stdout.end().as_bytes());
        self.sentinels.saw("stderr", self.stderr.end().as_bytes());
    }
}

/// The output of a pipe so far.
#[derive(Debug)]
struct Captured {
    said: Arc<(Mutex<Vec<u8>>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    /// Starts a thread that reads to the end.
    fn start(pipe: Option<impl Read + Send + 'static>) -> Captured {
        let said = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let to = Arc::clone(&said);
        let read = move |mut pipe: Box<dyn Read + Send>| {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut part) {
                to.0.lock().unwrap().extend(&part[..read]);
                to.1.notify_all();
            }
        };
        let reader = pipe.map(|pipe| thread::spawn(move || read(Box::new(pipe))));
        Captured { said, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.said.0.lock().unwrap()).into_owned()
    }

    /// The whole output, once the process has exited.
    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }

    /// Waits until `found` returns a value; `None` at the deadline or at the end of the output.
    fn wait_for<T>(&self, within: Duration, found: impl Fn(&str) -> Option<T>) -> Option<T> {
        let until = Instant::now() + within;
        loop {
            if let Some(there) = found(&self.text()) {
                return Some(there);
            }
            let ended = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            if ended || Instant::now() > until {
                return found(&self.text());
            }
            let (said, more) = &*self.said;
            // A short wait, because the end of the pipe sends no notification.
            let _ = more.wait_timeout(said.lock().unwrap(), Duration::from_millis(20));
        }
    }
}
