//! The world of the story: a broker, a chip and a KDS, all on the loopback and in memory.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use keybroker_common::{
    admission::Admission,
    advisories::Advisories,
    audit::AuditRecord,
    clock::{Clock, SystemClock},
    config::KdsSettings,
    ids::AuditId,
    keyring::Purpose,
    signing::Signers as _,
    store::KeyringStore as _,
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_initdata::BrokerKey;
use keybroker_simulator::{
    Product,
    build::Buildah,
    guest::{Machine, PoliteGuest},
    kds::Kds,
    pki::{Amd, Ca, Chip, CrlOptions},
};
use keybroker_snp::anchors::TrustAnchors;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{broker, server};

/// The launch measurement of the demo's workloads: that of a firmware which all of them share.
pub(super) const MEASUREMENT: [u8; 48] = [0x4D; 48];
/// The launch measurement of a workload with an initrd of its own.
pub(super) const OWN_MEASUREMENT: [u8; 48] = [0x4E; 48];

/// The actors, and what they know.
pub(super) struct World {
    /// The broker's base URL.
    pub(super) url: String,
    /// The workload of the story, as buildah names one: 64 hex digits.
    pub(super) workload_id: String,
    /// Its passphrase, as buildah makes one: 64 hex digits.
    pub(super) passphrase: String,
    /// The key that the broker signs with.
    pub(super) broker_key: BrokerKey,
    /// AMD, as far as Milan is concerned.
    pub(super) milan: Amd,
    /// AMD, as far as Genoa is concerned. It has revoked Genoa's ASK.
    pub(super) genoa: Amd,
    /// The chip that guests run on.
    pub(super) chip: Chip,
    /// Another Milan chip.
    pub(super) other_chip: Chip,
    /// A chip of Genoa.
    pub(super) genoa_chip: Chip,
    store: Arc<EmbeddedStore>,
    server: JoinHandle<server::Ended>,
    _kds: Kds,
}

impl World {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let now = Timestamp::now();
        let milan = Amd::new(Product::Milan, now);
        let genoa = Amd::new(Product::Genoa, now);
        let (chip, other_chip) = (Chip::new(Product::Milan, 1), Chip::new(Product::Milan, 2));
        let genoa_chip = Chip::new(Product::Genoa, 3);
        let kds = Kds::start([milan.clone(), genoa.clone()]).await?;
        for chip in [&chip, &other_chip, &genoa_chip] {
            kds.add(chip);
        }
        let revoked = vec![Ca::Ask.serial(Product::Genoa)];
        kds.serve_crl(Product::Genoa, genoa.crl(&CrlOptions { revoked, ..CrlOptions::default() }));

        let mut anchors = TrustAnchors::default();
        anchors.add_pem((milan.ark_pem() + &genoa.ark_pem()).as_bytes())?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Arc::new(EmbeddedStore::in_memory(Arc::clone(&clock))?);
        let key = Arc::new(LocalKey::in_memory()?);
        let parts = broker::Parts {
            admission: Admission::OPEN,
            deployment: store.deployment()?,
            store: Arc::clone(&store),
            key,
            clock,
            anchors,
            endorsements: KdsSettings { kds_url: kds.url(), ..KdsSettings::default() },
            fleet: Arc::default(),
            advisories: Advisories::shipped(),
            ttl: std::time::Duration::from_secs(300),
        };
        // The first to need the ring makes its key. Nobody accepts none of them.
        broker::signing_keys(&parts).signer(&[]).await?;
        let ring =
            store.keyring(Purpose::Signature).await?.context("the broker made a key to sign with")?.ring;
        let broker_key = ring.keys.last().and_then(|key| key.signing_key().cloned());
        let broker_key = broker_key.context("the broker has a key to sign with")?;
        let services = broker::services(&parts, broker::endorsements(&parts));
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = keybroker_common::http::router(services);
        let server = tokio::spawn(server::run(listener, router, std::future::pending()));
        Ok(Self {
            url,
            workload_id: random_hex()?,
            passphrase: random_hex()?,
            broker_key,
            milan,
            genoa,
            chip,
            other_chip,
            genoa_chip,
            store,
            server,
            _kds: kds,
        })
    }

    /// A registration as buildah sends it.
    pub(super) fn build(&self, workload_id: &str, passphrase: &str) -> Buildah {
        Buildah::new(&self.url, workload_id, &MEASUREMENT, passphrase)
    }

    /// The same for a workload with a launch measurement of its own.
    pub(super) fn build_with_own_measurement(&self, workload_id: &str, passphrase: &str) -> Buildah {
        Buildah::new(&self.url, workload_id, &OWN_MEASUREMENT, passphrase)
    }

    /// The machine that the story's guests run on.
    pub(super) fn machine(&self) -> Machine {
        machine(&self.milan, &self.chip)
    }

    /// Another machine of the same kind. A guest on it has the same launch measurement, whatever its code.
    pub(super) fn other_machine(&self) -> Machine {
        machine(&self.milan, &self.other_chip)
    }

    /// A guest that claims the story's workload and heeds HTTP, so that it sees the answers.
    pub(super) fn guest(&self, machine: Machine) -> anyhow::Result<PoliteGuest> {
        Ok(PoliteGuest::new(&self.url, &self.workload_id, machine)?)
    }

    /// The audit record under the id that a guest was told.
    pub(super) fn audit(&self, id: AuditId) -> anyhow::Result<AuditRecord> {
        self.store.audit_record(id)?.with_context(|| format!("there is no audit record {id}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A machine whose guests have the demo's launch measurement.
pub(super) fn machine(amd: &Amd, chip: &Chip) -> Machine {
    let mut machine = Machine::new(amd, chip);
    machine.fields.measurement = MEASUREMENT;
    machine
}

/// 64 random hex digits.
fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
