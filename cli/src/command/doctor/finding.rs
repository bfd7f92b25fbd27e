//! The doctor's findings: what a check found, and what helps.

use serde::Serialize;

use crate::exit::Failure;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Ok,
    /// The broker works, and somebody should look at this.
    Warn,
    /// The broker refuses guests, or will refuse them; or somebody can read secrets who must not.
    Fail,
}

/// The finding of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Severity,
    pub(super) finding: String,
    /// The advice about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self { check, verdict: Severity::Ok, finding: finding.into(), advice: None }
    }

    pub(super) fn warn(check: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Severity::Warn, finding: finding.into(), advice: Some(advice.into()) }
    }

    /// The finding that these credentials may not see something, with what AWS says.
    pub(super) fn unseen(check: &'static str, permission: &str, said: &str) -> Self {
        Self::warn(
            check,
            format!("not seen: needs {permission} ({said})"),
            "docs/aws.md has the policy for `doctor` under \"The operator's permissions\"",
        )
    }

    pub(super) fn fail(check: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Severity::Fail, ..Self::warn(check, finding, advice) }
    }

    /// The finding that a check could not be made. If a permission is missing it is a warning: what is not
    /// seen may be fine.
    pub(super) fn failed(check: &'static str, failure: &Failure) -> Self {
        let (finding, hint) = failure.told();
        if let Some(permission) = failure.needed() {
            return Self::unseen(check, permission, &finding);
        }
        Self { check, verdict: Severity::Fail, finding, advice: hint.map(str::to_owned) }
    }
}
