//! What a person at a terminal, or a pipe in its place, gets to see: results on stdout, everything else on stderr. Log
//! lines are not written here.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::logging::escaped;

/// Writes a result to stdout. A reader that has seen enough (`| head -1`) is no error; a full disk is one.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(visible(text).as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

/// Says on stderr what went wrong, each line with the program's name in front: in cron's mail nothing else tells whose words
/// these are.
pub(crate) fn complain(text: &str) {
    let line = |line: &str| format!("stackhook: {}\n", escaped(line));
    let text: String = text.lines().map(line).collect();
    // Nobody is left to be told that nobody listens.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// One line on stderr that says what is going on and for how long, overwritten in place; only on a terminal, gone with the
/// value.
pub(crate) struct Progress(Option<(Sender<String>, JoinHandle<()>)>);

impl Progress {
    /// Nothing is shown before the first [`Progress::show`].
    pub(crate) fn new() -> Progress {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        if dumb || !io::stderr().is_terminal() {
            return Progress(None);
        }
        let (sender, receiver) = mpsc::channel();
        let draw = move || redraw(&receiver, Instant::now(), io::stderr());
        let thread = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(draw);
        Progress(thread.ok().map(|thread| (sender, thread)))
    }

    /// What is going on from now on, such as `app-stack: pulling 2 of 3 images`.
    pub(crate) fn show(&self, what: impl Into<String>) {
        if let Some((sender, _)) = &self.0 {
            let _ = sender.send(what.into());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// Erases to the end of the line.
const ERASE: &str = "\u{1b}[K";

/// Draws once a second, and when there is something new, until the sender is gone.
fn redraw(receiver: &Receiver<String>, begun: Instant, mut to: impl io::Write) {
    // A line that wraps could not be overwritten, and how wide the terminal is cannot be asked for without unsafe code.
    const WIDEST: usize = 70;
    let mut what = String::new();
    loop {
        match receiver.recv_timeout(Duration::from_secs(1)) {
            Ok(new) => what = escaped(&new).chars().take(WIDEST).collect(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if !what.is_empty() {
            let seconds = begun.elapsed().as_secs();
            // The cursor goes back to the front, so that a warning that comes between begins there too.
            let _ = to.write_all(format!("{ERASE}{what} {seconds} s\r").as_bytes());
        }
    }
    let _ = to.write_all(ERASE.as_bytes());
}

/// Text of several lines of which nothing but their ends moves the cursor.
fn visible(text: &str) -> String {
    let lines = text
        .split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => format!("{}\n", escaped(line)),
            None => escaped(line).into_owned(),
        });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_overwrites_itself_and_leaves_nothing() {
        let (sender, receiver) = mpsc::channel();
        sender.send("app: reading".to_owned()).unwrap();
        sender
            .send(format!("app: \u{1b}[2J{}", "x".repeat(100)))
            .unwrap();
        drop(sender);
        let mut seen = Vec::new();
        redraw(&receiver, Instant::now(), &mut seen);
        let seen = String::from_utf8(seen).unwrap();
        let drawn: Vec<&str> = seen.split('\r').collect();
        assert_eq!(drawn[0], "\u{1b}[Kapp: reading 0 s");
        let long = drawn[1].strip_prefix(ERASE).unwrap();
        assert!(long.starts_with("app: \\u{1b}[2Jxxx"), "{long}");
        assert!(long.len() < 80, "{long}");
        assert_eq!(drawn[2..], [ERASE]);
    }

    #[test]
    fn only_line_ends_move_the_cursor() {
        assert_eq!(
            visible("a\tb\nc\u{1b}[2J\r\n\nd"),
            "a\\tb\nc\\u{1b}[2J\\r\n\nd"
        );
    }
}
