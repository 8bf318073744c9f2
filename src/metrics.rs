//! Counters for Prometheus and the settings page.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits;
use crate::stack::outcome::StackReport;

/// Upper bounds of the histogram of redeploy durations (seconds).
const BUCKETS: [u32; 10] = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800];

/// All counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Ended deliveries by hook and status.
    deliveries: BTreeMap<(String, &'static str), u64>,
    /// Rejected requests by reason.
    rejections: BTreeMap<&'static str, u64>,
    /// Redeploys by stack and outcome.
    redeploys: BTreeMap<(String, &'static str), u64>,
    /// Redeploys per bucket, cumulative.
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
    /// Time of the last success by stack (Unix seconds).
    last_success: BTreeMap<String, u64>,
    /// Result of the last request to Portainer.
    portainer_up: Option<bool>,
}

impl Metrics {
    /// Counts a delivery that has ended; `result` is its status.
    pub(crate) fn delivery(&self, hook: &str, result: &'static str) {
        let key = (hook.to_owned(), result);
        *self.lock().deliveries.entry(key).or_default() += 1;
    }

    /// Counts a rejected request.
    pub(crate) fn rejection(&self, reason: &'static str) {
        *self.lock().rejections.entry(reason).or_default() += 1;
    }

    /// Counts a redeploy that ended at this time (Unix seconds).
    pub(crate) fn redeploy(&self, report: &StackReport, unix: u64) {
        let mut counts = self.lock();
        let key = (report.stack.clone(), report.outcome.name());
        *counts.redeploys.entry(key).or_default() += 1;
        counts.seconds += report.seconds;
        for (count, most) in counts.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(report.seconds <= f64::from(most));
        }
        drop(counts);
        if report.outcome.is_good() {
            self.success(&report.stack, unix);
        }
    }

    /// Notes the time of a successful redeploy (Unix seconds), which may be before the start.
    pub(crate) fn success(&self, stack: &str, unix: u64) {
        let mut counts = self.lock();
        let last = counts.last_success.entry(stack.to_owned()).or_default();
        *last = unix.max(*last);
    }

    /// Notes whether Portainer answered.
    pub(crate) fn portainer(&self, up: bool) {
        self.lock().portainer_up = Some(up);
    }

    /// Formats all counters for Prometheus; `open` is the number of open deliveries, `unix` the time now. Successes in the future, saved
    /// while the clock ran ahead, count as successes now.
    pub(crate) fn render(&self, open: usize, unix: u64) -> String {
        let mut page = Exposition::default();
        let mut counts = self.lock();
        for last in counts.last_success.values_mut() {
            if *last > unix + limits::CLOCK_STEP.as_secs() {
                *last = unix;
            }
        }
        page.family("stackhook_build_info", "gauge", "The running release.");
        page.line(
            "stackhook_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1,
        );
        let name = "stackhook_deliveries_total";
        page.family(name, "counter", "Verified deliveries by hook and result.");
        for ((hook, result), count) in &counts.deliveries {
            page.line(name, &[("hook", hook), ("result", result)], count);
        }
        let name = "stackhook_rejections_total";
        page.family(name, "counter", "Rejected requests by reason.");
        for (reason, count) in &counts.rejections {
            page.line(name, &[("reason", reason)], count);
        }
        let name = "stackhook_deliveries_open";
        page.family(
            name,
            "gauge",
            "Deliveries that were accepted and have not ended.",
        );
        page.line(name, &[], open);
        let name = "stackhook_redeploys_total";
        page.family(name, "counter", "Redeploys by stack and outcome.");
        for ((stack, outcome), count) in &counts.redeploys {
            page.line(name, &[("stack", stack), ("outcome", outcome)], count);
        }
        let name = "stackhook_redeploy_duration_seconds";
        page.family(name, "histogram", "Duration of redeploys.");
        for (count, most) in counts.buckets.iter().zip(BUCKETS) {
            page.line(
                &format!("{name}_bucket"),
                &[("le", &most.to_string())],
                count,
            );
        }
        let all: u64 = counts.redeploys.values().sum();
        page.line(&format!("{name}_bucket"), &[("le", "+Inf")], all);
        page.line(&format!("{name}_sum"), &[], counts.seconds);
        page.line(&format!("{name}_count"), &[], all);
        let name = "stackhook_last_success_timestamp_seconds";
        page.family(
            name,
            "gauge",
            "Time of the last successful redeploy of the stack.",
        );
        for (stack, unix) in &counts.last_success {
            page.line(name, &[("stack", stack)], unix);
        }
        let name = "stackhook_portainer_up";
        page.family(
            name,
            "gauge",
            "1 if Portainer answered the last request, else 0.",
        );
        if let Some(up) = counts.portainer_up {
            page.line(name, &[], u8::from(up));
        }
        page.0
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text under construction. Writing to a String cannot fail.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{open}{label}=\"{value}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }
}

#[cfg(test)]
mod tests;
