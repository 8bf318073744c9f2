//! Runs stackhook in a child process: the demo's own program again, because `cargo run --example` builds no other one.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::output::shortened;

/// Environment variable that marks the child process.
const BE_STACKHOOK: &str = "DEMO_PROCESS_IS_STACKHOOK";

/// Runs stackhook if this is the child process. The child exits when the demo does: its standard input is then closed.
pub(crate) fn run_if_child() -> Option<ExitCode> {
    std::env::var_os(BE_STACKHOOK)?;
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Some(stackhook::main())
}

/// A running child process, killed when this value is dropped.
pub(crate) struct Stackhook {
    pub(crate) address: SocketAddr,
    /// Log lines as they arrive.
    pub(crate) log: Receiver<String>,
    child: Child,
}

impl Stackhook {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Result<Stackhook, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot find the path of the demo: {error}"))?;
        let mut child = Command::new(program)
            .arg("serve")
            .env_clear()
            .envs(settings.iter().copied())
            .env("STACKHOOK_LISTEN", "127.0.0.1:0")
            .env(BE_STACKHOOK, "1")
            // Open as long as the demo lives; see `run_if_child`.
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start stackhook: {error}"))?;
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
        stackhook.address = stackhook.read_address()?;
        Ok(stackhook)
    }

    /// Waits for the line that names the address it listens on.
    fn read_address(&self) -> Result<SocketAddr, String> {
        let mut last = String::new();
        loop {
            let line = self
                .next_line()
                .map_err(|reason| format!("{reason}; the last line was: {last}"))?;
            if let Some((_, address)) = line.split_once("listening on http://") {
                return address
                    .trim()
                    .parse()
                    .map_err(|_| format!("cannot parse the address {address:?}"));
            }
            last = line;
        }
    }

    /// Prints the log up to a line that contains `last`, without the time and shortened.
    pub(crate) fn print_log(&self, last: &str) -> Result<(), String> {
        loop {
            let line = self.next_line()?;
            let (_, without_time) = line.split_once(' ').unwrap_or(("", &line));
            println!("    {}", shortened(without_time));
            if line.contains(last) {
                return Ok(());
            }
        }
    }

    fn next_line(&self) -> Result<String, String> {
        let line = self.log.recv_timeout(Duration::from_secs(20));
        line.map_err(|_| "no further log line within 20 s".to_owned())
    }
}

impl Drop for Stackhook {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
