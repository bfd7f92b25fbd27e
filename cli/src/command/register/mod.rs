//! `keybroker register`: an operator registers a workload, and sees the registration before it is written.

mod arguments;
mod demands;
mod document;
mod from;
mod init_data;
mod launch;
mod output;
mod preview;
mod send;
mod trustee;

use std::{path::Path, time::Duration};

use keybroker_common::{dialect::Dialect, ids::WorkloadId};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::{
    document::Document,
    init_data::InitData,
    launch::Launch,
    output::{RegisterOutput, told},
};
pub(crate) use self::{
    preview::show,
    send::{BrokerAnswer, DestinationArgs},
    trustee::check_broker,
};
use crate::{
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    operator::workload_id,
    policy_fault::Sources,
    table,
};

/// Register a workload, or replace its registration
///
/// With --disk the command reads the header of a disk, writes the init data document of a guest that opens
/// this disk alone, registers the workload with the disk's passphrase, and prints how the guest is launched.
///
/// With --dialect trustee the command registers guests of Kata and CoCo: with --init-data their init data,
/// and their resources by repository/type/tag. It prints the HOST_DATA of a guest with that init data, and
/// the URL of the broker for agent.aa_kbc_params.
///
/// With --workload-id alone the command registers as buildah does: one measurement and one passphrase.
/// Without it the command registers by reference values and policy; guests are then launched with the
/// HOST_DATA that the broker answers. With --from the command reads a JSON document, as `keybroker workload
/// export` writes one, and as `POST /rvp/register` takes it: docs/reference-values.schema.json describes it.
/// Its secrets may be given apart, with --resource or --passphrase-file. The command first shows all
/// requirements that a guest will have to meet.
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
  For pods of Kata that fetch kbs:///default/key/tls:
      keybroker register --workload-id web --dialect trustee --init-data initdata.toml \\
          --measurement $MEASUREMENT --resource default/key/tls=tls.pem \\
          --broker https://k.example.org
  To see the requirements without registering:
      keybroker register --from registration.json --dry-run
      keybroker register --measurement $MEASUREMENT --forbid-smt --resource tls.key=key.pem
  By the key that signs ID blocks, so that a rebuild needs no new registration:
      keybroker register --id-key id-2026.pem.pub --resource tls.key=key.pem
  From a document, with the secret apart:
      keybroker register --from billing.json --resource tls.key=key.pem
  On AWS, by a signed request to the output Url of the stack:
      keybroker register --from registration.json --aws --url https://k.example.org --yes

{}", Exit::TABLE))]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    document: arguments::DocumentArgs,
    /// The id that the guest asks with: without --disk, --init-data and --dialect, the command registers as
    /// buildah does
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload_id: Option<WorkloadId>,
    #[command(flatten)]
    dialects: trustee::DialectArgs,
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
    let dialects = args.dialects.read()?;
    let init_data = args.init_data.read(id, dialects.as_ref(), &args.destination)?;
    if let Some(init_data) = init_data.as_ref().filter(|_| args.init_data.document_only()) {
        init_data.write_around(|| Ok(()))?;
        return told(args.json, &RegisterOutput::default().of(id).with(init_data, None));
    }
    let document = Document::read(id, &args.document, dialects.as_ref(), init_data.as_ref())?;
    Registering {
        document,
        init_data,
        destination: &args.destination,
        broker: args.init_data.broker_url(),
        confirm: &args.confirm,
        json: args.json,
        policy: args.document.policy_sources(),
    }
    .run()
}

/// A registration that is shown, asked about and sent.
struct Registering<'a> {
    document: Document,
    init_data: Option<InitData>,
    destination: &'a DestinationArgs,
    /// The broker's URL as guests reach it, if it is known.
    broker: Option<&'a str>,
    confirm: &'a ConfirmArgs,
    json: bool,
    /// Where its policy is written.
    policy: Sources<'a>,
}

impl Registering<'_> {
    fn run(&self) -> Result<Exit, Failure> {
        if !self.confirm.dry_run {
            self.destination.check()?;
        }
        let request = self.document.request()?;
        preview::check_policy(&request, self.policy)?;
        if let Some(init_data) = &self.init_data {
            init_data.check_secrets(&request)?;
        }
        if let Some(broker) = self.broker.filter(|_| request.dialects.contains(Dialect::Trustee)) {
            trustee::check_broker(broker)?;
        }
        let shown = self.preview(&request)?;
        if self.confirm.dry_run {
            if self.json {
                let id = (!self.document.is_drawn()).then_some(&request.workload_id);
                table::json(&RegisterOutput::of_dry_run(id))?;
            }
            say!("nothing was registered");
            return Ok(Exit::Ok);
        }
        let question = if shown.is_replaced() { "Replace the registration?" } else { "Register it?" };
        if !self.confirm.agreed(question)? {
            say!("nothing was registered");
            return Ok(Exit::Failure);
        }
        self.check_unchanged(&request, &shown)?;
        let register = || {
            let send = self.destination.send(self.document.path(), self.document.body());
            let answer = crate::operator::block_on(send)?;
            Ok(self.registered(&request, &answer)?.in_place_of(shown.since()))
        };
        let output = match &self.init_data {
            None => register()?,
            Some(init_data) => {
                let launch = Launch::new(init_data, &request.policy)?;
                init_data.write_around(register)?.with(init_data, launch)
            }
        };
        told(self.json, &output)
    }
}

/// A registration for guests of Trustee that another command puts together.
pub(crate) struct TrusteeRegistration<'a> {
    pub(crate) id: &'a WorkloadId,
    /// Launch measurements in hex.
    pub(crate) measurements: Vec<String>,
    /// Secrets by name.
    pub(crate) resources: &'a [(String, Zeroizing<Vec<u8>>)],
    /// The file of the init data that guests are launched with.
    pub(crate) init_data: Option<&'a Path>,
}

impl TrusteeRegistration<'_> {
    fn read(&self) -> Result<(Document, Option<InitData>), Failure> {
        let init_data = self.init_data.map(InitData::any).transpose()?;
        let dialects = Dialect::Trustee.into();
        let mut members = document::named_members(self.id, Some(&dialects), init_data.as_ref());
        let resources = self.resources.iter();
        let resources = resources.map(|(name, bytes)| (name.clone(), document::resource_value(bytes)));
        members.insert("resources".to_owned(), Value::Object(resources.collect()));
        members.insert("measurements".to_owned(), json!(self.measurements));
        Ok((Document::of(document::to_bytes(&Value::Object(members))?), init_data))
    }
}

/// The body of that registration, as `--from` takes it.
pub(crate) fn trustee_document(
    registration: &TrusteeRegistration<'_>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let (document, _) = registration.read()?;
    document.request()?;
    Ok(document.body().clone())
}

/// Shows that registration, asks, and registers.
pub(crate) fn trustee(
    registration: &TrusteeRegistration<'_>,
    destination: &DestinationArgs,
    broker: Option<&str>,
    confirm: &ConfirmArgs,
    json: bool,
) -> Result<Exit, Failure> {
    let (document, init_data) = registration.read()?;
    Registering { document, init_data, destination, broker, confirm, json, policy: Sources::default() }.run()
}
