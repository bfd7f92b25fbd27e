//! One chip, the AMD that made it, its KDS, and a process that looks for endorsements.

use std::{ops::Deref, sync::Arc};

use keybroker_common::{
    broker::Presented,
    clock::Clock,
    config::{KdsSettings, NewChips},
    ids::WorkloadId,
    store::{EndorsementStore, StoredEndorsement},
};
use keybroker_kds::{EndorsementError, EndorsementSource};
use keybroker_simulator::{
    Product, Tcb,
    kds::{Behaviour, Kds},
    pki::{Amd, CSP_ID, Ca, Chip, CrlOptions, Overrides, RsaKey, SubjectKey, pem},
    report::ReportFields,
};
use keybroker_snp::{
    anchors::TrustAnchors,
    product,
    report::Report,
    verify::{Endorsements, ReportData, VerificationCheck, VerifyError, verify},
};

use super::{
    cache::Cache,
    clock::{BEGIN, ManualClock},
};

/// The source of endorsements in one process, and the time there.
pub struct Process {
    pub source: EndorsementSource,
    clock: Arc<dyn Clock>,
}

impl Deref for Process {
    type Target = EndorsementSource;

    fn deref(&self) -> &EndorsementSource {
        &self.source
    }
}

/// The hardware and services around a broker. No broker is part of it: each source is a process of its own.
pub struct Hardware {
    pub amd: Amd,
    pub chip: Chip,
    vcek: Vec<u8>,
    pub kds: Kds,
    pub clock: Arc<ManualClock>,
    pub cache: Arc<Cache>,
}

impl Hardware {
    /// A Milan.
    pub async fn new() -> Self {
        Self::of(Product::Milan).await
    }

    pub async fn of(product: Product) -> Self {
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
    pub fn anchors() -> TrustAnchors {
        let mut anchors = TrustAnchors::default();
        for product in Product::ALL {
            anchors.add_pem(Amd::new(product, BEGIN).ark_pem().as_bytes()).unwrap();
        }
        anchors
    }

    pub fn settings(&self) -> KdsSettings {
        KdsSettings { kds_url: self.kds.url(), ..KdsSettings::default() }
    }

    /// The same at the pace that holds towards AMD.
    pub fn paced(&self) -> KdsSettings {
        let new_chips = NewChips { per_minute: Some(NewChips::PER_MINUTE), burst: Some(NewChips::BURST) };
        KdsSettings { new_chips, ..self.settings() }
    }

    /// A process that has seen nothing yet, over the shared table.
    pub fn source(&self) -> Process {
        self.source_with(Arc::clone(&self.cache) as Arc<dyn EndorsementStore>, &self.settings())
    }

    pub fn source_with(&self, store: Arc<dyn EndorsementStore>, settings: &KdsSettings) -> Process {
        let clock: Arc<dyn Clock> = self.clock.clone();
        Process { source: EndorsementSource::new(Self::anchors(), store, clock.clone(), settings), clock }
    }

    /// KDS cannot be reached.
    pub fn down(&self) {
        self.kds.otherwise(Behaviour::Reset);
    }

    /// The chip's report.
    pub fn report(&self) -> Report {
        report(&self.chip)
    }

    /// The key of the chip's row in the table.
    pub fn vcek_key(&self) -> String {
        let Tcb { boot_loader, tee, snp, microcode, .. } = self.chip.tcb;
        let hwid = data_encoding::HEXLOWER.encode(self.chip.hwid());
        format!("{}/{hwid}/{boot_loader}.{tee}.{snp}.{microcode}", self.chip.product())
    }

    /// The chip's certificate.
    pub fn vcek(&self) -> Vec<u8> {
        self.vcek.clone()
    }

    /// The chip's certificate, had AMD been somebody else.
    pub fn self_made_vcek(&self) -> Vec<u8> {
        let rogue = Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() };
        self.amd.vcek_with(&self.chip, &rogue).certificate
    }

    /// A chain of somebody who calls himself AMD: its ASK signs what [`Self::self_made_vcek`] makes.
    pub fn self_made_chain(&self, issuer: Ca) -> String {
        let key = Some(SubjectKey::Rsa(RsaKey::Rogue));
        let ark = self.amd.ca(Ca::Ark, &Overrides { key, ..Overrides::default() });
        let ca = Overrides { key, signer: Some(RsaKey::Rogue), ..Overrides::default() };
        pem(&self.amd.ca(issuer, &ca)) + &pem(&ark)
    }

    /// A list that AMD signed.
    pub fn crl(&self, options: &CrlOptions) -> Vec<u8> {
        self.amd.crl(options)
    }
}

/// The report of a guest on `chip`.
pub fn report(chip: &Chip) -> Report {
    signed(&ReportFields::new(chip), chip)
}

/// A report that says `fields`, signed by `chip`.
pub fn signed(fields: &ReportFields, chip: &Chip) -> Report {
    Report::parse(&fields.sign(&chip.vcek_key(chip.tcb))).unwrap()
}

/// A row as the broker writes it.
pub fn row(bytes: Vec<u8>) -> StoredEndorsement {
    StoredEndorsement { bytes, fetched_at: BEGIN, edition: 0 }
}

/// The steps of an attestation: the certificates at hand, the rest from AMD, verification, and keeping the
/// result for those who come after.
pub async fn endorse(source: &Process, report: &Report) -> Result<Endorsements, EndorsementError> {
    endorse_with(source, report, None, &[]).await
}

pub async fn endorse_with(
    source: &Process,
    report: &Report,
    claimed_product: Option<product::Product>,
    certificates: &[Vec<u8>],
) -> Result<Endorsements, EndorsementError> {
    let request = Presented { report, claimed_product, certificates };
    endorse_as(source, &request, "w").await
}

/// The same for a guest of another workload.
pub async fn endorse_as(
    source: &Process,
    request: &Presented<'_>,
    workload: &str,
) -> Result<Endorsements, EndorsementError> {
    attempt_as(source, request, workload).await.map(|(endorsements, _)| endorsements)
}

/// The endorsements, and what verification says.
pub async fn attempt(
    source: &Process,
    request: &Presented<'_>,
) -> Result<(Endorsements, Result<(), (VerificationCheck, VerifyError)>), EndorsementError> {
    attempt_as(source, request, "w").await
}

async fn attempt_as(
    source: &Process,
    request: &Presented<'_>,
    workload: &str,
) -> Result<(Endorsements, Result<(), (VerificationCheck, VerifyError)>), EndorsementError> {
    let at_hand = source.at_hand(request).await?;
    let obtained = source.obtain(request, at_hand, &WorkloadId::new(workload).unwrap()).await?;
    let report_data = ReportData(*request.report.report_data());
    let verified = verify(request.report, &obtained, &report_data, &[CSP_ID.to_owned()], source.clock.now());
    source.settle(&obtained, verified.as_ref().ok()).await;
    Ok((Endorsements::clone(&obtained), verified.map(|_| ())))
}

/// After how many seconds to try again, of an error that says that.
pub fn retry_after(outcome: Result<Endorsements, EndorsementError>) -> u64 {
    match outcome {
        Err(
            EndorsementError::Unavailable { retry_after, .. }
            | EndorsementError::TooManyNewChips { retry_after },
        ) => retry_after,
        other => panic!("{other:?}"),
    }
}
