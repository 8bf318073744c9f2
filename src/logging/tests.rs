//! Tests the format of log lines: a line stays a line whatever its values contain.

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
        assert!(
            !inside.contains(crate::redact::is_misleading),
            "{format:?} {inside:?}"
        );
        assert!(inside.contains("a\\n<3>b\\r"), "{format:?} {inside:?}");
    }
}

#[test]
fn other_crates_log_warnings_and_errors_only() {
    #[track_caller]
    fn check(level: LevelFilter, target: &str, of: Level, heard: bool) {
        let metadata = Metadata::builder().target(target).level(of).build();
        assert_eq!(levels(level).enabled(&metadata), heard, "{target} {of}");
    }
    check(
        LevelFilter::Debug,
        "stackhook::scheduler",
        Level::Debug,
        true,
    );
    check(
        LevelFilter::Debug,
        "stackhook::scheduler",
        Level::Trace,
        false,
    );
    check(
        LevelFilter::Info,
        "stackhook::scheduler",
        Level::Debug,
        false,
    );
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
