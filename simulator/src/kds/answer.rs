//! The right answer to a request.

use std::collections::HashMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use jiff::Timestamp;

use crate::{
    pki::{Amd, Ca, Chip, CrlOptions},
    product::{Product, Tcb},
};

/// Everything that the KDS can serve.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) products: Vec<Amd>,
    pub(super) chips: Vec<Chip>,
    /// Certificates that replace the sound ones, by HWID.
    pub(super) vceks: HashMap<Vec<u8>, Vec<u8>>,
    pub(super) chains: HashMap<(Product, Ca), Vec<u8>>,
    pub(super) crls: HashMap<Product, Vec<u8>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl Catalogue {
    /// The answer to a GET of `target`; with `wrong_chip`, another chip's certificate.
    pub(super) fn answer(&self, target: &str, wrong_chip: bool) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut segments = path.split('/').skip(1);
        let mut next = || segments.next().unwrap_or_default();
        let [kind, version, product, leaf, rest] = [next(), next(), next(), next(), next()];
        let amd = self.products.iter().find(|amd| amd.product().name() == product);
        let (Some(amd), "v1", "") = (amd, version, rest) else { return Answer::status(404) };
        match (kind, leaf) {
            ("vcek", "cert_chain") => self.chain(amd, Ca::Ask),
            ("vlek", "cert_chain") => self.chain(amd, Ca::Asvk),
            ("vcek" | "vlek", "crl") => self.crl(amd),
            ("vcek", id) => self.vcek(amd, id, query, wrong_chip),
            _ => Answer::status(404),
        }
    }

    fn chain(&self, amd: &Amd, issuer: Ca) -> Answer {
        let replaced = self.chains.get(&(amd.product(), issuer)).cloned();
        let pem = replaced.unwrap_or_else(|| amd.chain_pem(issuer).into_bytes());
        Answer { status: 200, content_type: "application/x-pem-file", body: pem }
    }

    fn crl(&self, amd: &Amd) -> Answer {
        let replaced = self.crls.get(&amd.product()).cloned();
        let body = replaced.unwrap_or_else(|| amd.crl(&CrlOptions::default()));
        Answer { status: 200, content_type: "application/pkix-crl", body }
    }

    fn vcek(&self, amd: &Amd, id: &str, query: &str, wrong_chip: bool) -> Answer {
        let id = HEXLOWER_PERMISSIVE.decode(id.as_bytes()).unwrap_or_default();
        let chip = self.chips.iter().find(|chip| chip.product() == amd.product() && chip.hwid() == id);
        let (Some(chip), Some(tcb)) = (chip, requested_tcb(amd.product(), query)) else {
            return Answer::status(if chip.is_none() { 404 } else { 400 });
        };
        let certificate = match self.vceks.get(&id) {
            _ if wrong_chip => amd.vcek(&Chip::new(amd.product(), 0xFF).at(tcb)).certificate,
            Some(certificate) => certificate.clone(),
            None => amd.vcek(&chip.at(tcb)).certificate,
        };
        Answer { status: 200, content_type: "application/pkix-cert", body: certificate }
    }
}

/// The TCB that a query names: every parameter of the product once, in decimal of two digits or more, and no
/// other.
fn requested_tcb(product: Product, query: &str) -> Option<Tcb> {
    let mut parameters: HashMap<&str, &str> = HashMap::new();
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=')?;
        if parameters.insert(name, value).is_some() {
            return None;
        }
    }
    let mut level = |name| -> Option<u8> {
        let value = parameters.remove(name)?;
        let well_formed = value.len() >= 2 && value.bytes().all(|byte| byte.is_ascii_digit());
        well_formed.then(|| value.parse().ok()).flatten()
    };
    let tcb = Tcb {
        fmc: if product == Product::Turin { level("fmcSPL")? } else { 0 },
        boot_loader: level("blSPL")?,
        tee: level("teeSPL")?,
        snp: level("snpSPL")?,
        microcode: level("ucodeSPL")?,
    };
    parameters.is_empty().then_some(tcb)
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        let body = format!("{status} {}\n", reason(status)).into_bytes();
        Self { status, content_type: "text/plain", body }
    }

    pub(super) fn html() -> Self {
        let body = b"<!DOCTYPE html><html><body>Down for maintenance.</body></html>".to_vec();
        Self { status: 200, content_type: "text/html", body }
    }

    pub(super) fn response(&self) -> Vec<u8> {
        self.response_with(None)
    }

    pub(super) fn response_with(&self, retry_after: Option<u32>) -> Vec<u8> {
        let retry_after =
            retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
        let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        let head = format!(
            "HTTP/1.1 {} {}\r\nDate: {date}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{retry_after}\
             Cache-Control: no-cache\r\nConnection: close\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
        );
        [head.as_bytes(), &self.body].concat()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}
