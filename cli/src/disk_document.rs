//! The init data document of a workload, from the header of its disk and the keys of its broker.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use jiff::{SignedDuration, Timestamp};
use keybroker_common::ids::WorkloadId;
use keybroker_initdata::{
    Algorithm, Binding, BrokerKey, Disk, Document, Settings,
    document::{Device, SigningKey},
    luks::{self, Header},
};

use crate::{
    bounded,
    exit::{Exit, Failure, Unusable},
    operator::{OperatorHandle, signing_ring},
};

/// The broker, as a document names it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Document")]
pub(crate) struct BrokerArgs {
    /// A URL of the broker, as the guest reaches it; the guest asks several in their order
    #[arg(long = "broker", value_name = "URL", required = true)]
    brokers: Vec<String>,
    /// A key that the broker signs with, as `keybroker keys list --document` prints it. Without it: the keys
    /// in the store
    #[arg(long = "broker-key", value_name = "KEY", value_parser = BrokerKey::from_text)]
    broker_keys: Vec<BrokerKey>,
    /// The last instant at which the guest trusts the keys [default: in two years]
    #[arg(long, value_name = "RFC3339")]
    until: Option<Timestamp>,
    /// CA certificates that the guest trusts for TLS, beside its own roots
    #[arg(long, value_name = "PEM")]
    certificates: Option<PathBuf>,
}

/// How long a guest trusts the keys of its document, unless the operator says otherwise.
const TRUST: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);

impl BrokerArgs {
    /// The first of the URLs.
    pub(crate) fn first(&self) -> Option<&str> {
        self.brokers.first().map(String::as_str)
    }

    /// Whether the keys must be read from the store.
    pub(crate) fn needs_store(&self) -> bool {
        self.broker_keys.is_empty()
    }

    /// The keys that the document names. `operator` is the store, if it is open.
    /// `key_file` is its wrapping key's.
    pub(crate) async fn keys(
        &self,
        operator: Option<&OperatorHandle>,
        key_file: Option<&Path>,
    ) -> Result<Vec<SigningKey>, Failure> {
        let keys = match operator {
            Some(operator) if self.needs_store() => {
                let ring = signing_ring::checked(operator, key_file).await?;
                signing_ring::for_documents(&ring).cloned().collect()
            }
            _ => self.broker_keys.clone(),
        };
        if keys.is_empty() {
            let error =
                anyhow!("the store has no signing key, so a guest could not tell its broker from another");
            let advice = "make one with `keybroker keys prepare`, or give the broker's key with --broker-key";
            let whole = operator.map_or_else(|| advice.to_owned(), |operator| operator.place.advice(advice));
            return Err(Failure::new(Exit::Failure, error).hint(whole));
        }
        let not_after = match self.until {
            Some(until) if until <= Timestamp::now() => {
                let error = anyhow!("--until {until} is over: every guest would refuse the broker's keys");
                return Err(Failure::new(Exit::Usage, error));
            }
            Some(until) => until,
            None => (Timestamp::now() + TRUST).round(jiff::Unit::Second).context("the end of trust")?,
        };
        Ok(keys.into_iter().map(|key| SigningKey { key, not_after }).collect())
    }

    /// When the trust of an earlier document in `file` ends, unless the operator says a time, or half of it
    /// is over.
    pub(crate) fn trust_of_earlier(&self, file: Option<&Path>) -> Option<Timestamp> {
        let text = bounded::text(file.filter(|_| self.until.is_none())?).ok()?;
        let earlier = Document::parse(&text).ok()?;
        let not_after = earlier.keybroker().broker_keys.first()?.not_after;
        (not_after > Timestamp::now() + TRUST / 2).then_some(not_after)
    }

    /// The document of a workload with one disk.
    pub(crate) fn document(
        &self,
        workload: &WorkloadId,
        binding: Binding,
        broker_keys: Vec<SigningKey>,
        disk: Disk,
    ) -> Result<Document, Failure> {
        let certificates = match &self.certificates {
            Some(path) => Some(bounded::text(path).with_context(|| Unusable::reading(path))?),
            None => None,
        };
        let settings = Settings {
            workload: workload.to_string(),
            brokers: self.brokers.clone(),
            binding,
            certificates,
            broker_keys,
            disks: vec![disk],
        };
        Document::write(Algorithm::Sha256, &settings)
            .map_err(|error| Failure::new(Exit::Usage, error).context("the document"))
    }
}

/// The entry of a document for a disk with this header.
pub(crate) fn disk(header: &Header, name: &str, device: Device, secret: &str) -> Disk {
    Disk {
        name: name.to_owned(),
        device,
        secret: secret.to_owned(),
        volume_key: header.volume_key().clone(),
        segment: header.segment().clone(),
    }
}

/// Reads the header of a disk, or of its image.
pub(crate) fn header(path: &Path) -> Result<Header, Failure> {
    let failed = |error: anyhow::Error| {
        Failure::new(Exit::Configuration, error).context(format!("reading the header of {}", path.display()))
    };
    let mut file = File::open(path).map_err(|error| failed(error.into()))?;
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>, length: usize| {
        let missing = length.saturating_sub(bytes.len()) as u64;
        (&mut file).take(missing).read_to_end(bytes).map_err(|error| failed(error.into()))
    };
    more(&mut bytes, luks::PREFIX_LEN)?;
    let length = luks::metadata_len(&bytes).map_err(|error| failed(error.into()))?;
    more(&mut bytes, length)?;
    Header::parse(&bytes).map_err(|error| failed(error.into()))
}

/// The last bytes of a file, as many as there are up to `most`.
pub(crate) fn end_of(path: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(most as u64)))?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
