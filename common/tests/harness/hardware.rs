//! One chip, the AMD that made it, its KDS, and whoever looks for endorsements.

use std::sync::Arc;

use keybroker_common::{
    endorsements::{EndorsementError, EndorsementSource, Request, Settings},
    snp::{anchors::TrustAnchors, product, report::Report, verify::Endorsements},
    store::{EndorsementStore, StoredEndorsement},
};
use keybroker_simulator::{
    Product, Tcb,
    kds::{Behaviour, Kds},
    pki::{Amd, Ca, Chip, CrlOptions, Overrides, RsaKey, SubjectKey, pem},
    report::ReportFields,
};

use super::{
    cache::Cache,
    clock::{BEGIN, ManualClock},
};

/// The hardware and services around a broker. No broker is part of it: each source is a process of its own.
pub(crate) struct Hardware {
    pub(crate) amd: Amd,
    pub(crate) chip: Chip,
    vcek: Vec<u8>,
    pub(crate) kds: Kds,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) cache: Arc<Cache>,
}

impl Hardware {
    /// A Milan.
    pub(crate) async fn new() -> Self {
        Self::of(Product::Milan).await
    }

    pub(crate) async fn of(product: Product) -> Self {
        let amd = Amd::new(product, BEGIN);
        let others = Product::ALL.into_iter().filter(|other| *other != product);
        let all: Vec<Amd> = others.map(|other| Amd::new(other, BEGIN)).chain([amd.clone()]).collect();
        let kds = Kds::start(all).await.unwrap();
        let chip = Chip::new(product, 1);
        kds.add(&chip);
        // Signed once: PSS salts each signature anew, and what is served is compared by its bytes.
        let vcek = amd.vcek(&chip).certificate;
        kds.serve_vcek(&chip, vcek.clone());
        kds.serve_crl(product, amd.crl(&CrlOptions::default()));
        Self { amd, chip, vcek, kds, clock: Arc::new(ManualClock::new()), cache: Arc::default() }
    }

    /// The roots of all simulated products.
    pub(crate) fn anchors() -> TrustAnchors {
        let mut anchors = TrustAnchors::default();
        for product in Product::ALL {
            anchors.add_pem(Amd::new(product, BEGIN).ark_pem().as_bytes()).unwrap();
        }
        anchors
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { kds_url: self.kds.url(), ..Settings::default() }
    }

    /// A process that has seen nothing yet, over the shared table.
    pub(crate) fn source(&self) -> EndorsementSource {
        self.source_with(Arc::clone(&self.cache) as Arc<dyn EndorsementStore>, &self.settings())
    }

    pub(crate) fn source_with(
        &self,
        store: Arc<dyn EndorsementStore>,
        settings: &Settings,
    ) -> EndorsementSource {
        EndorsementSource::new(Self::anchors(), store, self.clock.clone(), settings)
    }

    /// KDS cannot be reached.
    pub(crate) fn down(&self) {
        self.kds.otherwise(Behaviour::Reset);
    }

    /// The chip's report.
    pub(crate) fn report(&self) -> Report {
        report(&self.chip)
    }

    /// The key of the chip's row in the table.
    pub(crate) fn vcek_key(&self) -> String {
        let Tcb { boot_loader, tee, snp, microcode, .. } = self.chip.tcb;
        let hwid = data_encoding::HEXLOWER.encode(self.chip.hwid());
        format!("{}/{hwid}/{boot_loader}.{tee}.{snp}.{microcode}", self.chip.product())
    }

    /// The chip's certificate.
    pub(crate) fn vcek(&self) -> Vec<u8> {
        self.vcek.clone()
    }

    /// The chip's certificate, had AMD been somebody else.
    pub(crate) fn self_made_vcek(&self) -> Vec<u8> {
        let rogue = Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() };
        self.amd.vcek_with(&self.chip, &rogue).certificate
    }

    /// A chain of somebody who calls himself AMD: its ASK signs what [`Self::self_made_vcek`] makes.
    pub(crate) fn self_made_chain(&self, issuer: Ca) -> String {
        let key = Some(SubjectKey::Rsa(RsaKey::Rogue));
        let ark = self.amd.ca(Ca::Ark, &Overrides { key, ..Overrides::default() });
        let ca = Overrides { key, signer: Some(RsaKey::Rogue), ..Overrides::default() };
        pem(&self.amd.ca(issuer, &ca)) + &pem(&ark)
    }

    /// A list that AMD signed.
    pub(crate) fn crl(&self, options: &CrlOptions) -> Vec<u8> {
        self.amd.crl(options)
    }
}

/// The report of a guest on `chip`.
pub(crate) fn report(chip: &Chip) -> Report {
    signed(&ReportFields::new(chip), chip)
}

/// A report that says `fields`, signed by `chip`.
pub(crate) fn signed(fields: &ReportFields, chip: &Chip) -> Report {
    Report::parse(&fields.sign(&chip.vcek_key(chip.tcb))).unwrap()
}

/// A row as the broker writes it.
pub(crate) fn row(bytes: Vec<u8>) -> StoredEndorsement {
    StoredEndorsement { bytes, fetched_at: BEGIN, edition: 0 }
}

/// What an attestation does: what is at hand, and the rest from AMD.
pub(crate) async fn endorse(
    source: &EndorsementSource,
    report: &Report,
) -> Result<Endorsements, EndorsementError> {
    endorse_with(source, report, None, &[]).await
}

pub(crate) async fn endorse_with(
    source: &EndorsementSource,
    report: &Report,
    claimed_product: Option<product::Product>,
    certificates: &[Vec<u8>],
) -> Result<Endorsements, EndorsementError> {
    let request = Request { report, claimed_product, certificates };
    let looked_up = source.look_up(&request).await?;
    let at_hand = source.at_hand(&request, looked_up).await?;
    source.obtain(&request, at_hand).await
}

/// After how many seconds to try again, of an error that says that.
pub(crate) fn retry_after(outcome: Result<Endorsements, EndorsementError>) -> u64 {
    match outcome {
        Err(
            EndorsementError::Unavailable { retry_after, .. }
            | EndorsementError::TooManyNewChips { retry_after },
        ) => retry_after,
        other => panic!("{other:?}"),
    }
}
