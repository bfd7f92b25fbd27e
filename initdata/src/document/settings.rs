//! The file `keybroker.toml`.

use std::{collections::BTreeSet, fmt};

use data_encoding::BASE64;
use jiff::Timestamp;

use super::{
    error::{DocumentError, Part},
    fields::Fields,
    rules,
};
use crate::{
    broker_key::BrokerKey,
    volume_key::{Segment, VolumeKeyDigest, is_null_cipher},
};

/// The settings of a guest of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The workload as which the guest asks.
    pub workload: String,
    /// The URLs of brokers, in the order in which they are asked.
    pub brokers: Vec<String>,
    /// The thing that binds the document to the guest.
    pub binding: Binding,
    /// CA certificates for TLS, as PEM, beside the guest's own roots.
    pub certificates: Option<String>,
    /// The keys that a broker may sign with, each with its end.
    pub broker_keys: Vec<SigningKey>,
    /// The disks to open.
    pub disks: Vec<Disk>,
}

/// The things that can bind a document to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// HOST_DATA in the guest's report is the document's digest.
    HostData,
    /// The document lies in what is measured at launch.
    Measured,
    /// Nothing: the host can put another document in its place.
    Nothing,
}

impl Binding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HostData, Self::Measured, Self::Nothing];

    /// The name in a document.
    pub fn name(self) -> &'static str {
        match self {
            Self::HostData => "host-data",
            Self::Measured => "measured",
            Self::Nothing => "none",
        }
    }
}

/// A key that a broker may sign with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The key.
    pub key: BrokerKey,
    /// The last instant at which the guest trusts it.
    pub not_after: Timestamp,
}

/// A disk to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The name of the mapping: `/dev/mapper/NAME`.
    pub name: String,
    /// Where it is.
    pub device: Device,
    /// The name of its secret at the broker.
    pub secret: String,
    /// The volume key under which the data was written.
    pub volume_key: VolumeKeyDigest,
    /// How the data lies on the device.
    pub segment: Segment,
}

/// Where a disk is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// A path below /dev.
    Path(String),
    /// The UUID of what is on the device.
    Uuid(String),
    /// The UUID of the partition.
    PartUuid(String),
    /// The label of what is on the device.
    Label(String),
}

impl Device {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        match text.split_once('=') {
            None => rules::device_path(text).map(|()| Self::Path(text.to_owned())),
            Some((tag, value)) => {
                rules::device_tag(value)?;
                match tag {
                    "UUID" => Ok(Self::Uuid(value.to_owned())),
                    "PARTUUID" => Ok(Self::PartUuid(value.to_owned())),
                    "LABEL" => Ok(Self::Label(value.to_owned())),
                    _ => Err(DocumentError::Device),
                }
            }
        }
    }

    /// The path below /dev: for a UUID or a label, the link that udev makes.
    pub fn path(&self) -> String {
        match self {
            Self::Path(path) => path.clone(),
            Self::Uuid(uuid) => format!("/dev/disk/by-uuid/{uuid}"),
            Self::PartUuid(uuid) => format!("/dev/disk/by-partuuid/{uuid}"),
            Self::Label(label) => format!("/dev/disk/by-label/{label}"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Uuid(uuid) => write!(f, "UUID={uuid}"),
            Self::PartUuid(uuid) => write!(f, "PARTUUID={uuid}"),
            Self::Label(label) => write!(f, "LABEL={label}"),
        }
    }
}

impl Settings {
    /// The most broker keys.
    pub const MAX_BROKER_KEYS: usize = 4;

    /// The most URLs of brokers.
    pub const MAX_BROKERS: usize = 8;

    /// The most disks.
    pub const MAX_DISKS: usize = 16;

    /// The broker keys that the guest trusts at `now`.
    pub fn keys_at(&self, now: Timestamp) -> impl Iterator<Item = &BrokerKey> {
        self.broker_keys.iter().filter(move |key| now <= key.not_after).map(|key| &key.key)
    }

    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, DocumentError> {
        let workload = fields.text("workload")?;
        rules::workload(&workload)?;
        let brokers = fields.texts("brokers")?;
        at_least_one(
            brokers.len(),
            Self::MAX_BROKERS,
            DocumentError::NoBroker,
            DocumentError::TooManyBrokers,
        )?;
        brokers.iter().try_for_each(|url| rules::broker(url))?;
        let binding = fields.text("binding")?;
        let binding = Binding::ALL.into_iter().find(|known| known.name() == binding);
        let binding = binding.ok_or(DocumentError::Binding)?;
        let certificates = fields.optional_text("certificates")?;
        certificates.as_deref().map_or(Ok(()), rules::certificates)?;
        let keys = fields.tables("broker_key", Part::BrokerKey)?;
        let disks = fields.tables("disk", Part::Disk)?;
        fields.finish()?;

        let (none, many) = (DocumentError::NoBrokerKey, DocumentError::TooManyBrokerKeys);
        at_least_one(keys.len(), Self::MAX_BROKER_KEYS, none, many)?;
        let broker_keys = keys.into_iter().map(SigningKey::read).collect::<Result<Vec<_>, _>>()?;
        unique(broker_keys.iter().map(|key| &key.key), DocumentError::RepeatedBrokerKey)?;

        at_least_one(disks.len(), Self::MAX_DISKS, DocumentError::NoDisk, DocumentError::TooManyDisks)?;
        let disks = disks.into_iter().map(Disk::read).collect::<Result<Vec<_>, _>>()?;
        unique(disks.iter().map(|disk| &disk.name), DocumentError::RepeatedDisk)?;
        unique(disks.iter().map(|disk| &disk.device), DocumentError::RepeatedDevice)?;
        Ok(Self { workload, brokers, binding, certificates, broker_keys, disks })
    }
}

impl SigningKey {
    fn read(mut fields: Fields<'_>) -> Result<Self, DocumentError> {
        let key = BrokerKey::from_text(&fields.text("key")?)?;
        let not_after = fields.instant("not_after")?;
        fields.finish()?;
        Ok(Self { key, not_after })
    }
}

impl Disk {
    fn read(mut fields: Fields<'_>) -> Result<Self, DocumentError> {
        let name = fields.text("name")?;
        rules::disk_name(&name)?;
        let device = Device::parse(&fields.text("device")?)?;
        let secret = fields.text("secret")?;
        rules::secret_name(&secret)?;
        let volume_key = volume_key(fields.table("volume_key", Part::VolumeKey)?)?;
        let segment = segment(fields.table("segment", Part::Segment)?)?;
        fields.finish()?;
        Ok(Self { name, device, secret, volume_key, segment })
    }
}

fn volume_key(mut fields: Fields<'_>) -> Result<VolumeKeyDigest, DocumentError> {
    let luks = fields.number("luks")?;
    let hash = fields.text("hash")?;
    let iterations = fields.small_number("iterations")?;
    let bytes = |text: String| BASE64.decode(text.as_bytes()).map_err(|_| DocumentError::VolumeKey);
    let salt = bytes(fields.text("salt")?)?;
    let digest = bytes(fields.text("digest")?)?;
    let digest = match luks {
        1 => {
            let salt = salt.try_into().map_err(|_| DocumentError::VolumeKey)?;
            let digest = digest.try_into().map_err(|_| DocumentError::VolumeKey)?;
            VolumeKeyDigest::Luks1 { hash, iterations, salt, digest }
        }
        2 if fields.text("type")? == VolumeKeyDigest::LUKS2_TYPE => {
            VolumeKeyDigest::Luks2 { hash, iterations, salt, digest }
        }
        2 => return Err(DocumentError::VolumeKey),
        _ => return Err(DocumentError::LuksVersion),
    };
    fields.finish()?;
    digest.is_sound().then_some(digest).ok_or(DocumentError::VolumeKey)
}

fn segment(mut fields: Fields<'_>) -> Result<Segment, DocumentError> {
    let segment = Segment {
        cipher: fields.text("cipher")?,
        key_bits: fields.small_number("key_bits")?,
        sector_size: fields.small_number("sector_size")?,
        offset: fields.number("offset")?,
        integrity: Some(fields.text("integrity")?).filter(|integrity| integrity != "none"),
        flags: fields.texts("flags")?,
    };
    fields.finish()?;
    if is_null_cipher(&segment.cipher) {
        return Err(DocumentError::NullCipher);
    }
    segment.is_sound().then_some(segment).ok_or(DocumentError::Segment)
}

fn at_least_one(
    count: usize,
    most: usize,
    none: DocumentError,
    many: DocumentError,
) -> Result<(), DocumentError> {
    match count {
        0 => Err(none),
        _ if count > most => Err(many),
        _ => Ok(()),
    }
}

fn unique<T: Ord>(items: impl Iterator<Item = T>, repeated: DocumentError) -> Result<(), DocumentError> {
    let mut seen = BTreeSet::new();
    for item in items {
        if !seen.insert(item) {
            return Err(repeated);
        }
    }
    Ok(())
}
