//! AMD's public-key infrastructure in software.
//!
//! ```text
//! ARK-Milan ── SEV-Milan (ASK) ─────── SEV-VCEK: one chip at one TCB
//!     │   └─── SEV-VLEK-Milan (ASVK) ─ SEV-VLEK: one cloud provider at one TCB
//!     └─────── CRL
//! ```
//!
//! Names, key types, extensions, their order and the parameters of the signatures are those of AMD's own
//! certificates.

mod certificate;
mod chip;
mod crl;
pub mod extension;
mod keys;
mod signature;
mod signed;

#[cfg(test)]
mod tests;

use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};

pub use certificate::Overrides;
pub use chip::Chip;
pub use crl::CrlOptions;
pub use keys::{Curve, RsaKey, SHARED_KEYS, SubjectKey, VekKey};
pub use signature::{Algorithm, Hash};

use certificate::Template;

use crate::product::{Product, Tcb};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The CSP id of the simulated cloud provider.
pub const CSP_ID: &str = "CN=cc-sim-1.example.com";

/// A certificate authority of AMD's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ca {
    /// AMD Root Key.
    Ark,
    /// AMD SEV Key: issues VCEKs.
    Ask,
    /// AMD SEV VLEK Key: issues VLEKs.
    Asvk,
}

impl Ca {
    /// Common name of its certificate.
    pub fn common_name(self, product: Product) -> String {
        match self {
            Self::Ark => format!("ARK-{product}"),
            Self::Ask => format!("SEV-{product}"),
            Self::Asvk => format!("SEV-VLEK-{product}"),
        }
    }

    /// Serial number of its certificate, big-endian: that of AMD's.
    pub fn serial(self, product: Product) -> Vec<u8> {
        let line = match product {
            Product::Milan => 1,
            Product::Genoa => 2,
            Product::Turin => 3,
        };
        match (self, product) {
            (Self::Ark, _) => vec![line, 0, 0],
            (Self::Ask, Product::Genoa) => vec![line, 0, 2],
            (Self::Ask, _) => vec![line, 0, 1],
            (Self::Asvk, _) => vec![line, 1, 1],
        }
    }

    /// Its key.
    pub fn key(self) -> RsaKey {
        match self {
            Self::Ark => RsaKey::Ark,
            Self::Ask => RsaKey::Ask,
            Self::Asvk => RsaKey::Asvk,
        }
    }
}

/// A versioned endorsement key with its certificate.
#[derive(Debug, Clone)]
pub struct Vek {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The key that signs reports.
    pub key: VekKey,
}

/// AMD for one product.
#[derive(Debug, Clone)]
pub struct Amd {
    product: Product,
    now: Timestamp,
    ark: Vec<u8>,
    ask: Vec<u8>,
}

impl Amd {
    /// AMD for `product`, with certificates that are valid around `now`: from three years before to 22 years
    /// after for the authorities, from a day before to seven years (VCEK) or one year (VLEK) after for the
    /// chips' keys.
    pub fn new(product: Product, now: Timestamp) -> Self {
        RsaKey::prepare(&[RsaKey::Ark, RsaKey::Ask]);
        let mut amd = Self { product, now, ark: Vec::new(), ask: Vec::new() };
        amd.ark = amd.ca(Ca::Ark, &Overrides::default());
        amd.ask = amd.ca(Ca::Ask, &Overrides::default());
        amd
    }

    /// The product.
    pub fn product(&self) -> Product {
        self.product
    }

    /// The time around which the certificates are valid.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The root's certificate, DER: the trust anchor for those who accept this simulator.
    pub fn ark(&self) -> &[u8] {
        &self.ark
    }

    /// The root's certificate, PEM.
    pub fn ark_pem(&self) -> String {
        pem(&self.ark)
    }

    /// The ASK's certificate, DER.
    pub fn ask(&self) -> &[u8] {
        &self.ask
    }

    /// The ASVK's certificate, DER. Made at each call: the ASVK's key is not needed by most tests.
    pub fn asvk(&self) -> Vec<u8> {
        self.ca(Ca::Asvk, &Overrides::default())
    }

    /// The chain that the KDS serves: `issuer` (ASK or ASVK), then the ARK, PEM.
    pub fn chain_pem(&self, issuer: Ca) -> String {
        let issuer = if issuer == Ca::Asvk { self.asvk() } else { self.ask.clone() };
        pem(&issuer) + &self.ark_pem()
    }

    /// The certificate of an authority, DER.
    pub fn ca(&self, ca: Ca, overrides: &Overrides) -> Vec<u8> {
        let key = overrides.key.unwrap_or(SubjectKey::Rsa(ca.key()));
        // A root is self-signed: if it certifies another key, that key signs too, unless told otherwise.
        let signer = match (ca, overrides.signer, key) {
            (_, Some(signer), _) | (Ca::Ark, None, SubjectKey::Rsa(signer)) => signer,
            _ => RsaKey::Ark,
        };
        let kind = if ca == Ca::Asvk { "vlek" } else { "vcek" };
        let crl = format!("https://kdsintf.amd.com/{kind}/v1/{}/crl", self.product);
        let subject_key_id = extension::subject_key_id(&key.id());
        let crl = extension::crl_distribution_point(&crl);
        let extensions = match ca {
            Ca::Ark => vec![
                extension::key_usage(true, true),
                subject_key_id,
                extension::basic_constraints(true, None),
                crl,
            ],
            Ca::Ask | Ca::Asvk => vec![
                subject_key_id,
                extension::authority_key_id(&SubjectKey::Rsa(signer).id()),
                extension::basic_constraints(true, Some(0)),
                extension::key_usage(true, false),
                crl,
            ],
        };
        let template = Template {
            serial: ca.serial(self.product),
            subject_cn: ca.common_name(self.product),
            issuer_cn: Ca::Ark.common_name(self.product),
            not_before: self.days(-3 * 365),
            not_after: self.days(22 * 365),
            spki: key.spki(),
            signer,
            algorithm: Algorithm::PSS_EXPLICIT_TRAILER,
            extensions,
        };
        template.issue(overrides)
    }

    /// The VCEK of `chip` at its own TCB.
    pub fn vcek(&self, chip: &Chip) -> Vek {
        self.vcek_with(chip, &Overrides::default())
    }

    /// The VCEK of `chip` at its own TCB, altered.
    pub fn vcek_with(&self, chip: &Chip, overrides: &Overrides) -> Vek {
        let algorithm = match self.product {
            Product::Milan => Algorithm::PSS_EXPLICIT_TRAILER,
            Product::Genoa | Product::Turin => Algorithm::PSS,
        };
        let template = Template {
            subject_cn: "SEV-VCEK".to_owned(),
            not_after: self.days(7 * 365),
            ..self.vek_template(Ca::Ask, algorithm)
        };
        let identity = (self.product.vcek_name(), chip.tcb, extension::hwid(chip.hwid()));
        self.vek(template, identity, chip.vcek_key(chip.tcb), overrides)
    }

    /// The VLEK of the provider `csp_id` ([`CSP_ID`], say) at `tcb`.
    pub fn vlek(&self, csp_id: &str, tcb: Tcb) -> Vek {
        self.vlek_with(csp_id, tcb, &Overrides::default())
    }

    /// The VLEK of the provider `csp_id` at `tcb`, altered.
    pub fn vlek_with(&self, csp_id: &str, tcb: Tcb, overrides: &Overrides) -> Vek {
        let template = Template {
            subject_cn: "SEV-VLEK".to_owned(),
            not_after: self.days(365),
            ..self.vek_template(Ca::Asvk, Algorithm::PSS)
        };
        let identity = (self.product.name(), tcb, extension::csp_id(csp_id));
        self.vek(template, identity, chip::vlek_key(self.product, csp_id, tcb), overrides)
    }

    /// A certificate revocation list, DER.
    pub fn crl(&self, options: &CrlOptions) -> Vec<u8> {
        crl::issue(&Ca::Ark.common_name(self.product), self.days(-1), self.days(180), options)
    }

    fn vek_template(&self, issuer: Ca, algorithm: Algorithm) -> Template {
        Template {
            serial: vec![0],
            subject_cn: String::new(),
            issuer_cn: issuer.common_name(self.product),
            not_before: self.days(-1),
            not_after: self.now,
            spki: Vec::new(),
            signer: issuer.key(),
            algorithm,
            extensions: Vec::new(),
        }
    }

    fn vek(
        &self,
        template: Template,
        (name, tcb, id): (&str, Tcb, extension::Extension),
        own_key: VekKey,
        overrides: &Overrides,
    ) -> Vek {
        let key = overrides.key.and_then(SubjectKey::vek_key).unwrap_or(own_key);
        let spki = overrides.key.map_or_else(|| key.spki(), SubjectKey::spki);
        let mut extensions = vec![
            extension::struct_version(u8::from(self.product == Product::Turin)),
            extension::product_name(name),
        ];
        extensions.extend(extension::tcb(self.product, tcb));
        extensions.push(id);
        let certificate = Template { spki, extensions, ..template }.issue(overrides);
        Vek { certificate, key }
    }

    fn days(&self, days: i32) -> Timestamp {
        self.now.saturating_add(DAY * days).unwrap_or(self.now)
    }
}

/// A certificate in PEM (RFC 7468), as the KDS writes it.
pub fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem + "-----END CERTIFICATE-----\n"
}
