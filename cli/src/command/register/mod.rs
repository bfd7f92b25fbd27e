//! `keybroker register`: an operator registers a workload, and sees the registration before it is written.

mod document;
mod send;

use std::{path::PathBuf, time::Duration};

use anyhow::anyhow;
use keybroker_common::{
    broker::RegisterRequest,
    ids::{HostData, WorkloadId},
    workload::Registration,
};
use serde::Serialize;
use uuid::Uuid;

use self::document::Document;
use crate::{
    carried,
    command::relay::Target,
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    operator::{StoreArgs, workload_id},
    requirements, table,
};

/// Register a workload, or replace its registration
///
/// With --workload-id the command registers as buildah does: one measurement and one passphrase. Without it
/// the command registers by reference values and policy, from flags or, with --from, from the JSON document
/// that `POST /rvp/register` takes; guests are then launched with the HOST_DATA that the broker answers. The
/// command first shows all requirements that a guest will have to meet.
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
  To see the requirements without registering:
      keybroker register --from registration.json --dry-run
      keybroker register --measurement $MEASUREMENT --forbid-smt --resource tls.key=key.pem
  keybroker register --from registration.json --aws --url https://k.example.org --yes

{}", Exit::TABLE))]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    document: document::DocumentArgs,
    /// The id that the guest asks with: the command then registers as buildah does
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload_id: Option<WorkloadId>,
    /// The broker's base URL, with --aws
    #[arg(long, requires = "aws", value_parser = Target::parse, value_name = "URL")]
    url: Option<Target>,
    /// The region to sign for, if it is not the one that AWS's tools would take
    #[arg(long, requires = "aws", value_name = "REGION")]
    region: Option<String>,
    /// Also trust the certificate authorities in this PEM file for the name in --url
    #[arg(long, requires = "aws", value_name = "PEM")]
    ca: Vec<PathBuf>,
    /// The file of the key that wraps the secrets in the store, if no broker serves the store
    ///
    /// The default is $XDG_CONFIG_HOME/keybroker/key, or ~/.config/keybroker/key.
    #[arg(long, env = "KEYBROKER_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// How long the broker may take to wrap the secrets and to write.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Runs the command.
pub(crate) fn run(args: &RegisterArgs) -> Result<Exit, Failure> {
    let document = Document::read(args.workload_id.as_ref(), &args.document)?;
    let request = document.request()?;
    show(&request, args.workload_id.as_ref())?;
    if args.workload_id.as_ref().is_some_and(carried::is_too_long) {
        anstream::eprintln!(
            "warning: libkrun's cookie cannot carry this id, so the broker will refuse the workload's guests: {}",
            carried::HELPS
        );
    }
    if args.confirm.dry_run {
        if args.json {
            table::json(&RegisterOutput { schema: 1, dry_run: true, ..RegisterOutput::default() }.of(args))?;
        }
        anstream::eprintln!("nothing was registered");
        return Ok(Exit::Ok);
    }
    if !args.confirm.agreed("Register it?")? {
        anstream::eprintln!("nothing was registered");
        return Ok(Exit::Failure);
    }
    let answer = crate::operator::block_on(send::send(args, &document))?;
    told(args, &document, &answer)
}

/// Prints the requirements and the names of the secrets on stderr: stdout is for the result.
fn show(request: &RegisterRequest, workload_id: Option<&WorkloadId>) -> Result<(), Failure> {
    let registration = Registration {
        format: Registration::FORMAT,
        serial: Uuid::nil(),
        dialect: request.dialect,
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
}

impl RegisterOutput {
    /// The output with the id that was given, if one was.
    fn of(self, args: &RegisterArgs) -> Self {
        Self { workload_id: args.workload_id.as_ref().map(ToString::to_string), ..self }
    }
}

fn told(args: &RegisterArgs, document: &Document, answer: &send::BrokerAnswer) -> Result<Exit, Failure> {
    if !answer.status.is_success() {
        return Err(answer.refusal(&args.store.place()));
    }
    let unreadable =
        || anyhow!("the broker registered the workload, but this release cannot read its answer");
    let registered = match document {
        Document::Libkrun { workload_id, .. } => {
            let audit = answer.field("id").ok_or_else(unreadable)?;
            RegisterOutput {
                workload_id: Some(workload_id.to_string()),
                audit: Some(audit),
                ..RegisterOutput::default()
            }
        }
        Document::Keybroker(_) => {
            let text: String = serde_json::from_slice(&answer.body).map_err(|_| unreadable())?;
            let bytes = data_encoding::BASE64.decode(text.as_bytes()).map_err(|_| unreadable())?;
            let host_data = <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| unreadable())?;
            let workload_id = HostData::from_report(host_data).ok_or_else(unreadable)?.workload_id();
            RegisterOutput {
                workload_id: Some(workload_id.to_string()),
                host_data: Some(text),
                host_data_hex: Some(data_encoding::HEXLOWER.encode(host_data)),
                ..RegisterOutput::default()
            }
        }
    };
    if args.json {
        table::json(&RegisterOutput { schema: 1, ..registered })?;
        return Ok(Exit::Ok);
    }
    let fields = [
        ("workload", registered.workload_id),
        ("audit", registered.audit),
        ("HOST_DATA", registered.host_data),
        ("in hex", registered.host_data_hex),
    ];
    let fields: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    table::print_fields(&fields)?;
    Ok(Exit::Ok)
}
