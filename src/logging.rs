//! Log lines on stderr, one write each: as text, as JSON, or in the format of systemd's journal. One event is always one line. The
//! home of simple_logger, of which only the level filter is used: its writer panics when stderr is closed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::calendar::rfc3339;
use crate::clock::SystemClock;
use crate::config::LogFormat;
use crate::redact::escape_json;

/// Starts logging: own lines from `level` on, those of other crates from warnings on. `journal_stream` is the variable that
/// systemd sets when stderr is connected to its journal.
pub(crate) fn start(level: LevelFilter, format: LogFormat, journal_stream: Option<&str>) {
    let format = match format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
        LogFormat::Auto if journal_stream.is_some_and(is_stderr) => Format::Journal,
        LogFormat::Auto => Format::Text,
    };
    let logger = Logger {
        levels: levels(level),
        format,
    };
    log::set_max_level(logger.levels.max_level());
    // Fails only if there is a logger already; then that one stays.
    let _ = log::set_boxed_logger(Box::new(logger));
}

pub(crate) use crate::redact::escape_line as escaped;

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Time, level, message, fields.
    Text,
    /// A JSON object for each line.
    Json,
    /// Priority, message, fields; the journal adds the time itself.
    Journal,
}

struct Logger {
    levels: SimpleLogger,
    format: Format,
}

fn levels(level: LevelFilter) -> SimpleLogger {
    SimpleLogger::new()
        .with_level(level.min(LevelFilter::Warn))
        .with_module_level(env!("CARGO_PKG_NAME"), level)
        // It would call the closed door of its private listener an error; of all else the server module tells.
        .with_module_level("tiny_http", LevelFilter::Off)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.levels.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(self.format, SystemClock.unix_millis(), record);
            // A failure to log cannot be reported.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Formats a record as a line, including the line end.
fn line(format: Format, unix_millis: u64, record: &Record<'_>) -> String {
    let message = record.args().to_string();
    match format {
        Format::Json => json(unix_millis, record, message),
        Format::Text => {
            let (time, level) = (time(unix_millis), record.level());
            let message = escaped(&message);
            format!("{time} {level:<5} {message}{}\n", fields(record))
        }
        Format::Journal => {
            let priority = priority(record.level());
            format!("<{priority}>{}{}\n", escaped(&message), fields(record))
        }
    }
}

/// Formats a time as RFC 3339 with milliseconds.
fn time(unix_millis: u64) -> String {
    let mut time = rfc3339(unix_millis / 1_000);
    time.truncate(time.len().saturating_sub(1));
    let _ = write!(time, ".{:03}Z", unix_millis % 1_000);
    time
}

/// Returns the severity in the numbers of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Formats each field as ` key=value`, quoted where it would be ambiguous.
fn fields(record: &Record<'_>) -> String {
    struct FieldWriter(String);
    impl<'kvs> VisitSource<'kvs> for FieldWriter {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            let text = value.to_string();
            let _ = if text.is_empty() || text.contains([' ', '"', '=', '\\']) {
                write!(self.0, " {}={:?}", escaped(key.as_str()), text)
            } else {
                write!(self.0, " {}={}", escaped(key.as_str()), escaped(&text))
            };
            Ok(())
        }
    }
    let mut text = FieldWriter(String::new());
    let _ = record.key_values().visit(&mut text);
    // The `Debug` format does not escape all characters that change the writing direction.
    escaped(&text.0).into_owned()
}

fn json(unix_millis: u64, record: &Record<'_>, message: String) -> String {
    struct Object(serde_json::Map<String, serde_json::Value>);
    impl<'kvs> VisitSource<'kvs> for Object {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            let value = match (value.to_bool(), value.to_u64(), value.to_i64()) {
                (Some(yes), _, _) => yes.into(),
                (None, Some(number), _) => number.into(),
                (None, None, Some(number)) => number.into(),
                (None, None, None) => match value.to_f64() {
                    Some(number) => number.into(),
                    None => value.to_string().into(),
                },
            };
            // A field never replaces time, level or message.
            self.0.entry(key.to_string()).or_insert(value);
            Ok(())
        }
    }
    let mut object = Object(serde_json::Map::new());
    let level = record.level().as_str().to_ascii_lowercase();
    let always = [
        ("time", time(unix_millis)),
        ("level", level),
        ("message", message),
    ];
    for (key, value) in always {
        object.0.insert(key.to_owned(), value.into());
    }
    let _ = record.key_values().visit(&mut object);
    let mut line = escape_json(serde_json::Value::Object(object.0).to_string());
    line.push('\n');
    line
}

/// Returns true if stderr is the file `DEVICE:INODE` of `$JOURNAL_STREAM` (systemd.exec(5)). Programs with a redirected stderr inherit
/// the variable too.
fn is_stderr(stream: &str) -> bool {
    let stderr = std::io::stderr();
    let Ok(metadata) = stderr
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .and_then(|file| file.metadata())
    else {
        return false;
    };
    stream == format!("{}:{}", metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests;
