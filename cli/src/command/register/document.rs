//! The JSON document of a registration, from flags or a file. The broker's own code reads it here, too.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use data_encoding::BASE64;
use keybroker_common::{
    amend,
    broker::RegisterRequest,
    dialect::{Dialect, Dialects},
    ids::{HostData, WorkloadId},
    platform::Levels,
    secret::bounds::MAX_SECRET_LEN,
    wire::names_secret,
    wire::{Invalid, keybroker, libkrun},
};
use serde_json::{Map, Value, json, value::RawValue};
use zeroize::Zeroizing;

use super::{
    arguments::DocumentArgs,
    demands::{by_month, demands},
    from::{AsBuildah, FromDocument},
    init_data::InitData,
    trustee,
};
use crate::{
    bounded,
    exit::{Exit, Failure, Unusable},
    platform,
};

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
            FromDocument::Body(body) => {
                let document = Self::of(body);
                document.parsed().with_context(|| Unusable::reading(path))?;
                Ok(document)
            }
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
        self.parsed().map_err(|error| Failure::new(Exit::Usage, error).context("the registration"))
    }

    fn parsed(&self) -> Result<RegisterRequest, Invalid> {
        match self {
            Self::Libkrun(body) => libkrun::register_request(body),
            Self::Keybroker(body) | Self::Named(body) => {
                keybroker::register_request(body, HostData::random()).map(|(request, _)| request)
            }
        }
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
    let (file, passphrase) = passphrase(args)?;
    // buildah sends bits that permit everything. The broker heeds only the one for SMT.
    let bits = if *forbid_smt { 14 } else { 15 };
    let tee_config = json!({ "flags": { "bits": bits }, "minfw": { "major": major, "minor": minor } });
    let body = json!({
        "workload_id": id.as_str(),
        "launch_measurement": measurement,
        "passphrase": passphrase.as_str(),
        "tee_config": tee_config.to_string(),
    });
    let body = to_bytes(&body)?;
    match libkrun::register_request(&body) {
        Err(error @ (Invalid::PassphraseLength | Invalid::PassphraseNul)) => Err(bad_passphrase(file, error)),
        _ => Ok(body),
    }
}

/// The passphrase that a disk was encrypted with, and its file.
fn passphrase(args: &DocumentArgs) -> Result<(&Path, Zeroizing<String>), Failure> {
    let path = args.passphrase_file.as_deref().ok_or_else(|| {
        let error = anyhow!("a registration as buildah makes it needs --passphrase-file");
        Failure::new(Exit::Usage, error)
    })?;
    let bytes = read(path)?;
    let text = utf8(bytes.strip_suffix(b"\n").unwrap_or(&bytes), path)?;
    Ok((path, Zeroizing::new(text.to_owned())))
}

fn bad_passphrase(file: &Path, error: impl Into<anyhow::Error>) -> Failure {
    error.into().context(Unusable::reading(file)).into()
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
        let (file, passphrase) = passphrase(args)?;
        if !(1..=MAX_SECRET_LEN).contains(&passphrase.len()) {
            let length = passphrase.len();
            let error = anyhow!("the passphrase has {length} bytes: it must have 1 to {MAX_SECRET_LEN}");
            return Err(bad_passphrase(file, error));
        }
        secret = Some((init_data.secret()?.to_owned(), passphrase.as_str().into()));
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
            return Err(error.context(Unusable::reading(path)).into());
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
        put("policy", utf8(&read(path)?, path)?.into());
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

/// The reference values go in unchanged: the broker hashes and evaluates this very text.
fn with_reference_values(body: &[u8], path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = read(path)?;
    let raw: &RawValue = serde_json::from_slice(&text).with_context(|| Unusable::reading(path))?;
    if !raw.get().starts_with('{') {
        let error = anyhow!("the reference values are not a JSON object");
        return Err(error.context(Unusable::content(path)).into());
    }
    let rest = body.strip_prefix(b"{").unwrap_or(body);
    Ok(Zeroizing::new([b"{\"reference_values\":", raw.get().as_bytes(), b",", rest].concat()))
}

pub(super) fn to_bytes(body: &Value) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Ok(Zeroizing::new(serde_json::to_vec(body).context("writing the registration")?))
}

/// A file's contents, or with `-` standard input.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Ok(bounded::given(path).with_context(|| Unusable::reading(path))?)
}

/// The text in the bytes of a file.
fn utf8<'b>(bytes: &'b [u8], path: &Path) -> Result<&'b str, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| anyhow!("it is not UTF-8"));
    Ok(text.with_context(|| Unusable::reading(path))?)
}
