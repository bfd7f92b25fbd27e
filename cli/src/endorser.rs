//! The arguments about AMD's certificates: where they come from, and which roots are trusted.

use std::path::{Path, PathBuf};

use keybroker_common::config::{self, KdsSettings, NewChips};
use keybroker_kds::Kds;
use keybroker_snp::anchors::TrustAnchors;

use crate::{
    bounded,
    exit::{Exit, Failure},
};

/// The source of AMD's certificates.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KdsArgs {
    /// The URL of AMD's Key Distribution Service (KDS), or of a mirror that answers like it.
    #[arg(
        long,
        env = "KEYBROKER_KDS_URL",
        hide_env_values = true,
        default_value = KdsSettings::AMD,
        value_parser = config::base_url,
        value_name = "URL"
    )]
    pub(crate) kds_url: String,
    /// Also trust the TLS authorities in this PEM file, for a mirror or a proxy that inspects TLS.
    ///
    /// The broker still verifies the certificates that such a server sends up to AMD's roots.
    #[arg(long, env = "KEYBROKER_KDS_CA", value_name = "FILE")]
    kds_ca: Option<PathBuf>,
}

impl KdsArgs {
    /// The client for that URL. It does not connect yet.
    pub(crate) fn kds(&self) -> Result<Kds, Failure> {
        let kds = Kds::new(self.kds_url.as_str(), self.authorities()?);
        self.check(&kds)?;
        Ok(kds)
    }

    /// The settings of a source that asks this KDS at this pace.
    pub(crate) fn settings(&self, new_chips: NewChips) -> Result<KdsSettings, Failure> {
        let kds_authorities = self.authorities()?;
        self.check(&Kds::new(self.kds_url.as_str(), kds_authorities.as_slice()))?;
        let kds_url = self.kds_url.clone();
        Ok(KdsSettings { kds_url, kds_authorities, new_chips, ..KdsSettings::default() })
    }

    fn authorities(&self) -> Result<Vec<u8>, Failure> {
        let Some(path) = &self.kds_ca else { return Ok(Vec::new()) };
        bounded::read(path, bounded::TEXT).map_err(|error| unusable(path, error.into()))
    }

    /// Finds a file that holds no authority at the start, not with the first chip.
    fn check(&self, kds: &Kds) -> Result<(), Failure> {
        let Some(path) = &self.kds_ca else { return Ok(()) };
        kds.check().map_err(|error| unusable(path, error.into()))
    }
}

/// The failure of a file of authorities that cannot be used.
fn unusable(path: &Path, error: anyhow::Error) -> Failure {
    Failure::new(Exit::Configuration, error)
        .context(format!("reading {}", path.display()))
        .hint("give --kds-ca a file with the authority's certificate in PEM")
}

/// The pace at which the KDS is asked for new chips.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NewChipsArgs {
    /// The number of new chips for which the KDS is asked in a minute; 0 for no limit.
    ///
    /// A chip is new if neither the broker's store nor the guest has its certificate. Guests on further new
    /// chips wait for up to 20 seconds, and are then told to try again. A chip does not count once a report
    /// of it is verified. The default is 6 for AMD's own KDS, which answers no faster, and no limit for
    /// another. Give 6 for a mirror that asks AMD for each chip.
    #[arg(
        long,
        env = "KEYBROKER_NEW_CHIPS_PER_MINUTE",
        value_parser = clap::value_parser!(u32).range(0..=i64::from(NewChips::MAX_PER_MINUTE)),
        value_name = "CHIPS"
    )]
    new_chips_per_minute: Option<u32>,
    /// The number of new chips for which the KDS is asked at once, after a time without any. One workload
    /// gets at most half of both numbers [default: 8]
    #[arg(
        long,
        env = "KEYBROKER_NEW_CHIPS_BURST",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(NewChips::MAX_BURST)),
        value_name = "CHIPS"
    )]
    new_chips_burst: Option<u32>,
}

impl NewChipsArgs {
    /// The limits that were given.
    pub(crate) fn read(&self) -> NewChips {
        NewChips { per_minute: self.new_chips_per_minute, burst: self.new_chips_burst }
    }
}

/// The roots that are trusted beside AMD's own.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AnchorArgs {
    /// Also trust the root certificates in this PEM file, for SIMULATED hardware. May be given several times
    /// (in the variable: separated by `;`).
    ///
    /// A guest that is verified up to such a root proves nothing about its hardware.
    #[arg(long, env = "KEYBROKER_TRUST_ANCHORS", value_delimiter = ';', value_name = "PEM")]
    trust_anchor: Vec<PathBuf>,
}

impl AnchorArgs {
    /// Whether any root was named.
    pub(crate) fn any(&self) -> bool {
        !self.trust_anchor.is_empty()
    }

    /// AMD's roots, and those that were named.
    pub(crate) fn read(&self) -> Result<TrustAnchors, Failure> {
        let mut anchors = TrustAnchors::amd();
        for path in &self.trust_anchor {
            let unusable = |error: anyhow::Error| {
                Failure::new(Exit::Configuration, error)
                    .context(format!("reading the trust anchor {}", path.display()))
            };
            let pem = bounded::read(path, bounded::TEXT).map_err(|error| unusable(error.into()))?;
            let added = anchors.add_pem(&pem).map_err(|error| unusable(error.into()))?;
            tracing::warn!(
                path = %path.display(),
                roots = added,
                "SIMULATED HARDWARE IS TRUSTED: anybody who holds the key of such a root gets every secret"
            );
        }
        Ok(anchors)
    }
}
