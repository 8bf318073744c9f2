//! Serialization of reports in the journal. Replies leave out fault, stage and logs; the journal keeps them, because the status code
//! and the settings page need them after a restart.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::stack::outcome::{Fault, ServiceLog, StackReport, Stage};

#[derive(Serialize)]
struct Out<'a> {
    report: &'a StackReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<Stage>,
    #[serde(skip_serializing_if = "<[ServiceLog]>::is_empty")]
    logs: &'a [ServiceLog],
}

#[derive(Deserialize)]
struct In {
    report: StackReport,
    #[serde(default)]
    fault: Option<Fault>,
    #[serde(default)]
    stage: Option<Stage>,
    #[serde(default)]
    logs: Vec<ServiceLog>,
}

pub(crate) fn serialize<S: Serializer>(
    report: &StackReport,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let out = Out {
        report,
        fault: report.fault,
        stage: report.stage,
        logs: &report.logs,
    };
    out.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<StackReport, D::Error> {
    let In {
        report,
        fault,
        stage,
        logs,
    } = In::deserialize(deserializer)?;
    Ok(StackReport {
        fault,
        stage,
        logs,
        ..report
    })
}
