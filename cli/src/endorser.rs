//! Where AMD's certificates come from, and which roots are believed, as arguments.

use std::{
    fs,
    path::{Path, PathBuf},
};

use keybroker_common::{
    config,
    endorsements::{NewChips, Settings, kds::Kds},
};
use keybroker_snp::anchors::TrustAnchors;

use crate::exit::{Exit, Failure};

/// Where AMD's certificates come from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KdsArgs {
    /// Where AMD's certificates come from: its Key Distribution Service, or one that answers like it.
    #[arg(long, env = "KEYBROKER_KDS_URL", default_value = Kds::AMD, value_parser = config::base_url, value_name = "URL")]
    pub(crate) kds_url: String,
    /// Also believe the TLS authorities in this PEM file, of a mirror or of a proxy that looks into TLS.
    ///
    /// Certificates that such a server sends in AMD's place are verified up to AMD's roots all the same.
    #[arg(long, env = "KEYBROKER_KDS_CA", value_name = "FILE")]
    kds_ca: Option<PathBuf>,
}

impl KdsArgs {
    /// What is at that URL. Connects to nothing.
    pub(crate) fn kds(&self) -> Result<Kds, Failure> {
        let kds = Kds::new(self.kds_url.as_str(), self.authorities()?);
        self.check(&kds)?;
        Ok(kds)
    }

    /// The settings of whoever asks it, at this pace.
    pub(crate) fn settings(&self, new_chips: NewChips) -> Result<Settings, Failure> {
        let kds_authorities = self.authorities()?;
        self.check(&Kds::new(self.kds_url.as_str(), kds_authorities.as_slice()))?;
        let kds_url = self.kds_url.clone();
        Ok(Settings { kds_url, kds_authorities, new_chips, ..Settings::default() })
    }

    fn authorities(&self) -> Result<Vec<u8>, Failure> {
        let Some(path) = &self.kds_ca else { return Ok(Vec::new()) };
        fs::read(path).map_err(|error| unusable(path, error.into()))
    }

    /// A file that is no authority's is found at the start, not with the first chip.
    fn check(&self, kds: &Kds) -> Result<(), Failure> {
        let Some(path) = &self.kds_ca else { return Ok(()) };
        kds.check().map_err(|error| unusable(path, error.into()))
    }
}

/// The file of authorities cannot be used.
fn unusable(path: &Path, error: anyhow::Error) -> Failure {
    Failure::new(Exit::Configuration, error)
        .context(format!("reading {}", path.display()))
        .hint("give --kds-ca a file with the authority's certificate in PEM")
}

/// How fast it is asked for chips that nobody has seen.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NewChipsArgs {
    /// The rate at which the KDS is asked for chips that nobody has seen, for each minute; 0 for as many as
    /// come.
    ///
    /// Guests on more of them wait for up to 20 seconds, and then are told to come again. A chip whose guest
    /// is verified costs nothing in the end. Without it: 6 for AMD's own KDS, which answers no faster, and as
    /// many as come for another. For a mirror that asks AMD for each chip say 6.
    #[arg(
        long,
        env = "KEYBROKER_NEW_CHIPS_PER_MINUTE",
        value_parser = clap::value_parser!(u32).range(0..=i64::from(NewChips::MAX_PER_MINUTE)),
        value_name = "CHIPS"
    )]
    new_chips_per_minute: Option<u32>,
    /// For how many such chips the KDS is asked at once, after a while without any. One workload gets half of
    /// both at most [default: 8]
    #[arg(
        long,
        env = "KEYBROKER_NEW_CHIPS_BURST",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(NewChips::MAX_BURST)),
        value_name = "CHIPS"
    )]
    new_chips_burst: Option<u32>,
}

impl NewChipsArgs {
    /// What was said of it.
    pub(crate) fn read(&self) -> NewChips {
        NewChips { per_minute: self.new_chips_per_minute, burst: self.new_chips_burst }
    }
}

/// Which roots are believed beside AMD's own.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AnchorArgs {
    /// Also trust the root certificates in this PEM file: for SIMULATED hardware. May be given several times
    /// (in the variable: separated by `;`).
    ///
    /// A guest that proves itself by one of them proves nothing about hardware.
    #[arg(long, env = "KEYBROKER_TRUST_ANCHORS", value_delimiter = ';', value_name = "PEM")]
    trust_anchor: Vec<PathBuf>,
}

impl AnchorArgs {
    /// Whether roots were named.
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
            let pem = fs::read(path).map_err(|error| unusable(error.into()))?;
            let added = anchors.add_pem(&pem).map_err(|error| unusable(error.into()))?;
            tracing::warn!(
                path = %path.display(),
                roots = added,
                "SIMULATED HARDWARE IS TRUSTED: whoever holds the key of such a root gets every secret"
            );
        }
        Ok(anchors)
    }
}
