use std::fmt;

/// The tables of a document, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The document itself.
    Document,
    /// Its table `[data]`.
    Data,
    /// The file `keybroker.toml`.
    Settings,
    /// A table `[[broker_key]]` in that file.
    BrokerKey,
    /// A table `[[disk]]` in that file.
    Disk,
    /// The table `[disk.volume_key]` of a disk.
    VolumeKey,
    /// The table `[disk.segment]` of a disk.
    Segment,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document => "the document",
            Self::Data => "[data]",
            Self::Settings => "keybroker.toml",
            Self::BrokerKey => "[[broker_key]]",
            Self::Disk => "[[disk]]",
            Self::VolumeKey => "[disk.volume_key]",
            Self::Segment => "[disk.segment]",
        })
    }
}

/// Why a text is no document for a guest of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// More than [`super::Document::MAX_LEN`] bytes.
    #[error("the document is longer than 64 KiB")]
    TooLong,
    /// Not TOML.
    #[error("line {line} of {part} is not TOML")]
    Toml {
        /// The document, or the file in it.
        part: Part,
        /// Counted from 1.
        line: usize,
    },
    /// A key stands twice in one table.
    #[error("line {line} of {part} repeats a key")]
    DuplicateKey {
        /// The document, or the file in it.
        part: Part,
        /// Counted from 1.
        line: usize,
    },
    /// A key that the format does not have.
    #[error("{part} has a key that this version does not know: {key:?}")]
    UnknownKey {
        /// Where.
        part: Part,
        /// As it is written.
        key: String,
    },
    /// A key that must be there.
    #[error("{part} has no {key:?}")]
    Missing {
        /// Where.
        part: Part,
        /// As it must be written.
        key: &'static str,
    },
    /// A value of another type than the key's.
    #[error("{key:?} in {part} has another type than it must have")]
    WrongType {
        /// Where.
        part: Part,
        /// As it is written.
        key: String,
    },
    /// Another `version`.
    #[error("the document has another version than 0.1.0")]
    Version,
    /// Another `algorithm`.
    #[error("the document's algorithm is none of sha256, sha384, sha512")]
    Algorithm,
    /// More than [`super::Document::MAX_FILES`] files.
    #[error("[data] has more than 16 files")]
    TooManyFiles,
    /// `workload` is no id of a workload.
    #[error("workload is not an id that a broker can have")]
    Workload,
    /// No URL in `brokers`.
    #[error("brokers names no broker")]
    NoBroker,
    /// More than [`super::Settings::MAX_BROKERS`] URLs.
    #[error("brokers names more than 8 brokers")]
    TooManyBrokers,
    /// A URL that is neither http nor https.
    #[error("a broker's URL begins with neither http:// nor https://")]
    BrokerScheme,
    /// A URL with credentials, a query or a fragment, or that is none.
    #[error("a broker's URL is not an address with an optional path")]
    BrokerUrl,
    /// `binding` is none of the three.
    #[error("binding is none of host-data, measured, none")]
    Binding,
    /// `certificates` holds something else than PEM, or no certificate.
    #[error("certificates is not PEM with a certificate in it")]
    Certificates,
    /// No `[[broker_key]]`.
    #[error("the document names no broker key")]
    NoBrokerKey,
    /// More than [`super::Settings::MAX_BROKER_KEYS`] broker keys.
    #[error("the document names more than 4 broker keys")]
    TooManyBrokerKeys,
    /// The `key` of a `[[broker_key]]` is none.
    #[error(transparent)]
    BrokerKey(#[from] crate::broker_key::BrokerKeyError),
    /// One broker key twice.
    #[error("the document names a broker key twice")]
    RepeatedBrokerKey,
    /// `not_after` is no instant.
    #[error("not_after is not an instant with its offset from UTC")]
    NotAfter,
    /// No `[[disk]]`.
    #[error("the document names no disk")]
    NoDisk,
    /// More than [`super::Settings::MAX_DISKS`] disks.
    #[error("the document names more than 16 disks")]
    TooManyDisks,
    /// `name` cannot be a mapping's.
    #[error("the name of a disk cannot be that of a mapping")]
    DiskName,
    /// `device` is neither a path below /dev nor one of UUID=, PARTUUID=, LABEL=.
    #[error("the device of a disk is neither a path below /dev nor UUID=, PARTUUID= or LABEL=")]
    Device,
    /// `secret` cannot be a secret's name.
    #[error("the secret of a disk has a name that no secret can have")]
    SecretName,
    /// Two disks with one name.
    #[error("two disks have one name")]
    RepeatedDisk,
    /// Two disks on one device.
    #[error("two disks are on one device")]
    RepeatedDevice,
    /// `luks` is neither 1 nor 2.
    #[error("luks is neither 1 nor 2")]
    LuksVersion,
    /// A digest object of another type than pbkdf2, or with numbers and lengths that bind nothing.
    #[error("the volume key's digest is none that a LUKS header has")]
    VolumeKey,
    /// The segment's cipher is the null cipher.
    #[error("the segment's cipher is the null cipher")]
    NullCipher,
    /// A segment that no encrypted disk has.
    #[error("the segment is none that an encrypted disk has")]
    Segment,
    /// Settings that a document would not say again as they are.
    #[error("a document cannot say these settings")]
    Unwritable,
}
