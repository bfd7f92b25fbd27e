//! The init data document of the workload that is registered: made for a disk, or read. For guests of Trustee
//! alone it is any document of Confidential Containers.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_common::{broker::RegisterRequest, dialect::Dialects, ids::WorkloadId, requirements::BoundBy};
use keybroker_embedded::files::Beside;
use keybroker_initdata::{
    Binding, Document, InitDataDigest, digest_of,
    document::{Device, SigningKey},
};

use super::{DestinationArgs, trustee};
use crate::{
    bounded,
    disk_document::{self, BrokerArgs},
    exit::{Exit, Failure, Unusable},
    operator::block_on,
};

/// The flags by which the command makes the document of a guest that opens a disk.
pub(super) const OF_DISK: [&str; 10] = [
    "disk",
    "init_data_out",
    "document_only",
    "bound_by",
    "device",
    "disk_name",
    "secret",
    "broker_keys",
    "until",
    "certificates",
];

/// A disk, and the guest that opens it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Guest", mut_args(|arg| match arg.get_id().as_str() {
    "brokers" => arg.required(false),
    "broker_keys" | "until" | "certificates" => arg.requires("disk"),
    _ => arg,
}))]
pub(super) struct InitDataArgs {
    /// A disk with LUKS, or the file of one: the command writes the init data document of a guest that opens
    /// this disk and no other
    #[arg(long, value_name = "FILE", requires_all = ["workload_id", "brokers", "init_data_out"])]
    disk: Option<PathBuf>,
    /// The file to write the document to, with --disk
    #[arg(long, value_name = "FILE", requires = "disk")]
    init_data_out: Option<PathBuf>,
    /// Only write the document, and register nothing: for a document that goes into a measured initrd
    #[arg(long, requires = "disk", conflicts_with_all = ["measurement", "passphrase_file", "yes", "dry_run"])]
    document_only: bool,
    /// A document that was written before; for guests of Trustee alone any init data of Confidential
    /// Containers
    #[arg(long, value_name = "FILE", requires = "workload_id", conflicts_with_all = OF_DISK)]
    init_data: Option<PathBuf>,
    /// The tie between the guest and the document
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Tie::HostData, requires = "disk")]
    bound_by: Tie,
    /// Register a guest that nothing ties to its document: the host can give it any disk
    #[arg(long, conflicts_with = "bound_by")]
    unbound: bool,
    /// The disk in the guest: a path below /dev, or UUID=, PARTUUID=, LABEL= [default: the UUID of the disk]
    #[arg(long, value_name = "DEVICE", value_parser = Device::parse, requires = "disk")]
    device: Option<Device>,
    /// The name of the opened disk in the guest: /dev/mapper/NAME
    #[arg(long, value_name = "NAME", default_value = "root", requires = "disk")]
    disk_name: String,
    /// The name of the disk's passphrase at the broker
    #[arg(long, value_name = "NAME", default_value = "passphrase", requires = "disk")]
    secret: String,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// The things that can tie a guest to its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tie {
    /// HOST_DATA is the document's digest
    HostData,
    /// The document lies in the initrd, or in something else that the launch measurement covers
    Measurement,
}

/// A document, and its file.
pub(super) struct InitData {
    content: Content,
    pub(super) file: PathBuf,
    /// Whether the document is in the file already.
    written: bool,
}

/// The document itself.
enum Content {
    /// One with our file, which says what ties it to its guest.
    Ours(Box<Document>),
    /// Any of Confidential Containers, which HOST_DATA ties to its guest.
    Any { text: String, digest: InitDataDigest },
}

impl Content {
    fn read(text: String, any: bool) -> Result<Self, keybroker_initdata::DocumentError> {
        if any {
            let digest = digest_of(&text)?;
            return Ok(Self::Any { text, digest });
        }
        Document::parse(&text).map(|document| Self::Ours(Box::new(document)))
    }
}

impl InitDataArgs {
    /// The broker's URL as guests reach it, if it is given.
    pub(super) fn broker_url(&self) -> Option<&str> {
        self.broker.first()
    }

    /// Whether the document is all that the command is to make.
    pub(super) fn document_only(&self) -> bool {
        self.document_only
    }

    /// The document, if the registration has one.
    pub(super) fn read(
        &self,
        workload_id: Option<&WorkloadId>,
        dialects: Option<&Dialects>,
        destination: &DestinationArgs,
    ) -> Result<Option<InitData>, Failure> {
        let any = trustee::alone(dialects);
        if any && self.disk.is_some() {
            return Err(trustee::for_disks("--disk"));
        }
        if self.broker.first().is_some() && self.disk.is_none() && !trustee::among(dialects) {
            return Err(usage("--broker needs --disk or --dialect trustee"));
        }
        let init_data = match (workload_id, &self.disk, &self.init_data_out, &self.init_data) {
            (Some(id), Some(disk), Some(file), _) => {
                let document = self.of_disk(id, disk, destination)?;
                self.check_measured(&document)?;
                InitData { content: Content::Ours(Box::new(document)), file: file.clone(), written: false }
            }
            (Some(_), None, _, Some(file)) => InitData::in_file(file, any)?,
            _ if self.unbound => return Err(usage("--unbound needs --disk or --init-data")),
            _ => return Ok(None),
        };
        match (init_data.binding(), self.unbound) {
            (Binding::Nothing, false) => {
                Err(usage("nothing ties a guest to this document, so the host can give the guest any disk")
                    .hint("give --unbound if the platform can bind neither HOST_DATA nor the initrd"))
            }
            (Binding::HostData | Binding::Measured, true) => {
                Err(usage("the document names a tie to its guest, which --unbound says it has not"))
            }
            _ => Ok(Some(init_data)),
        }
    }

    fn of_disk(
        &self,
        id: &WorkloadId,
        path: &Path,
        destination: &DestinationArgs,
    ) -> Result<Document, Failure> {
        let header = disk_document::header(path)?;
        let device = match &self.device {
            Some(device) => device.clone(),
            None => Device::parse(&format!("UUID={}", header.uuid()))
                .map_err(|error| Failure::new(Exit::Usage, error).hint("name the disk with --device"))?,
        };
        let binding = match self.bound_by {
            _ if self.unbound => Binding::Nothing,
            Tie::HostData => Binding::HostData,
            Tie::Measurement => Binding::Measured,
        };
        let keys = block_on(async {
            let operator = match self.broker.needs_store() {
                true => Some(destination.store.open().await?),
                false => None,
            };
            self.broker.keys(operator.as_ref(), destination.key_file.as_deref()).await
        })?;
        let disk = disk_document::disk(&header, &self.disk_name, device, &self.secret);
        if let Some(not_after) = self.broker.trust_of_earlier(self.init_data_out.as_deref()) {
            let keys = keys.iter().map(|known| SigningKey { not_after, ..known.clone() }).collect();
            let same = self.broker.document(id, binding, keys, disk.clone())?;
            if self.is_earlier(&same) {
                return Ok(same);
            }
        }
        self.broker.document(id, binding, keys, disk)
    }
}

impl InitDataArgs {
    /// A launch measurement covers a document only if the document was there before it was computed.
    fn check_measured(&self, document: &Document) -> Result<(), Failure> {
        let measured = document.keybroker().binding == Binding::Measured;
        if !measured || self.document_only || self.is_earlier(document) {
            return Ok(());
        }
        Err(usage("no launch measurement can cover a document that is only made now").hint(
            "make it with --document-only, build and measure the initrd with it, and then register it with \
             --init-data",
        ))
    }

    /// Whether the file to write has this very document already. Then its guests go on under their HOST_DATA.
    fn is_earlier(&self, document: &Document) -> bool {
        let earlier = self.init_data_out.as_ref().and_then(|file| bounded::text(file).ok());
        earlier.is_some_and(|text| text == document.text())
    }
}

fn usage(what: &'static str) -> Failure {
    Failure::new(Exit::Usage, anyhow!(what))
}

impl InitData {
    /// The init data of guests of Trustee alone, in this file.
    pub(super) fn any(file: &Path) -> Result<Self, Failure> {
        Self::in_file(file, true)
    }

    fn in_file(file: &Path, any: bool) -> Result<Self, Failure> {
        let text = bounded::text(file).with_context(|| Unusable::reading(file))?;
        let content = Content::read(text, any).with_context(|| Unusable::content(file))?;
        Ok(Self { content, file: file.to_owned(), written: true })
    }

    /// The document as it was read or written.
    pub(super) fn text(&self) -> &str {
        match &self.content {
            Content::Ours(document) => document.text(),
            Content::Any { text, .. } => text,
        }
    }

    /// The document's digest.
    pub(super) fn digest(&self) -> InitDataDigest {
        match &self.content {
            Content::Ours(document) => document.digest(),
            Content::Any { digest, .. } => digest.clone(),
        }
    }

    /// The document, if it is for the guest of this project.
    pub(super) fn ours(&self) -> Option<&Document> {
        match &self.content {
            Content::Ours(document) => Some(document),
            Content::Any { .. } => None,
        }
    }

    fn binding(&self) -> Binding {
        self.ours().map_or(Binding::HostData, |document| document.keybroker().binding)
    }

    /// The tie of the document, as a registration names it.
    pub(super) fn bound_by(&self) -> BoundBy {
        match self.binding() {
            Binding::HostData => BoundBy::HostData,
            Binding::Measured => BoundBy::Measurement,
            Binding::Nothing => BoundBy::Nothing,
        }
    }

    /// The name of the one passphrase.
    pub(super) fn secret(&self) -> Result<&str, Failure> {
        match self.ours().map(|document| document.keybroker().disks.as_slice()) {
            Some([disk]) => Ok(&disk.secret),
            None => Err(trustee::for_disks("--passphrase-file")),
            _ => Err(usage("the document has several disks, and --passphrase-file is for one")
                .hint("give each passphrase with --resource NAME=FILE")),
        }
    }

    /// Every disk of the document gets its passphrase by this registration: a guest could not open it
    /// otherwise.
    pub(super) fn check_secrets(&self, request: &RegisterRequest) -> Result<(), Failure> {
        let disks = self.ours().map(|document| document.keybroker().disks.as_slice()).unwrap_or_default();
        match disks.iter().find(|disk| !request.secrets.contains_key(&disk.secret)) {
            None => Ok(()),
            Some(disk) => {
                let error =
                    anyhow!("the disk {} has no passphrase: no secret is named {}", disk.name, disk.secret);
                Err(Failure::new(Exit::Usage, error).hint(
                    "give it with --passphrase-file FILE, or of several disks with --resource NAME=FILE",
                ))
            }
        }
    }

    /// Writes the document into its file around `act`: if that fails, the file stays as it was. A guest may
    /// need the earlier document for its next boot, until this one is registered.
    pub(super) fn write_around<T>(&self, act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        if self.written {
            return act();
        }
        let writing = || Unusable::writing(&self.file);
        let mut beside = Beside::of(&self.file, 0o666).with_context(writing)?;
        beside.file().write_all(self.text().as_ref()).with_context(writing)?;
        let done = act()?;
        beside.replace().with_context(writing)?;
        Ok(done)
    }
}
