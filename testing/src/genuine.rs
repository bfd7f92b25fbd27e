//! Evidence that AMD's hardware made: what the `sev` package carries, and more where it is at hand.
//!
//! None of it is part of this repository.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use data_encoding::HEXUPPER_PERMISSIVE;
use keybroker_snp::{
    anchors::TrustAnchors,
    certificate::CertificateError,
    chain::{Chain, Intermediate},
    product::Product,
    vek::Vek,
};

/// A report with the certificate of the key that signed it.
#[derive(Debug, Clone)]
pub struct Genuine {
    pub name: &'static str,
    pub product: Product,
    pub report: Vec<u8>,
    pub vek: Vec<u8>,
    /// The ASVK of a VLEK. An ASK is embedded.
    pub asvk: Option<Vec<u8>>,
}

impl Genuine {
    /// The chain to AMD's own ARK.
    pub fn chain(&self) -> Result<Chain, CertificateError> {
        let anchors = TrustAnchors::amd();
        let vek = Vek::parse(&self.vek)?;
        let mut intermediates = anchors.asks(self.product);
        if let Some(asvk) = &self.asvk {
            intermediates.push(Arc::new(Intermediate::verify(asvk, &anchors.arks(self.product))?));
        }
        Chain::verify(vek, &intermediates)
    }
}

/// Where cargo has put the `sev` package.
pub fn sev_package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let run = |arguments: &[&str]| {
            let output = Command::new(&cargo)
                .args(arguments)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .expect("cargo runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let version = run(&["-vV"]);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        // Only packages of this host's graph are sure to have been fetched.
        let metadata =
            run(&["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host]);
        let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
        let packages = metadata.get("packages").and_then(serde_json::Value::as_array).unwrap();
        let text = |package: &serde_json::Value, key: &str| package.get(key)?.as_str().map(str::to_owned);
        let sev = packages.iter().find(|package| text(package, "name").as_deref() == Some("sev")).unwrap();
        PathBuf::from(text(sev, "manifest_path").unwrap()).parent().unwrap().to_owned()
    })
}

/// A file of the `sev` package.
pub fn sev_file(path: &str) -> Vec<u8> {
    fs::read(sev_package().join(path)).unwrap()
}

/// The Milan sample of the `sev` package.
pub fn sev_sample() -> Genuine {
    let hex = sev_file("tests/certs_data/report_milan.hex");
    let hex: Vec<u8> = hex.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
    Genuine {
        name: "the sev package's sample",
        product: Product::Milan,
        report: HEXUPPER_PERMISSIVE.decode(&hex).unwrap(),
        vek: sev_file("tests/certs_data/vcek_milan.der"),
        asvk: None,
    }
}

/// Name and product of the further evidence: one directory each.
const VECTORS: [(&str, Product); 6] = [
    ("sev-milan", Product::Milan),
    ("trustee-milan", Product::Milan),
    ("trustee-e2e-siena-v3", Product::Genoa),
    ("ms-turin", Product::Turin),
    ("go-milan", Product::Milan),
    ("trustee-milan-vlek", Product::Milan),
];

/// The directory of further evidence: `KEYBROKER_VECTORS`, else `shared/vectors` beside the workspace.
pub fn vectors_directory() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let directory = env::var_os("KEYBROKER_VECTORS").map_or_else(beside, PathBuf::from);
    directory.is_dir().then_some(directory)
}

/// One piece of the further evidence. Says so where it is not at hand.
pub fn vector(name: &str) -> Option<Genuine> {
    let Some(directory) = vectors_directory() else {
        skip(name);
        return None;
    };
    let (name, product) = VECTORS.into_iter().find(|(known, _)| *known == name).unwrap();
    let read = |file: &str| fs::read(directory.join(name).join(file)).ok();
    let vek = read("vcek.der").or_else(|| read("vlek.der")).unwrap();
    Some(Genuine { name, product, report: read("report.bin").unwrap(), vek, asvk: read("asvk.der") })
}

/// All genuine evidence at hand.
pub fn all() -> Vec<Genuine> {
    let vectors = VECTORS.iter().filter_map(|(name, _)| vector(name));
    std::iter::once(sev_sample()).chain(vectors).collect()
}

/// Says, past the test harness, that a part is skipped.
pub fn skip(what: &str) {
    let line = format!("\nskipped: {what}: no directory of genuine evidence (set KEYBROKER_VECTORS)\n");
    // Nobody may be reading.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes());
}
