//! The trailer that buildah writes behind the disk of an image: `<json>` ‖ `KRUN` ‖ the length of the JSON,
//! as 8 bytes in little-endian order.
//!
//! Nothing binds a trailer. It tells a tool which workload and which virtual machine an image was made for.
//! No guest of ours reads it.

use serde::Deserialize;

/// Bytes behind the JSON.
const SUFFIX: usize = 12;

/// The longest JSON that is read.
const MAX_JSON: usize = 64 * 1024;

/// The settings of an image. Members that a later buildah adds are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Trailer {
    /// The kind of hardware: `snp`.
    pub tee: String,
    /// JSON in a text; a hint, such as `{"gen":"milan"}`.
    #[serde(default)]
    pub tee_data: String,
    /// The workload as which buildah registered the passphrase.
    pub workload_id: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub ram_mib: u32,
    /// The broker's URL, with any credentials that buildah was given.
    #[serde(default)]
    pub attestation_url: String,
}

/// Why a file has no trailer that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrailerError {
    /// The file does not end as buildah ends one.
    #[error("the image has no trailer of buildah: it does not end with KRUN and a length")]
    Absent,
    /// The length is that of no JSON, or longer than what was handed in.
    #[error("the image's trailer has an impossible length")]
    Length,
    /// The JSON is none, or not that of a trailer.
    #[error("the image's trailer is not the JSON that buildah writes")]
    Json,
}

impl Trailer {
    /// As much of the end of a file as any trailer needs.
    pub const MAX_LEN: usize = MAX_JSON + SUFFIX;

    /// Reads the trailer from the end of a file, with the number of bytes that it takes up there.
    pub fn parse(end: &[u8]) -> Result<(Self, usize), TrailerError> {
        let (before, suffix) = end.split_last_chunk::<SUFFIX>().ok_or(TrailerError::Absent)?;
        let (magic, length) = suffix.split_first_chunk::<4>().ok_or(TrailerError::Absent)?;
        if magic != b"KRUN" {
            return Err(TrailerError::Absent);
        }
        let length: [u8; 8] = length.try_into().map_err(|_| TrailerError::Absent)?;
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| TrailerError::Length)?;
        if length == 0 || length > MAX_JSON {
            return Err(TrailerError::Length);
        }
        let start = before.len().checked_sub(length).ok_or(TrailerError::Length)?;
        let json = before.get(start..).ok_or(TrailerError::Length)?;
        let trailer = serde_json::from_slice(json).map_err(|_| TrailerError::Json)?;
        Ok((trailer, length + SUFFIX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"tee":"snp","tee_data":"{\"gen\":\"milan\"}","workload_id":"web","cpus":2,"ram_mib":512,"attestation_url":"http://127.0.0.1:8000"}"#;

    fn image(json: &str, magic: &[u8; 4], length: u64) -> Vec<u8> {
        let mut image = vec![0; 4096];
        image.extend_from_slice(json.as_bytes());
        image.extend_from_slice(magic);
        image.extend_from_slice(&length.to_le_bytes());
        image
    }

    #[test]
    fn buildahs_trailer_is_read() {
        let (trailer, length) = Trailer::parse(&image(JSON, b"KRUN", JSON.len() as u64)).unwrap();
        assert_eq!(length, JSON.len() + 12);
        assert_eq!((trailer.workload_id.as_str(), trailer.cpus, trailer.ram_mib), ("web", 2, 512));
        assert_eq!(trailer.attestation_url, "http://127.0.0.1:8000");
        let later = JSON.replace("\"cpus\"", "\"later\":1,\"cpus\"");
        assert!(Trailer::parse(&image(&later, b"KRUN", later.len() as u64)).is_ok());
    }

    #[test]
    fn other_ends_are_refused() {
        let length = JSON.len() as u64;
        assert_eq!(Trailer::parse(b"KRUN"), Err(TrailerError::Absent));
        assert_eq!(Trailer::parse(&image(JSON, b"krun", length)), Err(TrailerError::Absent));
        for impossible in [0, 5000, MAX_JSON as u64 + 1, u64::MAX] {
            assert_eq!(Trailer::parse(&image(JSON, b"KRUN", impossible)), Err(TrailerError::Length));
        }
        assert_eq!(Trailer::parse(&image(JSON, b"KRUN", length - 1)), Err(TrailerError::Json));
        let twice = JSON.replace("\"cpus\":2", "\"cpus\":2,\"cpus\":3");
        assert_eq!(Trailer::parse(&image(&twice, b"KRUN", twice.len() as u64)), Err(TrailerError::Json));
    }
}
