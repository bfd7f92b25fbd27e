//! Disks, as far as a guest looks at them: their headers.

/// The header of a LUKS1 disk (aes-xts-plain64, a key of 512 bits, data from 2 MiB on) whose volume key has
/// this digest: its 592 bytes, without key material.
pub fn luks1_header(mk_digest: &[u8; 20]) -> Vec<u8> {
    let mut header = vec![0; 592];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(field) = header.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    };
    put(0, b"LUKS\xba\xbe\x00\x01");
    put(8, b"aes");
    put(40, b"xts-plain64");
    put(72, b"sha256");
    put(104, &4096_u32.to_be_bytes());
    put(108, &64_u32.to_be_bytes());
    put(112, mk_digest);
    put(132, &[3; 32]);
    put(164, &2000_u32.to_be_bytes());
    put(168, b"0199c5c2-0000-7000-8000-000000000000");
    for slot in 0..8_u32 {
        let at = 208 + slot as usize * 48;
        let state: u32 = if slot == 0 { 0x00AC_71F3 } else { 0xDEAD };
        put(at, &state.to_be_bytes());
        put(at + 4, &1000_u32.to_be_bytes());
        put(at + 40, &(8 + slot * 504).to_be_bytes());
        put(at + 44, &4000_u32.to_be_bytes());
    }
    header
}
