//! Output of commands: results on stdout, errors, warnings and progress on stderr. Log lines are written by `logging`.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::logging::escaped;

/// Writes a result to stdout. A closed pipe (`| head -1`) is not an error; a full disk is.
pub(crate) fn print(text: &str) -> io::Result<()> {
    print_to(&mut io::stdout().lock(), text)
}

fn print_to(output: &mut impl io::Write, text: &str) -> io::Result<()> {
    let written = output.write_all(visible(text).as_bytes());
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Prints an error or warning on stderr, each line prefixed with the program's name to identify it in mail from cron.
pub(crate) fn print_error(text: &str) {
    let line = |line: &str| format!("stackhook: {}\n", escaped(line));
    let text: String = text.lines().map(line).collect();
    // An error about stderr has nowhere to go.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// One line on stderr with the current step and its duration, overwritten in place and erased on drop. Only on a terminal.
pub(crate) struct ProgressLine(Option<(Sender<String>, JoinHandle<()>)>);

impl ProgressLine {
    /// Nothing is shown before the first [`ProgressLine::show`].
    pub(crate) fn new() -> ProgressLine {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        if dumb || !io::stderr().is_terminal() {
            return ProgressLine(None);
        }
        let (sender, receiver) = mpsc::channel();
        let draw = move || redraw(&receiver, Instant::now(), io::stderr());
        let thread = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(draw);
        ProgressLine(thread.ok().map(|thread| (sender, thread)))
    }

    /// Shows another step, such as `app-stack: pulling 2 of 3 images`.
    pub(crate) fn show(&self, step: impl Into<String>) {
        if let Some((sender, _)) = &self.0 {
            let _ = sender.send(step.into());
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// Erases to the end of the line.
const ERASE: &str = "\u{1b}[K";

/// Draws every second and at each new step, until the sender is dropped.
fn redraw(receiver: &Receiver<String>, begun: Instant, mut to: impl io::Write) {
    // A line that wraps could not be overwritten, and how wide the terminal is cannot be args for without unsafe code.
    const MAX_CHARS: usize = 70;
    let mut step = String::new();
    loop {
        match receiver.recv_timeout(Duration::from_secs(1)) {
            Ok(new) => step = escaped(&new).chars().take(MAX_CHARS).collect(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if !step.is_empty() {
            let seconds = begun.elapsed().as_secs();
            // With the cursor at the start, a warning printed in between overwrites the line.
            let _ = to.write_all(format!("{ERASE}{step} {seconds} s\r").as_bytes());
        }
    }
    let _ = to.write_all(ERASE.as_bytes());
}

/// Escapes everything that moves the cursor, except for line feeds.
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
        let mut printed = Vec::new();
        print_to(&mut printed, "a\tb\nc\u{1b}[2J\r\n\nd").unwrap();
        assert_eq!(printed, b"a\\tb\nc\\u{1b}[2J\\r\n\nd");
    }
}
