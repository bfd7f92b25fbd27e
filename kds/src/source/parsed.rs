//! Where certificates that came from outside are parsed, so that a test can count them: a guest without
//! an open challenge must not cost the broker this work.

use std::sync::Arc;

use keybroker_snp::{authority::TrustAnchor, certificate::CertificateError, chain::Intermediate, vek::Vek};

#[cfg(test)]
thread_local! {
    /// How many certificates this thread was given to parse.
    pub(crate) static PARSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// [`Vek::parse`].
pub(super) fn vek(der: &[u8]) -> Result<Vek, CertificateError> {
    count();
    Vek::parse(der)
}

/// [`Intermediate::verify`].
pub(super) fn intermediate(
    der: &[u8],
    anchors: &[Arc<TrustAnchor>],
) -> Result<Intermediate, CertificateError> {
    count();
    Intermediate::verify(der, anchors)
}

fn count() {
    #[cfg(test)]
    PARSED.set(PARSED.get() + 1);
}
