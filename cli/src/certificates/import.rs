//! `keybroker certificates import`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use data_encoding::BASE64;
use jiff::Timestamp;
use keybroker_common::{
    endorsements::{chain_key, crl_key},
    snp::{
        anchors::{TrustAnchors, pem_blocks},
        certificate::{Defect, EndorsementKind, Role},
        chain::{Chain, Intermediate, TrustAnchor},
        crl::Crl,
        kds::VcekId,
        product::Product,
        vek::Vek,
    },
    store::StoredEndorsement,
};
use serde::Serialize;

use crate::{
    endorser::AnchorArgs,
    exit::{Exit, Failure},
    operator::{OperatorHandle, StoreArgs},
    table,
};

/// Put certificates and revocation lists from files into the store, verified up to AMD's roots
///
/// For when AMD's KDS is out of reach and somebody else has them: `snphost fetch`, a mirror, another broker's list. A file
/// holds one in DER, or any number in PEM: VCEKs, ASKs and ASVKs, revocation lists; roots are skipped, since the pinned ones
/// count. Everything is verified before anything is written; a revocation list never takes the place of a later one.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker certificates import vcek.der
  keybroker certificates import --list-for vcek cert_chain.pem crl.der vcek-*.der --aws
  The list for VLEKs, as AMD publishes it beside the one for VCEKs:
      keybroker certificates import --list-for vlek vlek-crl.der

{}", Exit::TABLE))]
pub(super) struct ImportArgs {
    /// The files, DER or PEM
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// For which kind of key the revocation lists among them were published: AMD has one for each, and a list does not say
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

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KeyKind {
    /// Chips' own keys
    Vcek,
    /// Cloud providers' keys
    Vlek,
}

impl From<KeyKind> for EndorsementKind {
    fn from(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Vcek => Self::Vcek,
            KeyKind::Vlek => Self::Vlek,
        }
    }
}

/// Something to write.
struct Entry {
    file: PathBuf,
    key: String,
    row: StoredEndorsement,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Version of this form.
    schema: u8,
    imported: Vec<Imported>,
}

#[derive(Debug, Serialize)]
struct Imported {
    file: PathBuf,
    key: String,
    result: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It is in the store.
    Imported,
    /// The store has a later revocation list, which stays.
    LaterHeld,
}

pub(super) async fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let anchors = args.anchors.read()?;
    let operator = args.store.open().await?;
    let now = Timestamp::now();
    let entries = Import::read(args, &anchors, &operator, now).await?.entries;
    let mut imported = Vec::new();
    for Entry { file, key, row } in entries {
        let result = write(&operator, &key, &row).await?;
        imported.push(Imported { file, key, result });
    }
    if args.json {
        table::json(&Report { schema: 1, imported })?;
    } else {
        let rows = imported.iter().map(|one| {
            let result = match one.result {
                Outcome::Imported => "imported",
                Outcome::LaterHeld => "a later list is held",
            };
            vec![one.file.display().to_string(), shortened(&one.key), result.to_owned()]
        });
        table::print(&["file", "as", "result"], rows)?;
    }
    Ok(Exit::Ok)
}

/// Writes the row and looks what is there then: the store keeps a later edition, and says nothing of it.
async fn write(operator: &OperatorHandle, key: &str, row: &StoredEndorsement) -> Result<Outcome, Failure> {
    let failed = |error| operator.failure(error).context(format!("writing {key}"));
    operator.store.put_endorsement(key, row).await.map_err(failed)?;
    match operator.store.endorsement(key).await.map_err(failed)? {
        Some(held) if held.edition > row.edition => Ok(Outcome::LaterHeld),
        Some(_) => Ok(Outcome::Imported),
        None => Err(Failure::from(anyhow!("{key} was deleted meanwhile"))),
    }
}

/// A chip's id is long.
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
}

impl<'a> Import<'a> {
    async fn read(
        args: &ImportArgs,
        anchors: &'a TrustAnchors,
        operator: &OperatorHandle,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let issuers = Product::ALL.map(|product| anchors.asks(product)).concat();
        let mut import =
            Self { anchors, list_for: args.list_for.map(Into::into), now, issuers, entries: Vec::new() };
        import.stored_issuers(operator).await?;
        let mut veks = Vec::new();
        for file in &args.files {
            let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()));
            let bytes = bytes.map_err(|error| Failure::new(Exit::Configuration, error))?;
            for der in pem_blocks(&bytes).unwrap_or_else(|| vec![bytes]) {
                import.take(file, &der, &mut veks).map_err(|cause| refused(file, cause))?;
            }
        }
        // Only now are all issuers known, in whatever order the files came.
        for (file, vek) in veks {
            import.certificate(&file, vek).map_err(|cause| refused(&file, cause))?;
        }
        Ok(import)
    }

    /// The ASKs that were fetched or imported earlier.
    async fn stored_issuers(&mut self, operator: &OperatorHandle) -> Result<(), Failure> {
        for product in Product::ALL {
            let key = chain_key(product, EndorsementKind::Vcek);
            let row = operator.store.endorsement(&key).await.map_err(|error| operator.failure(error))?;
            let arks = self.anchors.arks(product);
            let ders = row.and_then(|row| pem_blocks(&row.bytes)).unwrap_or_default();
            self.issuers
                .extend(ders.iter().filter_map(|der| Intermediate::verify(der, &arks).ok()).map(Arc::new));
        }
        Ok(())
    }

    /// Takes `der` for what it is. A chip's certificate is put off, to `veks`.
    fn take(&mut self, file: &Path, der: &[u8], veks: &mut Vec<(PathBuf, Vek)>) -> Result<(), String> {
        let arks = Product::ALL.map(|product| self.anchors.arks(product)).concat();
        if let Ok(crl) = Crl::verify(der, &arks) {
            return self.list(file, &crl);
        }
        let other = |defect: Defect| defect == Defect::Subject;
        match Vek::parse(der) {
            Err(error) if other(error.defect) => {}
            Err(error) if error.defect == Defect::Malformed => return self.no_certificate(der, &arks),
            Err(error) => return Err(error.to_string()),
            Ok(vek) => {
                veks.push((file.to_owned(), vek));
                return Ok(());
            }
        }
        match Intermediate::verify(der, &arks) {
            Ok(intermediate) => {
                let key = chain_key(intermediate.product(), intermediate.kind());
                self.add(file, key, pem(intermediate.der()).into_bytes(), (self.now, 0));
                self.issuers.push(Arc::new(intermediate));
                Ok(())
            }
            Err(error) if error.role == Role::Ask && other(error.defect) => match TrustAnchor::new(der) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        }
    }

    /// What is wrong with something that is no certificate: it may be a list.
    fn no_certificate(&self, der: &[u8], arks: &[Arc<TrustAnchor>]) -> Result<(), String> {
        match Crl::verify(der, arks) {
            Err(keybroker_common::snp::crl::CrlError::Malformed) | Ok(_) => {
                Err("it is neither a certificate nor a revocation list".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn list(&mut self, file: &Path, crl: &Crl) -> Result<(), String> {
        crl.check_validity(self.now, Crl::GRACE).map_err(|error| error.to_string())?;
        // Under the other kind's key it would bar that kind's own list until AMD has published a later one.
        let Some(list_for) = self.list_for else {
            return Err("it is a revocation list: say with --list-for for which kind of key".to_owned());
        };
        let key = crl_key(crl.anchor().product(), list_for);
        // As old as it says: a list that was brought along must not keep the broker from asking AMD for a newer one.
        let edition = (crl.this_update(), crl.this_update().as_second());
        self.add(file, key, crl.der().to_vec(), edition);
        Ok(())
    }

    fn certificate(&mut self, file: &Path, vek: Vek) -> Result<(), String> {
        let id = VcekId::of_certificate(&vek)
            .ok_or("a VLEK's certificate comes with the guest, and is not kept")?;
        let chain = Chain::verify(vek, &self.issuers).map_err(|error| error.to_string())?;
        chain.check_validity(self.now).map_err(|error| error.to_string())?;
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

fn refused(file: &Path, cause: String) -> Failure {
    Failure::new(Exit::Denied, anyhow!("{cause}"))
        .context(format!("{} is not imported, and nothing is", file.display()))
        .hint("simulated hardware needs --trust-anchor; `keybroker certificates prefetch` asks AMD itself")
}

/// As chains stand in the store.
fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
