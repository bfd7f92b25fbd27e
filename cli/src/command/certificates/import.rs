//! `keybroker certificates import`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::anyhow;
use jiff::Timestamp;
use keybroker_common::store::StoredEndorsement;
use keybroker_kds::{VcekId, chain_key, crl_key};
use keybroker_snp::{
    anchors::{TrustAnchors, pem_blocks},
    chain::{Chain, Intermediate},
    crl::Crl,
    endorsement::EndorsementKind,
    product::Product,
    vek::Vek,
};
use serde::Serialize;

use super::key_kind::KeyKind;
use crate::{
    endorser::AnchorArgs,
    evidence::{Endorsement, Evidence, Rejected},
    exit::{Exit, Failure},
    operator::{OperatorHandle, StoreArgs},
    pem, table,
};

/// Import certificates and revocation lists from files, verified up to AMD's roots, into the store
///
/// Use this when the broker cannot reach AMD's KDS and you have the files from elsewhere: from `snphost
/// fetch`, from a mirror, or from another broker's `certificates export`. A file holds VCEKs, ASKs, ASVKs and
/// revocation lists, in DER or PEM, as a host's certificate table, or as Azure's THIM answers. The command
/// skips roots, because only the pinned ones count, and VLEKs, because guests send them. It verifies
/// everything before it writes anything, and never replaces a revocation list by an earlier one. A running
/// `keybroker serve` uses the imported certificates at once, functions on AWS within a minute.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker certificates import vcek.der
  keybroker certificates import --list-for vcek cert_chain.pem crl.der vcek-*.der --aws
  The list for VLEKs, as AMD publishes it beside the one for VCEKs:
      keybroker certificates import --list-for vlek vlek-crl.der

{}", Exit::TABLE))]
pub(super) struct ImportArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The kind of key that the revocation lists in the files are for: AMD publishes one list for each kind,
    /// and a list does not say for which it is
    #[arg(long, value_enum, value_name = "KIND")]
    list_for: Option<KeyKind>,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    anchors: AnchorArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// A row to write.
struct Entry {
    file: PathBuf,
    key: String,
    row: StoredEndorsement,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct ImportOutput {
    /// Version of this form.
    schema: u8,
    imported: Vec<Imported>,
}

#[derive(Debug, Serialize)]
struct Imported {
    file: PathBuf,
    key: String,
    result: ImportOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ImportOutcome {
    /// It is in the store.
    Imported,
    /// The store has a later revocation list, and keeps it.
    LaterHeld,
    /// A VLEK: the guest sends its certificate.
    NotKept,
}

pub(super) async fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let anchors = args.anchors.read()?;
    let operator = args.store.open().await?;
    let now = Timestamp::now();
    let Import { entries, not_kept, .. } = Import::read(args, &anchors, &operator, now).await?;
    let mut imported: Vec<_> = not_kept
        .into_iter()
        .map(|file| Imported { file, key: "VLEK".to_owned(), result: ImportOutcome::NotKept })
        .collect();
    if let ([], [vlek, ..]) = (entries.as_slice(), imported.as_slice()) {
        let error = anyhow!("the guest sends a VLEK's certificate, and the store keeps none");
        return Err(Failure::new(Exit::Configuration, error).context(nothing_of(&vlek.file)));
    }
    if entries.is_empty() && imported.is_empty() {
        let error = anyhow!("only roots were given, which this program has pinned: nothing was imported");
        return Err(Failure::new(Exit::Configuration, error));
    }
    for Entry { file, key, row } in entries {
        let result = write(&operator, &key, &row).await?;
        imported.push(Imported { file, key, result });
    }
    operator.certificates_changed().await?;
    if args.json {
        table::json(&ImportOutput { schema: 1, imported })?;
    } else {
        let rows = imported.iter().map(|one| {
            let result = match one.result {
                ImportOutcome::Imported => "imported",
                ImportOutcome::LaterHeld => "the store has a later list",
                ImportOutcome::NotKept => "not kept: the guest sends it",
            };
            vec![one.file.display().to_string(), shortened(&one.key), result.to_owned()]
        });
        table::print(&["file", "as", "result"], rows)?;
    }
    Ok(Exit::Ok)
}

/// Writes the row and reads it back: the store keeps a later edition without saying so.
async fn write(
    operator: &OperatorHandle,
    key: &str,
    row: &StoredEndorsement,
) -> Result<ImportOutcome, Failure> {
    let failed = |error| operator.failure(error).context(format!("writing {key}"));
    let mut row = row.clone();
    if key.ends_with("/chain")
        && let Some(held) = operator.store.endorsement(key).await.map_err(failed)?
    {
        // AMD replaces an ASK or ASVK, and certificates of the earlier one stay in use.
        let others = pem_blocks(&held.bytes).unwrap_or_default();
        let others = others.iter().map(|der| certificate(der)).filter(|pem| *pem != row.bytes);
        row.bytes = others.fold(row.bytes.clone(), |bytes, pem| [bytes, pem].concat());
    }
    operator.store.put_endorsement(key, &row).await.map_err(failed)?;
    match operator.store.endorsement(key).await.map_err(failed)? {
        Some(held) if held.edition > row.edition => Ok(ImportOutcome::LaterHeld),
        Some(_) => Ok(ImportOutcome::Imported),
        None => Err(Failure::from(anyhow!("{key} was deleted meanwhile"))),
    }
}

fn certificate(der: &[u8]) -> Vec<u8> {
    pem::encode("CERTIFICATE", der).as_bytes().to_vec()
}

/// The key with its long parts cut, for a chip's id has 128 digits.
fn shortened(key: &str) -> String {
    let shorten = |part: &str| match part.char_indices().nth(16) {
        Some((end, _)) => format!("{}…", part.get(..end).unwrap_or(part)),
        None => part.to_owned(),
    };
    key.split('/').map(shorten).collect::<Vec<_>>().join("/")
}

/// Everything in the files, verified.
struct Import<'a> {
    anchors: &'a TrustAnchors,
    list_for: Option<EndorsementKind>,
    now: Timestamp,
    issuers: Vec<Arc<Intermediate>>,
    entries: Vec<Entry>,
    /// Files that hold VLEKs.
    not_kept: Vec<PathBuf>,
}

impl<'a> Import<'a> {
    async fn read(
        args: &ImportArgs,
        anchors: &'a TrustAnchors,
        operator: &OperatorHandle,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let issuers = Product::ALL.map(|product| anchors.asks(product)).concat();
        let list_for = args.list_for.map(Into::into);
        let mut import = Self { anchors, list_for, now, issuers, entries: Vec::new(), not_kept: Vec::new() };
        import.stored_issuers(operator).await?;
        let mut veks = Vec::new();
        for file in &args.files {
            for der in Evidence::certificates(file)? {
                import.take(file, &der, &mut veks).map_err(|cause| refused(file, cause))?;
            }
        }
        // Only now are all issuers known, whatever the order of the files.
        for (file, vek) in veks {
            import.certificate(&file, vek).map_err(|cause| refused(&file, cause))?;
        }
        Ok(import)
    }

    /// The ASKs and ASVKs that were fetched or imported earlier.
    async fn stored_issuers(&mut self, operator: &OperatorHandle) -> Result<(), Failure> {
        let kinds = [EndorsementKind::Vcek, EndorsementKind::Vlek];
        for (product, kind) in Product::ALL.into_iter().flat_map(|product| kinds.map(|kind| (product, kind)))
        {
            let key = chain_key(product, kind);
            let row = operator.store.endorsement(&key).await.map_err(|error| operator.failure(error))?;
            let arks = self.anchors.arks(product);
            let ders = row.and_then(|row| pem_blocks(&row.bytes)).unwrap_or_default();
            self.issuers
                .extend(ders.iter().filter_map(|der| Intermediate::verify(der, &arks).ok()).map(Arc::new));
        }
        Ok(())
    }

    /// Takes one certificate or list. A chip's certificate goes to `veks`, until all issuers are known.
    fn take(&mut self, file: &Path, der: &[u8], veks: &mut Vec<(PathBuf, Vek)>) -> Result<(), Refusal> {
        let arks = Product::ALL.map(|product| self.anchors.arks(product)).concat();
        match Endorsement::of(der, &arks)? {
            Endorsement::Vek(vek) => veks.push((file.to_owned(), vek)),
            Endorsement::Intermediate(intermediate) => {
                let key = chain_key(intermediate.product(), intermediate.kind());
                self.add(file, key, certificate(intermediate.der()), (self.now, 0));
                self.issuers.push(intermediate);
            }
            Endorsement::List(list) => self.list(file, &list)?,
            Endorsement::Ark => {}
        }
        Ok(())
    }

    fn list(&mut self, file: &Path, crl: &Crl) -> Result<(), Refusal> {
        let valid = crl.check_validity(self.now, Crl::GRACE);
        valid.map_err(|error| Refusal::OutOfTime(error.to_string()))?;
        // Under the other kind's key it would keep out that kind's own list until AMD publishes a later one.
        let list_for = self.list_for.ok_or(Refusal::ListForWhat)?;
        let key = crl_key(crl.anchor().product(), list_for);
        // The row is as old as the list says: an imported list must not keep the broker from asking AMD for a
        // newer one.
        let edition = (crl.this_update(), crl.this_update().as_second());
        self.add(file, key, crl.der().to_vec(), edition);
        Ok(())
    }

    fn certificate(&mut self, file: &Path, vek: Vek) -> Result<(), Refusal> {
        let id = VcekId::of_certificate(&vek);
        let chain = Chain::verify(vek, &self.issuers).map_err(|error| Rejected::Denied(error.to_string()))?;
        chain.check_validity(self.now).map_err(|error| Refusal::OutOfTime(error.to_string()))?;
        let Some(id) = id else {
            self.not_kept.push(file.to_owned());
            return Ok(());
        };
        self.add(file, id.to_string(), chain.vek().der().to_vec(), (self.now, 0));
        Ok(())
    }

    fn add(&mut self, file: &Path, key: String, bytes: Vec<u8>, (fetched_at, edition): (Timestamp, i64)) {
        self.entries.push(Entry {
            file: file.to_owned(),
            key,
            row: StoredEndorsement { bytes, fetched_at, edition },
        });
    }
}

/// The reason why nothing is imported.
enum Refusal {
    Rejected(Rejected),
    /// The time for which it is valid is over, or has not begun.
    OutOfTime(String),
    /// A revocation list, without --list-for.
    ListForWhat,
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

fn refused(file: &Path, refusal: Refusal) -> Failure {
    let (exit, cause, hint) = match refusal {
        Refusal::Rejected(Rejected::Unread(cause)) => (Exit::Configuration, cause, None),
        Refusal::Rejected(Rejected::Denied(cause)) => {
            (Exit::Denied, cause, Some("simulated hardware needs --trust-anchor"))
        }
        Refusal::OutOfTime(cause) => (Exit::Denied, cause, None),
        Refusal::ListForWhat => (
            Exit::Usage,
            "it is a revocation list: name the kind of key that it is for with --list-for".to_owned(),
            None,
        ),
    };
    let failure = Failure::new(exit, anyhow!("{cause}")).context(nothing_of(file));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn nothing_of(file: &Path) -> String {
    format!("nothing was imported, because of {}", file.display())
}
