//! The roots that are trusted: AMD's. The one build for simulated hardware trusts others beside them.

use keybroker_lambda::Error;
use keybroker_snp::anchors::TrustAnchors;

/// Settings that this build knows beside the table's.
#[cfg(not(feature = "simulated-hardware"))]
pub(crate) const SETTINGS: &[&str] = &[];
/// Settings that this build knows beside the table's.
#[cfg(feature = "simulated-hardware")]
pub(crate) const SETTINGS: &[&str] = &[keybroker_lambda::TRUST_ANCHORS];

/// The roots that this build trusts.
pub(crate) fn trusted() -> Result<TrustAnchors, Error> {
    let anchors = TrustAnchors::amd();
    #[cfg(feature = "simulated-hardware")]
    let anchors = with_simulated(anchors)?;
    Ok(anchors)
}

/// `anchors` and the roots that the environment names. Says aloud that it does so.
#[cfg(feature = "simulated-hardware")]
fn with_simulated(mut anchors: TrustAnchors) -> Result<TrustAnchors, Error> {
    use std::{env, fs};

    for path in env::split_paths(&env::var_os(keybroker_lambda::TRUST_ANCHORS).unwrap_or_default()) {
        let unusable = |cause: Error| format!("reading the trust anchor {}: {cause}", path.display());
        let pem = fs::read(&path).map_err(|error| unusable(error.into()))?;
        let roots = anchors.add_pem(&pem).map_err(|error| unusable(error.into()))?;
        tracing::warn!(
            path = %path.display(),
            roots,
            "SIMULATED HARDWARE IS TRUSTED: whoever holds the key of such a root gets every secret"
        );
    }
    Ok(anchors)
}
