//! A kernel that QEMU hands to OVMF (`-kernel`, `-initrd`, `-append`, with `kernel-hashes=on`): their hashes
//! are in a page that is measured, and OVMF starts nothing else.

use sha2::{Digest as _, Sha256};

use super::{PAGE_SIZE, PageBytes, ovmf::guid, vmsa::put};

/// A kernel, an initrd and a command line, by their hashes: a kernel is hashed once for any number of
/// launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectBoot<'a> {
    /// SHA-256 of the kernel's file.
    pub kernel: [u8; 32],
    /// SHA-256 of the initrd's file. A guest without an initrd has the hash of nothing: [`NOTHING`].
    pub initrd: [u8; 32],
    /// The command line, to the letter.
    ///
    /// QEMU hashes all bytes of it, and the NUL behind them (`build_kernel_loader_hashes` takes the length
    /// of the text plus one). It removes no white space. The crate `sev` does, so its digest for a command
    /// line with white space at an end is that of another launch.
    pub command_line: &'a str,
}

/// SHA-256 of nothing.
pub const NOTHING: [u8; 32] = [
    0xE3, 0xB0, 0xC4, 0x42, 0x98, 0xFC, 0x1C, 0x14, 0x9A, 0xFB, 0xF4, 0xC8, 0x99, 0x6F, 0xB9, 0x24, 0x27,
    0xAE, 0x41, 0xE4, 0x64, 0x9B, 0x93, 0x4C, 0xA4, 0x95, 0x99, 0x1B, 0x78, 0x52, 0xB8, 0x55,
];

const TABLE: [u8; 16] = guid(0x9438d606_4f22_4cc9_b479_a793d411fd21);
const COMMAND_LINE: [u8; 16] = guid(0x97d02dd8_bd20_4c94_aa78_e7714d36ab2a);
const INITRD: [u8; 16] = guid(0x44baf731_3a2f_4bd7_9af1_41e29169781d);
const KERNEL: [u8; 16] = guid(0x4de79437_abd2_427f_b835_d5b172d2045b);

impl<'a> DirectBoot<'a> {
    /// Hashes a kernel and an initrd.
    pub fn new(kernel: &[u8], initrd: Option<&[u8]>, command_line: &'a str) -> Self {
        let sha256 = |bytes| Sha256::digest(bytes).into();
        Self { kernel: sha256(kernel), initrd: initrd.map_or(NOTHING, sha256), command_line }
    }

    /// The page of hashes, with the table at this offset.
    pub(super) fn page(&self, offset: usize) -> PageBytes {
        const HEADER: usize = 18;
        const ENTRY: usize = 50;
        let mut page = [0; PAGE_SIZE];
        put(&mut page, offset, &TABLE);
        put(&mut page, offset + 16, &((HEADER + 3 * ENTRY) as u16).to_le_bytes());
        let command_line = Sha256::new().chain_update(self.command_line).chain_update([0]).finalize().into();
        let entries = [(COMMAND_LINE, command_line), (INITRD, self.initrd), (KERNEL, self.kernel)];
        for (index, (name, hash)) in entries.into_iter().enumerate() {
            let at = offset + HEADER + index * ENTRY;
            put(&mut page, at, &name);
            put(&mut page, at + 16, &(ENTRY as u16).to_le_bytes());
            put(&mut page, at + HEADER, &hash);
        }
        page
    }
}
