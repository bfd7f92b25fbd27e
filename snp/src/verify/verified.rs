//! The one type that says that a report was verified.

#[cfg(feature = "verify")]
use std::sync::Arc;

#[cfg(feature = "verify")]
use crate::{chain::Chain, vek::Identity};
use crate::{product::Product, report::Report};

/// A report of which every check of this module holds. Only [`verify`](super::verify()) makes one.
#[derive(Debug, Clone)]
pub struct VerifiedReport {
    report: Report,
    product: Product,
    csp_id: Option<String>,
    #[cfg(feature = "verify")]
    chain: Arc<Chain>,
}

impl VerifiedReport {
    /// For [`verify`](super::verify) alone, once every check holds.
    #[cfg(feature = "verify")]
    pub(super) fn new(report: &Report, chain: &Arc<Chain>) -> Self {
        let csp_id = match &chain.vek().identity {
            Identity::Provider(csp_id) => Some(csp_id.clone()),
            Identity::Chip(_) => None,
        };
        let (report, product) = (report.clone(), chain.vek().product);
        Self { report, product, csp_id, chain: Arc::clone(chain) }
    }

    /// The report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The product of the chip that signed it.
    pub fn product(&self) -> Product {
        self.product
    }

    /// The certificates that it was verified under.
    #[cfg(feature = "verify")]
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// The cloud provider whose VLEK signed it, by its certificate's CSP_ID. `None` for a VCEK.
    pub fn csp_id(&self) -> Option<&str> {
        self.csp_id.as_deref()
    }
}
