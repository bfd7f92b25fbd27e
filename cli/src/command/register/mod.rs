//! `keybroker register`: an operator registers a workload, and sees the registration before it is written.

mod document;
mod init_data;
mod launch;
mod send;

use std::{path::PathBuf, time::Duration};

use anyhow::anyhow;
use keybroker_common::{
    broker::RegisterRequest,
    ids::{HostData, WorkloadId},
    requirements::BoundBy,
    workload::Registration,
};
use serde::Serialize;
use uuid::Uuid;

pub(crate) use self::send::{BrokerAnswer, DestinationArgs};
use self::{document::Document, init_data::InitData, launch::Launch};
use crate::{
    carried,
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    operator::workload_id,
    requirements, table,
};

/// Register a workload, or replace its registration
///
/// With --disk the command reads the header of a disk, writes the init data document of a guest that opens
/// this disk alone, registers the workload with the disk's passphrase, and prints how the guest is launched.
///
/// With --workload-id alone the command registers as buildah does: one measurement and one passphrase.
/// Without it the command registers by reference values and policy, from flags or, with --from, from the
/// JSON document that `POST /rvp/register` takes; guests are then launched with the HOST_DATA that the
/// broker answers. The command first shows all requirements that a guest will have to meet.
///
/// On this machine the registration goes to the broker that serves the data directory, or into its store. The
/// operator may replace any registration that was made with a workload id, at any time, whoever owns it. With
/// --aws the command sends a signed request to --url, with the credentials that AWS's tools would find. These
/// need the builders' policy, and may replace their own registrations.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  By workload id, where MEASUREMENT is the launch measurement, 96 hex digits:
      keybroker register --workload-id web --measurement $MEASUREMENT --passphrase-file secret
  For a guest that opens its disk, launched with HOST_DATA:
      keybroker register --workload-id web --disk disk.img --broker https://k.example.org \\
          --init-data-out initdata.toml --measurement $MEASUREMENT --passphrase-file secret
  The same with the document in a measured initrd, which is built and measured between the two commands:
      keybroker register --workload-id web --disk disk.img --bound-by measurement --document-only \\
          --broker https://k.example.org --init-data-out initdata.toml
      keybroker register --workload-id web --init-data initdata.toml --measurement $MEASUREMENT \\
          --passphrase-file secret
  To see the requirements without registering:
      keybroker register --from registration.json --dry-run
      keybroker register --measurement $MEASUREMENT --forbid-smt --resource tls.key=key.pem
  keybroker register --from registration.json --aws --url https://k.example.org --yes

{}", Exit::TABLE))]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    document: document::DocumentArgs,
    /// The id that the guest asks with: without --disk and --init-data, the command registers as buildah does
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload_id: Option<WorkloadId>,
    #[command(flatten)]
    destination: DestinationArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    init_data: init_data::InitDataArgs,
}

/// How long the broker may take to wrap the secrets and to write.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Runs the command.
pub(crate) fn run(args: &RegisterArgs) -> Result<Exit, Failure> {
    let id = args.workload_id.as_ref();
    let init_data = args.init_data.read(id, &args.destination)?;
    if let Some(init_data) = init_data.as_ref().filter(|_| args.init_data.document_only()) {
        init_data.write_around(|| Ok(()))?;
        return told(args, &RegisterOutput::default().of(args).with(init_data, None));
    }
    let document = Document::read(id, &args.document, init_data.as_ref())?;
    let request = document.request()?;
    if let Some(init_data) = &init_data {
        init_data.check_secrets(&request)?;
    }
    show(&request, id)?;
    if matches!(document, Document::Libkrun(_)) && id.is_some_and(carried::is_too_long) {
        anstream::eprintln!(
            "warning: libkrun's cookie cannot carry this id, so the broker will refuse the workload's guests: {}",
            carried::HELPS
        );
    }
    if args.confirm.dry_run {
        if args.json {
            table::json(&RegisterOutput { dry_run: true, ..RegisterOutput::default() }.of(args))?;
        }
        anstream::eprintln!("nothing was registered");
        return Ok(Exit::Ok);
    }
    if !args.confirm.agreed("Register it?")? {
        anstream::eprintln!("nothing was registered");
        return Ok(Exit::Failure);
    }
    let register = || {
        let send = args.destination.send(document.path(), document.body());
        registered(args, &document, &crate::operator::block_on(send)?)
    };
    let output = match &init_data {
        None => register()?,
        Some(init_data) => {
            let launch = Launch::new(init_data, &request.policy)?;
            init_data.write_around(register)?.with(init_data, Some(launch))
        }
    };
    told(args, &output)
}

/// Prints the requirements and the names of the secrets on stderr: stdout is for the result.
pub(crate) fn show(request: &RegisterRequest, workload_id: Option<&WorkloadId>) -> Result<(), Failure> {
    let registration = Registration {
        serial: Uuid::nil(),
        dialects: request.dialects.clone(),
        owner: None,
        reference_values: request.reference_values.clone(),
        policy: request.policy.clone(),
        rego: request.rego.clone(),
    };
    let mut lines = vec![(
        "workload",
        workload_id
            .map_or_else(|| "an id that the broker draws, with HOST_DATA".to_owned(), ToString::to_string),
    )];
    // The broker draws HOST_DATA: the one in this request stands for it.
    let chosen = |name: &str| workload_id.is_none() && name == "HOST_DATA";
    lines.extend(requirements::of(&registration).into_iter().map(|(name, what)| {
        if chosen(name) { (name, "the one that the broker draws".to_owned()) } else { (name, what) }
    }));
    lines.extend(request.secrets.keys().map(|name| ("secret", name.clone())));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    for (name, what) in lines {
        anstream::eprintln!("{name:<width$}{}", table::printable(&what));
    }
    Ok(())
}

/// The document that `--json` prints.
#[derive(Debug, Default, Serialize)]
struct RegisterOutput {
    /// Version of this form.
    schema: u8,
    dry_run: bool,
    /// `None` if the broker draws the id and has not been asked.
    workload_id: Option<String>,
    /// The audit record's id, if the broker answered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<String>,
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
}

impl RegisterOutput {
    /// The output with the id that was given, if one was.
    fn of(self, args: &RegisterArgs) -> Self {
        Self { schema: 1, workload_id: args.workload_id.as_ref().map(ToString::to_string), ..self }
    }

    /// The output with the document of the workload.
    fn with(self, init_data: &InitData, launch: Option<Launch>) -> Self {
        let digest = init_data.document.digest();
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

fn registered(
    args: &RegisterArgs,
    document: &Document,
    answer: &BrokerAnswer,
) -> Result<RegisterOutput, Failure> {
    if !answer.status.is_success() {
        return Err(answer.refusal(&args.destination.store.place()));
    }
    let unreadable =
        || anyhow!("the broker registered the workload, but this release cannot read its answer");
    let drawn = || {
        let text: String = serde_json::from_slice(&answer.body).ok()?;
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok()?;
        HostData::from_report(&bytes.try_into().ok()?)
    };
    let output = RegisterOutput::default().of(args);
    Ok(match document {
        Document::Libkrun(_) => {
            RegisterOutput { audit: Some(answer.field("id").ok_or_else(unreadable)?), ..output }
        }
        // The operator chose id and HOST_DATA.
        Document::Native(_) => output,
        Document::Keybroker(_) => {
            let host_data = drawn().ok_or_else(unreadable)?;
            let workload_id = Some(host_data.workload_id().to_string());
            RegisterOutput { workload_id, ..output }.launched_with(host_data.to_bytes())
        }
    })
}

fn told(args: &RegisterArgs, output: &RegisterOutput) -> Result<Exit, Failure> {
    if args.json {
        table::json(output)?;
        return Ok(Exit::Ok);
    }
    let file = output.file.as_ref().map(|file| file.display().to_string());
    let fields = [
        ("workload", &output.workload_id),
        ("audit", &output.audit),
        ("init data", &output.init_data),
        ("bound by", &output.bound_by.map(|bound_by| bound_by.words().to_owned())),
        ("HOST_DATA", &output.host_data),
        ("in hex", &output.host_data_hex),
        ("document", &file),
    ];
    let fields: Vec<_> =
        fields.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    table::print_fields(&fields)?;
    if let Some(launch) = &output.launch {
        table::line(&format!("\n{launch}"))?;
    }
    Ok(Exit::Ok)
}
