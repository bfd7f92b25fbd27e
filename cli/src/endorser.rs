//! Where AMD's certificates come from, and which roots are believed, as arguments.

use std::{fs, path::PathBuf};

use keybroker_common::{
    config,
    snp::{anchors::TrustAnchors, kds::Kds},
};

use crate::exit::{Exit, Failure};

/// Where AMD's certificates come from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KdsArgs {
    /// Where AMD's certificates come from: its Key Distribution Service, or one that answers like it.
    #[arg(long, env = "KEYBROKER_KDS_URL", default_value = Kds::AMD, value_parser = config::base_url, value_name = "URL")]
    pub(crate) kds_url: String,
}

/// Which roots are believed beside AMD's own.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AnchorArgs {
    /// Also trust the root certificates in this PEM file: for SIMULATED hardware. May be given several times (in the
    /// variable: separated by `;`).
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
