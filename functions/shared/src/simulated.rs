//! Simulated hardware, for the one function and the one build that may trust it.

use std::{env, fs};

use keybroker_snp::anchors::TrustAnchors;

use crate::Error;

/// Names PEM files of roots that `attest` trusts beside AMD's, `:` between them, if it was built with its
/// feature `simulated-hardware`. Any other build of it knows no such setting, and does not start with it. The
/// other functions ignore it, as they do each of `attest`'s.
pub const TRUST_ANCHORS: &str = "KEYBROKER_TRUST_ANCHORS";

/// `anchors` and the roots that the environment names. Says aloud that it does so.
pub fn trusted_beside(mut anchors: TrustAnchors) -> Result<TrustAnchors, Error> {
    for path in env::split_paths(&env::var_os(TRUST_ANCHORS).unwrap_or_default()) {
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
