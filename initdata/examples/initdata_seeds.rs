//! Writes what the fuzz targets begin with: the sound input of the tests.
//!
//! `initdata_seeds DIRECTORY` makes one directory a target.

#[path = "../tests/support/headers.rs"]
#[allow(dead_code, clippy::indexing_slicing, reason = "support for tests")]
mod headers;

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: initdata_seeds DIRECTORY")?;
    let json = headers::JSON.trim_end().as_bytes();
    let trailer =
        br#"{"tee":"snp","tee_data":"","workload_id":"web","cpus":2,"ram_mib":512,"attestation_url":""}"#;
    let length = u64::try_from(trailer.len())?.to_le_bytes();
    let seeds = [
        ("document", include_bytes!("../tests/data/document.toml").to_vec()),
        ("trailer", [trailer.as_slice(), b"KRUN", &length].concat()),
        ("luks", headers::luks1()),
        ("luks", headers::luks2(json)),
        ("luks_json", json.to_vec()),
    ];
    for (number, (target, bytes)) in seeds.iter().enumerate() {
        let directory = Path::new(&directory).join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("seed-{number:02}")), bytes)?;
    }
    Ok(())
}
