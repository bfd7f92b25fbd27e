//! The result of a registration, for people and as JSON.

use std::path::PathBuf;

use anyhow::anyhow;
use jiff::Timestamp;
use keybroker_common::{
    broker::RegisterRequest,
    ids::{HostData, WorkloadId},
    requirements::BoundBy,
};
use serde::Serialize;

use super::{
    BrokerAnswer, Registering, document::Document, init_data::InitData, launch::Launch, trustee::Kbs,
};
use crate::{
    exit::{Exit, Failure},
    table,
};

/// The document that `--json` prints.
#[derive(Debug, Default, Serialize)]
pub(super) struct RegisterOutput {
    /// Version of this form.
    schema: u8,
    dry_run: bool,
    /// `None` if the broker draws the id and has not been asked.
    workload_id: Option<String>,
    /// The audit record's id, if the broker answered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<String>,
    /// Since when the registration had been there that this one took the place of, if the command saw one.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Timestamp>,
    /// HOST_DATA to launch the guest with, in standard base64, as krun and keybroker's clients take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_data: Option<String>,
    /// The same in hex, as QEMU's tools take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_data_hex: Option<String>,
    /// The digest of the init data document, with its algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    init_data: Option<String>,
    /// The tie between guest and document.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_by: Option<BoundBy>,
    /// The document's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// How the guest is launched.
    #[serde(skip_serializing_if = "Option::is_none")]
    launch: Option<Launch>,
    /// Where a guest of Trustee finds the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    kbs: Option<Kbs>,
}

impl RegisterOutput {
    /// The output of a command that registers nothing.
    pub(super) fn of_dry_run(id: Option<&WorkloadId>) -> Self {
        Self { dry_run: true, ..Self::default() }.of(id)
    }

    /// The output with the id that was given, if one was.
    pub(super) fn of(self, id: Option<&WorkloadId>) -> Self {
        Self { schema: 1, workload_id: id.map(ToString::to_string), ..self }
    }

    /// The output with the time of the registration that it took the place of.
    pub(super) fn in_place_of(self, replaced: Option<Timestamp>) -> Self {
        Self { replaced, ..self }
    }

    /// The output with the document of the workload.
    pub(super) fn with(self, init_data: &InitData, launch: Option<Launch>) -> Self {
        let digest = init_data.digest();
        let bound_by = init_data.bound_by();
        let output = Self {
            init_data: Some(format!("{digest:?}")),
            bound_by: Some(bound_by),
            file: Some(init_data.file.clone()),
            launch,
            ..self
        };
        match bound_by {
            BoundBy::HostData => output.launched_with(digest.host_data()),
            BoundBy::Measurement | BoundBy::Nothing => output,
        }
    }

    /// The output with the HOST_DATA of the guest.
    fn launched_with(self, host_data: [u8; 32]) -> Self {
        Self {
            host_data: Some(data_encoding::BASE64.encode(&host_data)),
            host_data_hex: Some(data_encoding::HEXLOWER.encode(&host_data)),
            ..self
        }
    }
}

impl Registering<'_> {
    /// The broker's answer in this form.
    pub(super) fn registered(
        &self,
        request: &RegisterRequest,
        answer: &BrokerAnswer,
    ) -> Result<RegisterOutput, Failure> {
        if !answer.status.is_success() {
            return Err(answer.refusal(&self.destination.store.place()));
        }
        let unreadable =
            || anyhow!("the broker registered the workload, but this release cannot read its answer");
        let drawn = || {
            let text: String = serde_json::from_slice(&answer.body).ok()?;
            let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok()?;
            HostData::from_report(&bytes.try_into().ok()?)
        };
        let output = RegisterOutput::default().of(Some(&request.workload_id));
        Ok(match &self.document {
            Document::Libkrun(_) => {
                RegisterOutput { audit: Some(answer.field("id").ok_or_else(unreadable)?), ..output }
            }
            // The operator chose id and HOST_DATA.
            Document::Named(_) => {
                let url = self.broker.map(str::to_owned).or_else(|| self.destination.url());
                let output = RegisterOutput { kbs: Kbs::of(request, url.as_deref()), ..output };
                match &request.policy.init_data {
                    Some(required) if required.bound_by == BoundBy::HostData => {
                        output.launched_with(required.digest.host_data())
                    }
                    _ => output,
                }
            }
            Document::Keybroker(_) => {
                let host_data = drawn().ok_or_else(unreadable)?;
                let workload_id = Some(host_data.workload_id().to_string());
                RegisterOutput { workload_id, ..output }.launched_with(host_data.to_bytes())
            }
        })
    }
}

/// Prints it.
pub(super) fn told(json: bool, output: &RegisterOutput) -> Result<Exit, Failure> {
    if json {
        table::json(output)?;
        return Ok(Exit::Ok);
    }
    let file = output.file.as_ref().map(|file| file.display().to_string());
    let fields = [
        ("workload", &output.workload_id),
        ("audit", &output.audit),
        ("replaced", &output.replaced.map(|since| format!("the registration since {}", table::time(since)))),
        ("init data", &output.init_data),
        ("bound by", &output.bound_by.map(|bound_by| bound_by.words().to_owned())),
        ("HOST_DATA", &output.host_data),
        ("in hex", &output.host_data_hex),
        ("document", &file),
    ];
    let mut fields: Vec<_> =
        fields.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    fields.extend(output.kbs.iter().flat_map(Kbs::fields));
    table::print_fields(&fields)?;
    if output.kbs.as_ref().is_some_and(|kbs| kbs.unknown) {
        say!("BROKER stands for the address at which guests reach this broker: --broker names it");
    }
    if let Some(launch) = &output.launch {
        table::line(&format!("\n{launch}"))?;
    }
    Ok(Exit::Ok)
}
