//! The trust anchors: AMD's ARKs, compiled in, and whatever roots of simulated hardware the caller adds.

use std::sync::{Arc, LazyLock};

use x509_parser::pem::Pem;

use crate::{
    authority::TrustAnchor,
    certificate::{CertificateError, Defect, Role},
    chain::Intermediate,
    product::Product,
};

/// The ARK and ASK of a product, as AMD publishes them.
struct Published {
    ark: &'static str,
    ask: &'static str,
}

fn published(product: Product) -> Published {
    match product {
        Product::Milan => {
            Published { ark: include_str!("milan-ark.pem"), ask: include_str!("milan-ask.pem") }
        }
        Product::Genoa => {
            Published { ark: include_str!("genoa-ark.pem"), ask: include_str!("genoa-ask.pem") }
        }
        Product::Turin => {
            Published { ark: include_str!("turin-ark.pem"), ask: include_str!("turin-ask.pem") }
        }
    }
}

/// A root and the intermediates that are known without asking anybody.
#[derive(Debug, Clone)]
struct Root {
    anchor: Arc<TrustAnchor>,
    ask: Option<Arc<Intermediate>>,
}

/// AMD's root of one product, parsed when it is first needed: a function that serves one product parses one.
fn amd_root(product: Product) -> Option<&'static Root> {
    static MILAN: LazyLock<Option<Root>> = LazyLock::new(|| parse_published(Product::Milan));
    static GENOA: LazyLock<Option<Root>> = LazyLock::new(|| parse_published(Product::Genoa));
    static TURIN: LazyLock<Option<Root>> = LazyLock::new(|| parse_published(Product::Turin));
    match product {
        Product::Milan => MILAN.as_ref(),
        Product::Genoa => GENOA.as_ref(),
        Product::Turin => TURIN.as_ref(),
    }
}

/// `None` would mean that this crate was built with other files than AMD's; then nothing of the product is
/// trusted.
fn parse_published(product: Product) -> Option<Root> {
    let Published { ark, ask } = published(product);
    let anchor = Arc::new(TrustAnchor::new(&pem_certificate(ark).ok()?).ok()?);
    let anchors = [Arc::clone(&anchor)];
    let ask = Intermediate::verify(&pem_certificate(ask).ok()?, &anchors).ok()?;
    Some(Root { anchor, ask: Some(Arc::new(ask)) })
}

/// Whether `anchor` is one of AMD's, by its certificate, whatever list it was added to.
pub fn is_amds(anchor: &TrustAnchor) -> bool {
    amd_root(anchor.product()).is_some_and(|root| root.anchor.fingerprint() == anchor.fingerprint())
}

/// The roots that a broker trusts.
#[derive(Debug, Clone, Default)]
pub struct TrustAnchors {
    amd: bool,
    added: Vec<Root>,
}

impl TrustAnchors {
    /// AMD's ARKs of every product.
    pub fn amd() -> Self {
        Self { amd: true, added: Vec::new() }
    }

    /// Adds the ARKs in `pem` (one or more certificates): roots of simulated hardware. Returns how many.
    ///
    /// A report that leads to one of these proves nothing about genuine hardware.
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<usize, CertificateError> {
        let certificates = pem_certificates(pem)?;
        for der in &certificates {
            self.added.push(Root { anchor: Arc::new(TrustAnchor::new(der)?), ask: None });
        }
        Ok(certificates.len())
    }

    /// The ARKs of `product`.
    pub fn arks(&self, product: Product) -> Vec<Arc<TrustAnchor>> {
        self.roots(product).map(|root| Arc::clone(&root.anchor)).collect()
    }

    /// The ASKs of `product` that are known without asking anybody.
    pub fn asks(&self, product: Product) -> Vec<Arc<Intermediate>> {
        self.roots(product).filter_map(|root| root.ask.clone()).collect()
    }

    fn roots(&self, product: Product) -> impl Iterator<Item = &Root> {
        let amd = self.amd.then(|| amd_root(product)).flatten();
        amd.into_iter().chain(self.added.iter().filter(move |root| root.anchor.product() == product))
    }
}

/// DER of every certificate in `pem`; at least one.
pub fn pem_certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    let malformed = Role::Ark.has(Defect::Malformed);
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|_| malformed)?;
        if block.label != "CERTIFICATE" {
            return Err(malformed);
        }
        certificates.push(block.contents);
    }
    if certificates.is_empty() { Err(malformed) } else { Ok(certificates) }
}

/// DER of every certificate and revocation list in `pem`. `None` if it is no PEM, or holds anything else.
pub fn pem_blocks(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let blocks: Result<Vec<_>, _> = Pem::iter_from_buffer(pem).collect();
    let blocks = blocks.ok().filter(|blocks| !blocks.is_empty())?;
    let known = |block: &Pem| ["CERTIFICATE", "X509 CRL"].contains(&block.label.as_str());
    blocks.iter().all(known).then(|| blocks.into_iter().map(|block| block.contents).collect())
}

fn pem_certificate(pem: &str) -> Result<Vec<u8>, CertificateError> {
    pem_certificates(pem.as_bytes())?.pop().ok_or(Role::Ark.has(Defect::Malformed))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use sha2::{Digest, Sha256};

    use super::*;

    /// SHA-256 of AMD's certificates in DER.
    const FINGERPRINTS: [(Product, &str, &str); 3] = [
        (
            Product::Milan,
            "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
            "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
        ),
        (
            Product::Genoa,
            "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
            "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
        ),
        (
            Product::Turin,
            "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
            "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
        ),
    ];

    #[test]
    fn the_anchors_are_amds() {
        let anchors = TrustAnchors::amd();
        for (product, ark, ask) in FINGERPRINTS {
            let [anchor] = anchors.arks(product).try_into().unwrap();
            assert_eq!(anchor.product(), product);
            assert_eq!(HEXLOWER.encode(&anchor.fingerprint()), ark);
            let [intermediate] = anchors.asks(product).try_into().unwrap();
            assert_eq!(HEXLOWER.encode(&Sha256::digest(intermediate.der())), ask);
        }
    }

    /// By its certificate, and not by how it came to be trusted.
    #[test]
    fn a_root_is_amds_or_simulated() {
        for product in Product::ALL {
            let mut added = TrustAnchors::default();
            added.add_pem(published(product).ark.as_bytes()).unwrap();
            assert!(added.arks(product).iter().all(|anchor| is_amds(anchor)));
        }
        let product = keybroker_simulator::Product::Milan;
        let mut simulated = TrustAnchors::amd();
        let amd = keybroker_simulator::pki::Amd::new(product, jiff::Timestamp::UNIX_EPOCH);
        simulated.add_pem(amd.ark_pem().as_bytes()).unwrap();
        let found: Vec<_> = simulated.arks(Product::Milan).iter().map(|anchor| is_amds(anchor)).collect();
        assert_eq!(found, [true, false]);
    }

    #[test]
    fn nothing_is_trusted_by_default() {
        for product in Product::ALL {
            assert!(TrustAnchors::default().arks(product).is_empty());
            assert!(TrustAnchors::default().asks(product).is_empty());
        }
    }

    #[test]
    fn an_ask_is_no_trust_anchor() {
        let error = TrustAnchors::default().add_pem(published(Product::Milan).ask.as_bytes()).unwrap_err();
        assert_eq!(error, Role::Ark.has(Defect::Subject));
    }

    #[test]
    fn a_block_that_is_no_certificate_is_refused() {
        let other = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        let malformed = Role::Ark.has(Defect::Malformed);
        assert_eq!(pem_certificates(other), Err(malformed));
        let both = [published(Product::Milan).ark.as_bytes(), other].concat();
        assert_eq!(pem_certificates(&both), Err(malformed));
    }
}
