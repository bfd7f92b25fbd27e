//! Headers of LUKS disks, made byte by byte: the disks that `tests/data/document.toml` describes.

use sha2::{Digest, Sha256};

/// The bytes of one copy of the LUKS2 header.
pub(crate) const COPY_LEN: usize = 0x4000;

/// The JSON of the LUKS2 header.
pub(crate) const JSON: &str = include_str!("../data/luks2.json");

/// A LUKS2 header that says `json`: both copies, with their checksums.
pub(crate) fn luks2(json: &[u8]) -> Vec<u8> {
    let mut header = copy(b"LUKS\xba\xbe", 0, json);
    header.extend(copy(b"SKUL\xba\xbe", COPY_LEN as u64, json));
    seal(&mut header);
    header
}

/// Makes the checksums of both copies anew.
pub(crate) fn seal(header: &mut [u8]) {
    for copy in header.chunks_mut(COPY_LEN) {
        copy[448..512].fill(0);
        let checksum = Sha256::digest(&*copy);
        copy[448..480].copy_from_slice(&checksum);
    }
}

fn copy(magic: &[u8; 6], offset: u64, json: &[u8]) -> Vec<u8> {
    let mut copy = vec![0; COPY_LEN];
    put(&mut copy, 0, magic);
    put(&mut copy, 6, &2_u16.to_be_bytes());
    put(&mut copy, 8, &(COPY_LEN as u64).to_be_bytes());
    put(&mut copy, 16, &3_u64.to_be_bytes());
    put(&mut copy, 72, b"sha256");
    put(&mut copy, 168, b"0199c5c2-0000-7000-8000-000000000000");
    put(&mut copy, 256, &offset.to_be_bytes());
    let json = &json[..json.len().min(COPY_LEN - 4096)];
    put(&mut copy, 4096, json);
    copy
}

/// A LUKS1 header.
pub(crate) fn luks1() -> Vec<u8> {
    let mut header = vec![0; 592];
    put(&mut header, 0, b"LUKS\xba\xbe\x00\x01");
    put(&mut header, 8, b"aes");
    put(&mut header, 40, b"xts-plain64");
    put(&mut header, 72, b"sha256");
    put(&mut header, 104, &4096_u32.to_be_bytes());
    put(&mut header, 108, &64_u32.to_be_bytes());
    put(&mut header, 112, &[4; 20]);
    put(&mut header, 132, &[3; 32]);
    put(&mut header, 164, &2000_u32.to_be_bytes());
    put(&mut header, 168, b"0199c5c2-0000-7000-8000-000000000000");
    for slot in 0..8_u32 {
        let at = 208 + slot as usize * 48;
        let state: u32 = if slot == 0 { 0x00AC_71F3 } else { 0xDEAD };
        put(&mut header, at, &state.to_be_bytes());
        put(&mut header, at + 4, &1000_u32.to_be_bytes());
        put(&mut header, at + 40, &(8 + slot * 504).to_be_bytes());
        put(&mut header, at + 44, &4000_u32.to_be_bytes());
    }
    header
}

/// Writes `bytes` at `offset`.
pub(crate) fn put(header: &mut [u8], offset: usize, bytes: &[u8]) {
    header[offset..offset + bytes.len()].copy_from_slice(bytes);
}
