//! Log lines on stderr, one write each: as text, as JSON, or as the journal wants them. What is harmless enough to be
//! logged is decided by whoever logs; here it is only made sure that one happening stays one line. The home of
//! simple_logger, of which only the decision about levels is used: its writer panics when stderr is closed.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::clock::{SystemClock, rfc3339};
use crate::config::LogFormat;

/// Logs from now on: our own lines from `level` on, those of other crates from warnings on. `journal_stream` is the
/// variable by which systemd says that stderr leads to its journal.
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
    // It fails where there is a logger already: then that one goes on.
    let _ = log::set_boxed_logger(Box::new(logger));
}

/// Text in which nothing moves the cursor, ends the line or turns the direction of writing.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(misleads) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for sign in text.chars() {
        if misleads(sign) {
            safe.extend(sign.escape_default());
        } else {
            safe.push(sign);
        }
    }
    Cow::Owned(safe)
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Time, level, message, fields.
    Text,
    /// One object.
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
            // Nobody is left to be told that nobody listens.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// The line, with its end.
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

/// RFC 3339 with milliseconds.
fn time(unix_millis: u64) -> String {
    let mut time = rfc3339(unix_millis / 1_000);
    time.truncate(time.len().saturating_sub(1));
    let _ = write!(time, ".{:03}Z", unix_millis % 1_000);
    time
}

/// syslog(3)'s numbers.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// ` key=value` for each field; quoted where it could be taken for something else.
fn fields(record: &Record<'_>) -> String {
    struct Text(String);
    impl<'kvs> VisitSource<'kvs> for Text {
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
    let mut text = Text(String::new());
    let _ = record.key_values().visit(&mut text);
    // Debug's quotes leave some signs as they are that turn the direction of writing.
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
            // A field never replaces what every line has.
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
    let text = serde_json::Value::Object(object.0).to_string();
    let mut line = String::with_capacity(text.len() + 1);
    for sign in text.chars() {
        // Such signs stand within strings only, and serde_json leaves those from U+007F on as they are.
        if misleads(sign) {
            let _ = write!(line, "\\u{:04x}", u32::from(sign));
        } else {
            line.push(sign);
        }
    }
    line.push('\n');
    line
}

/// Control characters, line and paragraph separators, and what turns the direction of writing.
fn misleads(sign: char) -> bool {
    sign.is_control()
        || matches!(sign, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether `DEVICE:INODE` (systemd.exec(5), `$JOURNAL_STREAM`) is where our stderr leads: the variable is inherited,
/// also by programs whose stderr was redirected.
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
mod tests {
    use super::*;

    const MILLIS: u64 = 1_795_520_441_007;

    #[track_caller]
    fn check(format: Format, message: &str, fields: &[(&str, Value<'_>)], expected: &str) {
        let record = Record::builder()
            .level(Level::Warn)
            .args(format_args!("{message}"))
            .key_values(&fields)
            .build_line(format);
        assert_eq!(record, expected);
    }

    /// `format_args!` cannot be bound to a name, hence this detour.
    trait BuildLine {
        fn build_line(&mut self, format: Format) -> String;
    }

    impl BuildLine for log::RecordBuilder<'_> {
        fn build_line(&mut self, format: Format) -> String {
            line(format, MILLIS, &self.build())
        }
    }

    #[test]
    fn a_line_is_time_level_message_and_fields() {
        let fields = [
            ("hook", Value::from("web")),
            ("status", Value::from(200_u16)),
            ("reason", Value::from("other branch")),
            ("nothing", Value::from("")),
            ("quote", Value::from("\"")),
        ];
        check(
            Format::Text,
            "delivery accepted",
            &fields,
            "2026-11-24T11:40:41.007Z WARN  delivery accepted hook=web status=200 reason=\"other branch\" nothing=\"\" quote=\"\\\"\"\n",
        );
        check(
            Format::Journal,
            "delivery accepted",
            &fields[..2],
            "<4>delivery accepted hook=web status=200\n",
        );
    }

    #[test]
    fn json_has_the_fields_beside_the_message_and_numbers_as_numbers() {
        check(
            Format::Json,
            "ended \"well\"",
            &[
                ("hook", Value::from("web")),
                ("status", Value::from(200_u16)),
                ("offset", Value::from(-3_i64)),
                ("seconds", Value::from(8.25)),
                ("verified", Value::from(true)),
                ("level", Value::from("forged")),
            ],
            "{\"hook\":\"web\",\"level\":\"warn\",\"message\":\"ended \\\"well\\\"\",\"offset\":-3,\"seconds\":8.25,\"status\":200,\"time\":\"2026-11-24T11:40:41.007Z\",\"verified\":true}\n",
        );
    }

    #[test]
    fn one_happening_stays_one_line_whatever_is_in_it() {
        let forged = "a\n<3>b\r\u{1b}[2K\u{7f}\u{9b}\u{202e}\u{2028}";
        for format in [Format::Text, Format::Json, Format::Journal] {
            let line = Record::builder()
                .level(Level::Info)
                .args(format_args!("{forged}"))
                .key_values(&[("plain", forged), ("quoted", "a b\n\u{202e}\u{9b}")])
                .build_line(format);
            let inside = line.strip_suffix('\n').unwrap();
            assert!(!inside.contains(misleads), "{format:?} {inside:?}");
            assert!(inside.contains("a\\n<3>b\\r"), "{format:?} {inside:?}");
        }
    }

    #[test]
    fn other_crates_are_heard_from_warnings_on() {
        #[track_caller]
        fn check(level: LevelFilter, target: &str, of: Level, heard: bool) {
            let metadata = Metadata::builder().target(target).level(of).build();
            assert_eq!(levels(level).enabled(&metadata), heard, "{target} {of}");
        }
        check(LevelFilter::Debug, "stackhook::engine", Level::Debug, true);
        check(LevelFilter::Debug, "stackhook::engine", Level::Trace, false);
        check(LevelFilter::Info, "stackhook::engine", Level::Debug, false);
        check(LevelFilter::Debug, "ureq::run", Level::Info, false);
        check(LevelFilter::Debug, "rustls::client", Level::Warn, true);
        check(LevelFilter::Error, "rustls::client", Level::Warn, false);
        check(LevelFilter::Error, "stackhook", Level::Warn, false);
    }

    #[test]
    fn the_journal_is_recognised_by_device_and_inode() {
        let metadata = std::fs::metadata("/proc/self/fd/2").unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());
        assert!(is_stderr(&format!("{device}:{inode}")));
        assert!(!is_stderr(&format!("{device}:{}", inode + 1)));
        assert!(!is_stderr(""));
    }
}
