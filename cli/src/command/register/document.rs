//! The JSON document of a registration, from flags or a file. The broker's own code reads it here, too.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use data_encoding::BASE64;
use keybroker_common::{
    amend,
    broker::RegisterRequest,
    dialect::{Dialect, Dialects},
    ids::{HostData, WorkloadId},
    platform::{ChipId, Condition, FirmwareVersion, Levels, MitigationBits, PlatformDemands},
    secret::bounds::MAX_SECRET_LEN,
    wire::names_secret,
    wire::{Invalid, keybroker, libkrun},
};
use keybroker_snp::product::Product;
use serde_json::{Map, Value, json, value::RawValue};
use zeroize::Zeroizing;

use super::{
    from::{AsBuildah, FromDocument, abi},
    init_data::InitData,
    trustee,
};
use crate::{
    advisories::{self, AdvisoriesArgs},
    exit::{Exit, Failure},
    hex, id_key,
    measurements::MeasurementArgs,
    platform,
};

/// The requirements on a guest, and its secrets.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registration")]
pub(super) struct DocumentArgs {
    /// The JSON document of a registration; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ANY, conflicts_with_all = BY_REFERENCE_VALUES)]
    from: Option<PathBuf>,
    #[command(flatten)]
    measurements: MeasurementArgs,
    /// The key that signs the guest's ID block, as a file with either half or as its digest. Several: one of
    /// them must have signed
    #[arg(long, value_name = "FILE|DIGEST")]
    id_key: Vec<String>,
    /// The author key that certified the ID key, likewise
    #[arg(long, value_name = "FILE|DIGEST")]
    author_key: Option<String>,
    /// The file of the passphrase, with --workload-id or beside a document of such a registration; one line
    /// break at its end is dropped; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Require that the guest policy forbids SMT
    #[arg(long)]
    forbid_smt: bool,
    /// The least ABI that the guest policy must demand, with --workload-id alone: 1.55
    #[arg(long, value_name = "MAJOR.MINOR", value_parser = abi, requires = "workload_id")]
    #[arg(conflicts_with_all = NOT_AS_BUILDAH)]
    minimum_abi: Option<(u8, u8)>,
    /// A secret that the guest gets under a name; for guests of Trustee the name is repository/type/tag
    #[arg(long, value_name = "NAME=FILE", value_parser = resource)]
    resource: Vec<(String, PathBuf)>,
    /// A query in Rego that must give true
    #[arg(long, value_name = "REGO")]
    query: Vec<String>,
    /// A module in Rego for the queries
    #[arg(long, value_name = "FILE", requires = "query")]
    policy: Option<PathBuf>,
    /// A JSON object that the queries see as `data`
    #[arg(long, value_name = "FILE")]
    reference_values: Option<PathBuf>,
    /// A requirement on the guest's ID block or policy, as the document names it: id_key_digest=HEX,
    /// minimum_guest_svn=2, single_socket=true
    #[arg(long, value_name = "NAME=VALUE", value_parser = demand)]
    require: Vec<(String, String)>,
    /// The least reported TCB of some silicon: milan-b1:bl=4,tee=0,snp=27,ucode=222. Silicon is a stepping's
    /// name, its CPUID signature (0x00A00F11), or for reports of version 2 a product; a guest on other
    /// silicon is refused. `advisories=2026-05` stands for the numbers of AMD's bulletins up to that month,
    /// by rows that you confirmed in a table of your own (--advisories); the command prints them, and sends
    /// them
    #[arg(long, value_name = "FLOOR", value_parser = platform::floor_or_month)]
    minimum_tcb: Vec<String>,
    /// The least committed TCB, in the same form
    #[arg(long, value_name = "FLOOR", value_parser = platform::floor)]
    minimum_committed_tcb: Vec<String>,
    /// The least current TCB, in the same form
    #[arg(long, value_name = "FLOOR", value_parser = platform::floor)]
    minimum_current_tcb: Vec<String>,
    /// The least TCB at launch, in the same form
    #[arg(long, value_name = "FLOOR", value_parser = platform::floor)]
    minimum_launch_tcb: Vec<String>,
    /// Bits that CURRENT_MIT_VECTOR of some silicon must have: milan-b1:1+2+4
    #[arg(long, value_name = "BITS", value_parser = platform::bits)]
    current_mitigations: Vec<String>,
    /// Bits that LAUNCH_MIT_VECTOR must have, in the same form
    #[arg(long, value_name = "BITS", value_parser = platform::bits)]
    launch_mitigations: Vec<String>,
    /// A condition of the platform: alias-check, iommu-writes, tsme, no-smt, rapl-disabled, ecc,
    /// ciphertext-hiding, or committed (no provisional firmware)
    #[arg(long, value_name = "CONDITION", value_parser = platform::condition)]
    require_platform: Vec<Condition>,
    /// The least version of the SNP firmware
    #[arg(long, value_name = "MAJOR.MINOR.BUILD", value_parser = platform::firmware)]
    minimum_firmware: Option<FirmwareVersion>,
    /// A product that the guest may run on
    #[arg(long, value_name = "milan|genoa|turin", value_parser = platform::product)]
    accept_product: Vec<Product>,
    /// A chip that the guest may run on, by its id: 128 hex digits, or 16 of a Turin
    #[arg(long, value_name = "HEX", value_parser = platform::chip)]
    accept_chip: Vec<ChipId>,
    #[command(flatten)]
    advisories: AdvisoriesArgs,
}

/// The flags with which --workload-id does not register as buildah does.
const NOT_AS_BUILDAH: [&str; 3] = ["disk", "init_data", "dialect"];

/// The flags of registrations with a workload id, and of both kinds: --from replaces them.
const ANY: [&str; 5] = ["workload_id", "measurement", "measurements", "forbid_smt", "minimum_abi"];

/// The flags that a registration as buildah makes it cannot have: --from replaces them as well, but for
/// secrets.
const BY_REFERENCE_VALUES: [&str; 16] = [
    "id_key",
    "author_key",
    "query",
    "policy",
    "reference_values",
    "require",
    "minimum_tcb",
    "minimum_committed_tcb",
    "minimum_current_tcb",
    "minimum_launch_tcb",
    "current_mitigations",
    "launch_mitigations",
    "require_platform",
    "minimum_firmware",
    "accept_product",
    "accept_chip",
];

impl DocumentArgs {
    /// Refuses flags that a registration as buildah makes it cannot have.
    fn check_as_buildah(&self) -> Result<(), Failure> {
        let given = [
            ("--id-key", !self.id_key.is_empty()),
            ("--author-key", self.author_key.is_some()),
            ("--resource", !self.resource.is_empty()),
            ("--query", !self.query.is_empty()),
            ("--policy", self.policy.is_some()),
            ("--reference-values", self.reference_values.is_some()),
            ("--require", !self.require.is_empty()),
            ("--minimum-tcb", !self.minimum_tcb.is_empty()),
            ("--minimum-committed-tcb", !self.minimum_committed_tcb.is_empty()),
            ("--minimum-current-tcb", !self.minimum_current_tcb.is_empty()),
            ("--minimum-launch-tcb", !self.minimum_launch_tcb.is_empty()),
            ("--current-mitigations", !self.current_mitigations.is_empty()),
            ("--launch-mitigations", !self.launch_mitigations.is_empty()),
            ("--require-platform", !self.require_platform.is_empty()),
            ("--minimum-firmware", self.minimum_firmware.is_some()),
            ("--accept-product", !self.accept_product.is_empty()),
            ("--accept-chip", !self.accept_chip.is_empty()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => {
                let error = anyhow!("{flag} cannot be used with --workload-id alone");
                Err(Failure::new(Exit::Usage, error).hint(
                    "add --disk, --init-data or --dialect trustee, or leave --workload-id out: the broker draws \
                     an id then",
                ))
            }
        }
    }

    /// Refuses to read standard input twice, or from a terminal, where others see a secret being typed.
    fn check_standard_input(&self) -> Result<(), Failure> {
        let files = [&self.from, &self.passphrase_file, &self.policy, &self.reference_values];
        let resources = self.resource.iter().map(|(_, path)| path);
        let files = files.into_iter().flatten().chain(self.measurements.files());
        let times = files.chain(resources).filter(|path| is_stdin(path)).count();
        let usage = |what| Failure::new(Exit::Usage, anyhow!("{what}"));
        match times {
            0 => Ok(()),
            1 if io::stdin().is_terminal() => {
                let seen = usage("- is for a pipe: a terminal shows what you type");
                Err(seen.hint("pipe it in, and give --yes"))
            }
            1 => Ok(()),
            _ => Err(usage("only one of the files can be standard input")),
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn pair(text: &str) -> Result<(&str, &str), &'static str> {
    text.split_once('=').ok_or("must be NAME=VALUE")
}

fn resource(text: &str) -> Result<(String, PathBuf), &'static str> {
    let (name, path) = text.split_once('=').ok_or("must be NAME=FILE")?;
    Ok((name.to_owned(), path.into()))
}

fn demand(text: &str) -> Result<(String, String), &'static str> {
    pair(text).map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// A registration as it is sent. Its body may hold a secret, so there is no `Debug`.
pub(super) enum Document {
    /// With a workload id, as buildah sends it.
    Libkrun(Zeroizing<Vec<u8>>),
    /// By reference values.
    Keybroker(Zeroizing<Vec<u8>>),
    /// By reference values, with a workload id: with init data, or for guests of Trustee.
    Named(Zeroizing<Vec<u8>>),
}

impl Document {
    /// Reads a registration from the flags: beside `init_data`, one for guests that have it.
    pub(super) fn read(
        workload_id: Option<&WorkloadId>,
        args: &DocumentArgs,
        dialects: Option<&Dialects>,
        init_data: Option<&InitData>,
    ) -> Result<Self, Failure> {
        args.check_standard_input()?;
        match (workload_id, init_data, &args.from) {
            (Some(id), None, _) if dialects.is_none() => {
                args.check_as_buildah()?;
                Ok(Self::Libkrun(libkrun_body(&as_buildah(id, args)?, args)?))
            }
            (Some(id), _, _) => Ok(Self::Named(named_body(id, args, dialects, init_data)?)),
            (None, _, Some(path)) => Self::from_file(path, args),
            (None, _, None) if args.passphrase_file.is_some() => {
                Err(Failure::new(Exit::Usage, anyhow!("--passphrase-file needs --workload-id or --from")))
            }
            (None, _, None) => Ok(Self::Keybroker(keybroker_body(args, Map::new(), None)?)),
        }
    }

    fn from_file(path: &Path, args: &DocumentArgs) -> Result<Self, Failure> {
        let from = FromDocument::read(read(path)?, resources(args)?)
            .map_err(|failure| failure.context(format!("reading {}", path.display())))?;
        match from {
            FromDocument::AsBuildah(registration) => Ok(Self::Libkrun(libkrun_body(&registration, args)?)),
            FromDocument::Body(_) if args.passphrase_file.is_some() => {
                let error = anyhow!("--passphrase-file is for a document with the dialect v0");
                Err(Failure::new(Exit::Usage, error).hint("give each secret with --resource NAME=FILE"))
            }
            FromDocument::Body(body) => Ok(Self::of(body)),
        }
    }

    /// The registration in the body of `POST /rvp/register`. Whether it can be read is told later.
    pub(super) fn of(body: Zeroizing<Vec<u8>>) -> Self {
        let request = keybroker::register_request(&body, HostData::random());
        let named = request.is_ok_and(|(request, _)| !request.dialects.contains(Dialect::Keybroker));
        if named { Self::Named(body) } else { Self::Keybroker(body) }
    }

    /// Whether the broker draws the id, and the HOST_DATA that spells it.
    pub(super) fn is_drawn(&self) -> bool {
        matches!(self, Self::Keybroker(_))
    }

    /// The broker's route for it.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Libkrun(_) => "/kbs/v0/register_workload",
            Self::Keybroker(_) | Self::Named(_) => "/rvp/register",
        }
    }

    pub(super) fn body(&self) -> &Zeroizing<Vec<u8>> {
        match self {
            Self::Libkrun(body) | Self::Keybroker(body) | Self::Named(body) => body,
        }
    }

    /// The request that the broker will read from it, with another HOST_DATA than the broker will draw.
    pub(super) fn request(&self) -> Result<RegisterRequest, Failure> {
        let read = match self {
            Self::Libkrun(body) => libkrun::register_request(body),
            Self::Keybroker(body) | Self::Named(body) => {
                keybroker::register_request(body, HostData::random()).map(|(request, _)| request)
            }
        };
        read.map_err(|error: Invalid| Failure::new(Exit::Usage, error).context("the registration"))
    }
}

/// The flags as a registration as buildah makes it.
fn as_buildah(id: &WorkloadId, args: &DocumentArgs) -> Result<AsBuildah, Failure> {
    let measurements = args.measurements.read()?;
    let [measurement] = *measurements.as_slice() else {
        let error = anyhow!("--workload-id needs exactly one --measurement");
        return Err(Failure::new(Exit::Usage, error));
    };
    let minimum_abi = args.minimum_abi.unwrap_or_default();
    Ok(AsBuildah { id: id.clone(), measurement, forbid_smt: args.forbid_smt, minimum_abi })
}

fn libkrun_body(registration: &AsBuildah, args: &DocumentArgs) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let AsBuildah { id, measurement, forbid_smt, minimum_abi: (major, minor) } = registration;
    let passphrase = passphrase(args)?;
    // buildah sends bits that permit everything. The broker heeds only the one for SMT.
    let bits = if *forbid_smt { 14 } else { 15 };
    let tee_config = json!({ "flags": { "bits": bits }, "minfw": { "major": major, "minor": minor } });
    let body = json!({
        "workload_id": id.as_str(),
        "launch_measurement": measurement,
        "passphrase": passphrase.as_str(),
        "tee_config": tee_config.to_string(),
    });
    to_bytes(&body)
}

/// The passphrase that a disk was encrypted with.
fn passphrase(args: &DocumentArgs) -> Result<Zeroizing<String>, Failure> {
    let usage = |what| Failure::new(Exit::Usage, anyhow!("{what}"));
    let path = args.passphrase_file.as_deref();
    let bytes =
        read(path.ok_or_else(|| usage("a registration as buildah makes it needs --passphrase-file"))?)?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| usage("the passphrase must be UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn named_body(
    id: &WorkloadId,
    args: &DocumentArgs,
    dialects: Option<&Dialects>,
    init_data: Option<&InitData>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut secret = None;
    if args.passphrase_file.is_some() {
        let init_data = init_data.ok_or_else(|| trustee::for_disks("--passphrase-file"))?;
        secret = Some((init_data.secret()?.to_owned(), passphrase(args)?.as_str().into()));
    }
    if let Some(dialects) = dialects.filter(|dialects| dialects.contains(Dialect::Trustee)) {
        check_names(args, dialects)?;
    }
    keybroker_body(args, named_members(id, dialects, init_data), secret)
}

/// Refuses a name that no guest of these dialects can ask for.
fn check_names(args: &DocumentArgs, dialects: &Dialects) -> Result<(), Failure> {
    match args.resource.iter().find(|(name, _)| !names_secret(dialects, name)) {
        None => Ok(()),
        Some((name, _)) => {
            let error = anyhow!("no guest of this workload can ask for a resource that is named {name:?}");
            Err(Failure::new(Exit::Usage, error).hint(format!(
                "its resources are named {}, where each part has 1 to 64 of A-Z a-z 0-9 . _ -",
                amend::names(dialects)
            )))
        }
    }
}

/// The members of a registration with a workload id that tell its guests and their init data.
pub(super) fn named_members(
    id: &WorkloadId,
    dialects: Option<&Dialects>,
    init_data: Option<&InitData>,
) -> Map<String, Value> {
    let mut members = Map::from_iter([("workload_id".to_owned(), json!(id))]);
    members.extend(dialects.map(|dialects| ("dialects".to_owned(), json!(dialects))));
    members.extend(init_data.map(|init_data| {
        let document = json!({ "bound_by": init_data.bound_by(), "document": init_data.text() });
        ("init_data".to_owned(), document)
    }));
    members
}

/// The secrets that flags give a name, as members of `resources`.
fn resources(args: &DocumentArgs) -> Result<Map<String, Value>, Failure> {
    let mut resources = Map::new();
    for (name, path) in &args.resource {
        let bytes = read(path)?;
        if !(1..=MAX_SECRET_LEN).contains(&bytes.len()) {
            let error =
                anyhow!("the resource {name} has {} bytes: it must have 1 to {MAX_SECRET_LEN}", bytes.len());
            return Err(Failure::new(Exit::Usage, error));
        }
        let resource = resource_value(&bytes);
        if resources.insert(name.clone(), resource).is_some() {
            return Err(Failure::new(Exit::Usage, anyhow!("the resource {name} is given twice")));
        }
    }
    Ok(resources)
}

/// A registration by reference values, with further members.
fn keybroker_body(
    args: &DocumentArgs,
    mut body: Map<String, Value>,
    passphrase: Option<(String, Value)>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut resources = resources(args)?;
    if let Some((name, passphrase)) = passphrase
        && resources.insert(name.clone(), passphrase).is_some()
    {
        return Err(Failure::new(Exit::Usage, anyhow!("the resource {name} is given twice")));
    }
    body.insert("resources".to_owned(), Value::Object(resources));
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    let measurements = args.measurements.read()?;
    if !measurements.is_empty() {
        put("measurements", json!(measurements));
    }
    if !args.query.is_empty() {
        put("query", json!(args.query));
    }
    if let Some(path) = &args.policy {
        let text = String::from_utf8(read(path)?.to_vec());
        put("policy", text.map_err(|_| Failure::new(Exit::Usage, anyhow!("--policy must be UTF-8")))?.into());
    }
    let by_month = by_month(args)?;
    if !by_month.minimum_tcb.is_empty() {
        put("minimum_tcb", json!(by_month.minimum_tcb));
    }
    for (name, floors) in [
        ("minimum_committed_tcb", &args.minimum_committed_tcb),
        ("minimum_current_tcb", &args.minimum_current_tcb),
        ("minimum_launch_tcb", &args.minimum_launch_tcb),
    ] {
        if !floors.is_empty() {
            put(name, json!(platform::rows::<Levels>(name, floors)?));
        }
    }
    let demands = demands(args, &by_month)?;
    if !demands.is_empty() {
        put("require", Value::Object(demands));
    }
    let body = to_bytes(&Value::Object(body))?;
    match &args.reference_values {
        Some(path) => with_reference_values(&body, path),
        None => Ok(body),
    }
}

/// A resource in a registration: a string, or if it is not UTF-8 an object with its base64.
pub(super) fn resource_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": BASE64.encode(bytes) }),
    }
}

/// The demands to which a month of the table of AMD's bulletins may add, with what it adds: told on stderr,
/// since the registration has the numbers and no month.
fn by_month(args: &DocumentArgs) -> Result<PlatformDemands, Failure> {
    let (minimum_tcb, month) = platform::by_month("--minimum-tcb", &args.minimum_tcb)?;
    let mut demands = PlatformDemands {
        minimum_tcb,
        current_mitigations: platform::rows("--current-mitigations", &args.current_mitigations)?,
        conditions: args.require_platform.clone(),
        ..PlatformDemands::default()
    };
    if let Some(month) = month {
        let table = args.advisories.choice(Some(month)).resolve(&mut demands).map_err(advisories::refused)?;
        anstream::eprintln!(
            "advisories={month} stands for these numbers, by a table of {}: {}",
            table.date(),
            flags(&demands)
        );
    }
    Ok(demands)
}

/// Demands as flags.
fn flags(demands: &PlatformDemands) -> String {
    let floors = demands.minimum_tcb.rows().map(|(key, levels)| format!("--minimum-tcb {key}:{levels}"));
    let bits =
        demands.current_mitigations.rows().map(|(key, bits)| format!("--current-mitigations {key}:{bits}"));
    let conditions = demands.conditions.iter().map(|condition| format!("--require-platform {condition}"));
    floors.chain(bits).chain(conditions).collect::<Vec<_>>().join(" ")
}

/// The demands on the platform that are no floors of its TCB, by the members of `require`.
fn platform_demands(args: &DocumentArgs, by_month: &PlatformDemands) -> Result<Map<String, Value>, Failure> {
    let mut demands = Map::new();
    let mut put = |name: &str, value: Value| drop(demands.insert(name.to_owned(), value));
    if !by_month.current_mitigations.is_empty() {
        put("current_mitigations", json!(by_month.current_mitigations));
    }
    if !args.launch_mitigations.is_empty() {
        let bits = platform::rows::<MitigationBits>("launch_mitigations", &args.launch_mitigations)?;
        put("launch_mitigations", json!(bits));
    }
    if !by_month.conditions.is_empty() {
        put("platform", json!(by_month.conditions));
    }
    if let Some(firmware) = args.minimum_firmware {
        put("minimum_firmware", json!(firmware));
    }
    if !args.accept_product.is_empty() {
        let names = args.accept_product.iter().map(|product| product.name().to_ascii_lowercase());
        put("products", names.collect());
    }
    if !args.accept_chip.is_empty() {
        put("chips", json!(args.accept_chip));
    }
    Ok(demands)
}

/// The demands. A value that is a number or a boolean is one; any other is text.
fn demands(args: &DocumentArgs, by_month: &PlatformDemands) -> Result<Map<String, Value>, Failure> {
    let mut demands = platform_demands(args, by_month)?;
    if args.forbid_smt {
        demands.insert("smt".to_owned(), false.into());
    }
    if !args.id_key.is_empty() {
        let digests = args.id_key.iter().map(|given| id_key::digest(given)).collect::<Result<Vec<_>, _>>()?;
        // A broker of an earlier release knows one key alone, as a string.
        let keys = if let [one] = digests.as_slice() { json!(one) } else { json!(digests) };
        demands.insert("id_key_digest".to_owned(), keys);
    }
    if let Some(given) = &args.author_key {
        demands.insert("author_key_digest".to_owned(), json!(id_key::digest(given)?));
    }
    for (name, text) in &args.require {
        let literal = serde_json::from_str::<Value>(text).ok();
        // JSON would read a digest of 96 decimal digits as a number.
        let literal = literal.filter(|value| value.is_boolean() || (value.is_u64() && text.len() < 16));
        let value = match literal {
            Some(literal) => literal,
            None => hex::digest(text).map_or_else(|never| match never {}, Value::from),
        };
        if demands.insert(name.clone(), value).is_some() {
            return Err(Failure::new(Exit::Usage, anyhow!("{name} is required twice")));
        }
    }
    Ok(demands)
}

/// The reference values go in unchanged: the broker hashes and evaluates this very text.
fn with_reference_values(body: &[u8], path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = read(path)?;
    let raw: &RawValue = serde_json::from_slice(&text)
        .with_context(|| format!("reading {}", path.display()))
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let rest = body.strip_prefix(b"{").unwrap_or(body);
    Ok(Zeroizing::new([b"{\"reference_values\":", raw.get().as_bytes(), b",", rest].concat()))
}

pub(super) fn to_bytes(body: &Value) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Ok(Zeroizing::new(serde_json::to_vec(body).context("writing the registration")?))
}

/// A file's contents, or with `-` standard input.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if is_stdin(path) {
        io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        fs::read(path).map(|contents| *bytes = contents)
    };
    read.with_context(|| format!("reading {}", path.display()))
        .map_err(|error| Failure::new(Exit::Configuration, error))?;
    Ok(bytes)
}
