//! A report as it is kept: the reply leaves out whose fault a failure is, but its status code depends on it after a restart too.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::stack::outcome::{Fault, StackReport};

#[derive(Serialize)]
struct Out<'a> {
    #[serde(flatten)]
    report: &'a StackReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
}

#[derive(Deserialize)]
struct In {
    #[serde(flatten)]
    report: StackReport,
    #[serde(default)]
    fault: Option<Fault>,
}

pub(crate) fn serialize<S: Serializer>(
    report: &StackReport,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let fault = report.fault;
    Out { report, fault }.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<StackReport, D::Error> {
    let In { report, fault } = In::deserialize(deserializer)?;
    Ok(StackReport { fault, ..report })
}
