//! `keybroker register`: an operator registers a workload, and sees the registration before it is written.

mod arguments;
mod demands;
mod document;
mod from;
mod init_data;
mod launch;
mod send;
mod trustee;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;
use keybroker_common::{
    broker::RegisterRequest,
    dialect::Dialect,
    ids::{HostData, WorkloadId},
    requirements::BoundBy,
    wire::names,
    workload::{Registration, Workload},
};
use keybroker_rego::{Part, Policy, PolicyError};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

pub(crate) use self::send::{BrokerAnswer, DestinationArgs};
use self::{document::Document, init_data::InitData, launch::Launch, trustee::Kbs};
use crate::{
    carried,
    confirm::ConfirmArgs,
    exit::{Exit, Failure, Unusable},
    operator::workload_id,
    requirements, table,
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
        policy: args.document.policy.as_deref().or(args.document.from.as_deref()),
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
    /// The file in which a policy of it is.
    policy: Option<&'a Path>,
}

impl Registering<'_> {
    fn run(&self) -> Result<Exit, Failure> {
        if !self.confirm.dry_run {
            self.destination.check()?;
        }
        let request = self.document.request()?;
        check_policy(&request, self.policy)?;
        if let Some(init_data) = &self.init_data {
            init_data.check_secrets(&request)?;
        }
        if let Some(broker) = self.broker.filter(|_| request.dialects.contains(Dialect::Trustee)) {
            trustee::check_broker(broker)?;
        }
        show(&request, self.document.is_drawn())?;
        send::check_length(self.document.path(), self.document.body())?;
        self.warn(&request);
        let Held { replaced, selected } = self.held(&request);
        if let Some(replaced) = &replaced {
            self.tell_replaced(replaced, &request);
        }
        if let Some(holder) = selected.filter(|holder| *holder != request.workload_id) {
            let show = self.destination.store.place().command("workload show", &[holder.as_str()]);
            say!("warning: HOST_DATA selects the guests of {holder}, so the broker will refuse this: {show}");
        }
        if self.confirm.dry_run {
            if self.json {
                let id = (!self.document.is_drawn()).then_some(&request.workload_id);
                table::json(&RegisterOutput { dry_run: true, ..RegisterOutput::default() }.of(id))?;
            }
            say!("nothing was registered");
            return Ok(Exit::Ok);
        }
        let replaces = replaced.as_ref().is_some_and(|row| !is_drawn(row));
        let question = if replaces { "Replace the registration?" } else { "Register it?" };
        if !self.confirm.agreed(question)? {
            say!("nothing was registered");
            return Ok(Exit::Failure);
        }
        let register = || {
            let send = self.destination.send(self.document.path(), self.document.body());
            self.registered(&request, &crate::operator::block_on(send)?)
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

    /// Looks for what this registration meets in the store, if it can see that: the store is on this machine.
    /// If the store cannot be opened, sending the registration says why.
    fn held(&self, request: &RegisterRequest) -> Held {
        if self.document.is_drawn() || self.destination.store.aws {
            return Held::default();
        }
        let seen = crate::operator::block_on(async {
            let operator = self.destination.store.open().await?;
            let failed = |error| operator.failure(error);
            let replaced = operator.store.workload(&request.workload_id).await.map_err(failed)?;
            let selected = match registration(request).selected_by() {
                Some(host_data) => operator.store.selected(&host_data).await.unwrap_or_default(),
                None => None,
            };
            Ok(Held { replaced, selected })
        });
        seen.unwrap_or_default()
    }

    /// Tells on stderr that a registration is replaced, and which secrets that deletes; or that it cannot be.
    fn tell_replaced(&self, replaced: &Workload, request: &RegisterRequest) {
        let id = &replaced.id;
        let since = table::time(replaced.first_registered_at);
        if is_drawn(replaced) {
            say!(
                "warning: {id} has been registered since {since}, under an id that the broker drew: nothing takes \
                 the place of such a registration, so the broker will refuse this. Give another id"
            );
            return;
        }
        say!("{id} has been registered since {since}: this replaces it");
        let gone: Vec<_> =
            replaced.secrets.keys().filter(|name| !request.secrets.contains_key(*name)).collect();
        if !gone.is_empty() {
            let names: Vec<_> = gone.into_iter().map(|name| table::printable(name)).collect();
            say!("warning: these secrets are deleted, for good: {}", names.join(", "));
        }
        if let Some(since) = replaced.revoked_at {
            let restore = self.destination.store.place().command("workload restore", &[id.as_str()]);
            say!(
                "warning: it has been revoked since {}, so the broker will refuse this: {restore}",
                table::time(since)
            );
        }
    }

    /// Tells on stderr of floors that refuse more guests than they seem to, and of an id that the guests'
    /// cookie cannot carry.
    fn warn(&self, request: &RegisterRequest) {
        for (version, floors) in request.policy.platform.floors() {
            for product in floors.products_alone() {
                say!(
                    "warning: the floor of {product}'s {} TCB holds for reports of version 2 alone: guests with later \
                     reports are refused until a floor names their stepping, as milan-b1",
                    version.name()
                );
            }
        }
        if request.secrets.is_empty() {
            say!(
                "warning: no secret is given, so guests that attest as this workload get nothing but their \
                 attestation's result"
            );
        }
        let carrier = match &self.document {
            Document::Libkrun(_) => "libkrun's cookie",
            Document::Named(_) if Kbs::is_named_by(request) => "Trustee's cookie",
            _ => return,
        };
        if carried::is_too_long(&request.workload_id) {
            say!(
                "warning: {carrier} cannot carry this id, so the broker will refuse the workload's guests: {}",
                carried::HELPS
            );
        }
    }
}

/// Refuses a policy that the broker would refuse. Its text is in `file`, and its queries may be arguments.
fn check_policy(request: &RegisterRequest, file: Option<&Path>) -> Result<(), Failure> {
    let Some(text) = &request.rego else { return Ok(()) };
    let Err(error) = Policy::compile(text) else { return Ok(()) };
    let of_queries = matches!(
        error,
        PolicyError::Text { part: Part::Query(_), .. }
            | PolicyError::Syntax { part: Part::Query(_), .. }
            | PolicyError::Forbidden { part: Part::Query(_), .. }
            | PolicyError::TooManyQueries
    );
    match file {
        Some(file) if !of_queries => Err(anyhow::Error::new(error).context(Unusable::content(file)).into()),
        _ => Err(Failure::new(Exit::Usage, error).context("the registration")),
    }
}

/// Whether the broker drew the id of a workload.
fn is_drawn(workload: &Workload) -> bool {
    workload.read().is_ok_and(|read| read.registration().dialects.contains(Dialect::Keybroker))
}

/// The rows that a registration meets in the store.
#[derive(Debug, Default)]
struct Held {
    /// The workload whose registration it would take the place of.
    replaced: Option<Workload>,
    /// The workload that the HOST_DATA of its guests selects.
    selected: Option<WorkloadId>,
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
    Registering { document, init_data, destination, broker, confirm, json, policy: None }.run()
}

/// Prints the requirements and the names of the secrets on stderr: stdout is for the result. `drawn` says
/// that the broker will draw the id, and that the one in `request` stands for it.
pub(crate) fn show(request: &RegisterRequest, drawn: bool) -> Result<(), Failure> {
    let registration = registration(request);
    let id = if drawn {
        "an id that the broker draws, with HOST_DATA".to_owned()
    } else {
        request.workload_id.to_string()
    };
    let mut lines = vec![("workload", id), ("dialect", names(&request.dialects))];
    // The broker draws HOST_DATA: the one in this request stands for it.
    let chosen = |name: &str| drawn && name == "HOST_DATA";
    lines.extend(requirements::of(&registration).into_iter().map(|(name, what)| {
        if chosen(name) { (name, "the one that the broker draws".to_owned()) } else { (name, what) }
    }));
    lines.extend(request.secrets.keys().map(|name| ("secret", name.clone())));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    for (name, what) in lines {
        say!("{name:<width$}{}", table::printable(&what));
    }
    Ok(())
}

/// The registration that `request` asks for, but for what the broker adds.
fn registration(request: &RegisterRequest) -> Registration {
    Registration {
        serial: Uuid::nil(),
        dialects: request.dialects.clone(),
        owner: None,
        reference_values: request.reference_values.clone(),
        policy: request.policy.clone(),
        rego: request.rego.clone(),
    }
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
    /// Where a guest of Trustee finds the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    kbs: Option<Kbs>,
}

impl RegisterOutput {
    /// The output with the id that was given, if one was.
    fn of(self, id: Option<&WorkloadId>) -> Self {
        Self { schema: 1, workload_id: id.map(ToString::to_string), ..self }
    }

    /// The output with the document of the workload.
    fn with(self, init_data: &InitData, launch: Option<Launch>) -> Self {
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
    fn registered(
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

fn told(json: bool, output: &RegisterOutput) -> Result<Exit, Failure> {
    if json {
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
