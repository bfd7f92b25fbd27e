//! A LUKS2 header that a host has changed.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Where a copy's checksum stands: 64 bytes, of which SHA-256 takes the first 32.
const CHECKSUM: std::ops::Range<usize> = 448..512;
/// Where a copy's JSON begins.
const JSON: usize = 4096;

/// Changes the JSON of both copies of a header and corrects their checksums, so that nothing but the change
/// shows.
pub fn alter(disk: &mut [u8], change: impl Fn(&mut Value)) {
    let size = u64::from_be_bytes(disk.get(8..16).unwrap().try_into().unwrap());
    let size = usize::try_from(size).unwrap();
    for copy in disk.chunks_exact_mut(size).take(2) {
        let text = copy.get(JSON..).unwrap().split(|byte| *byte == 0).next().unwrap();
        let mut json: Value = serde_json::from_slice(text).expect("a LUKS2 header");
        change(&mut json);
        let text = json.to_string();
        let area = copy.get_mut(JSON..).unwrap();
        area.fill(0);
        area.get_mut(..text.len()).expect("room for the JSON").copy_from_slice(text.as_bytes());
        let sum = copy.get_mut(CHECKSUM).unwrap();
        sum.fill(0);
        let digest = Sha256::digest(&copy);
        copy.get_mut(CHECKSUM).unwrap().get_mut(..digest.len()).unwrap().copy_from_slice(&digest);
    }
}
