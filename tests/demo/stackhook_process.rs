//! stackhook in a process of its own: this very program, because `cargo run --example` builds no other one.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// In the environment of the process that is to be stackhook.
const BE_STACKHOOK: &str = "DEMO_PROCESS_IS_STACKHOOK";

/// Runs stackhook if this is the process for it. It ends with the demo, however that ends.
pub(crate) fn is_this() -> Option<ExitCode> {
    std::env::var_os(BE_STACKHOOK)?;
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Some(stackhook::main())
}

/// The process, which ends with this value.
pub(crate) struct Stackhook {
    pub(crate) address: SocketAddr,
    /// What it logs, line by line.
    pub(crate) log: Receiver<String>,
    child: Child,
}

impl Stackhook {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Result<Stackhook, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("this program is not found: {error}"))?;
        let mut child = Command::new(program)
            .arg("serve")
            .env_clear()
            .envs(settings.iter().copied())
            .env("STACKHOOK_LISTEN", "127.0.0.1:0")
            .env(BE_STACKHOOK, "1")
            // Open as long as the demo lives; see `is_this`.
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("stackhook does not start: {error}"))?;
        let stderr = child.stderr.take();
        let (say, log) = mpsc::channel();
        thread::spawn(move || {
            let lines = stderr
                .into_iter()
                .flat_map(|stderr| BufReader::new(stderr).lines());
            for line in lines.map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        let mut stackhook = Stackhook {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
            child,
        };
        stackhook.address = stackhook.listens()?;
        Ok(stackhook)
    }

    /// Where it listens, as soon as it says so.
    fn listens(&self) -> Result<SocketAddr, String> {
        let mut said = String::new();
        loop {
            let line = self
                .next_line()
                .map_err(|why| format!("{why}, after: {said}"))?;
            if let Some((_, address)) = line.split_once("listening on http://") {
                return address
                    .trim()
                    .parse()
                    .map_err(|_| format!("odd address {address:?}"));
            }
            said = line;
        }
    }

    /// Prints what it logs, up to a line with these words.
    pub(crate) fn print_log(&self, last: &str) -> Result<(), String> {
        loop {
            let line = self.next_line()?;
            println!("    {line}");
            if line.contains(last) {
                return Ok(());
            }
        }
    }

    fn next_line(&self) -> Result<String, String> {
        let line = self.log.recv_timeout(Duration::from_secs(20));
        line.map_err(|_| "stackhook says nothing more".to_owned())
    }
}

impl Drop for Stackhook {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
