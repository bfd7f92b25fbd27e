//! A stand-in for OVMF: an image with a table and metadata as an AmdSev build has them. It runs nothing.

/// A stand-in: the sections that it asks for, and its size.
#[derive(Debug, Clone)]
pub struct OvmfImage {
    /// Its size in pages of 4096 bytes.
    pub pages: usize,
    /// Its content is made of this number.
    pub seed: u8,
    /// The sections of its metadata: address, size, type.
    pub sections: Vec<(u32, u32, u32)>,
    /// The version of its metadata.
    pub version: u32,
    /// Its table's entries, the last of which is read first.
    pub entries: Vec<(u128, Vec<u8>)>,
}

/// The entry for where all vCPUs but the first start.
pub const RESET_VECTOR: u128 = 0x00f771de_1a7e_4fcb_890e_68c77e2fb44e;
/// The entry for the place of the kernel's hashes.
pub const HASH_TABLE: u128 = 0x7255371f_3a3b_4b04_927b_1da6efa8d454;
/// The entry that leads to the metadata.
pub const METADATA: u128 = 0xdc886566_984a_4798_a75e_5585a7bf67cc;
const FOOTER: u128 = 0x96b582de_1fb2_45f7_baea_a366c55a082d;

/// How far before the image's end the metadata lie.
pub const METADATA_FROM_END: u32 = 0x800;

/// The types of sections.
pub mod section {
    pub const MEMORY: u32 = 1;
    pub const SECRETS: u32 = 2;
    pub const CPUID: u32 = 3;
    pub const CALLING_AREA: u32 = 4;
    pub const KERNEL_HASHES: u32 = 0x10;
}

impl Default for OvmfImage {
    fn default() -> Self {
        use section::{CALLING_AREA, CPUID, KERNEL_HASHES, MEMORY, SECRETS};
        Self {
            pages: 3,
            seed: 1,
            sections: vec![
                (0x80_0000, 0x9000, MEMORY),
                (0x80_A000, 0x3000, MEMORY),
                (0x80_D000, 0x1000, SECRETS),
                (0x80_E000, 0x1000, CPUID),
                (0x80_F000, 0x1000, CALLING_AREA),
                (0x81_0000, 0x1000, KERNEL_HASHES),
                (0x81_1000, 0xF000, MEMORY),
            ],
            version: 1,
            entries: vec![
                (METADATA, METADATA_FROM_END.to_le_bytes().to_vec()),
                (HASH_TABLE, place(0x81_0C00, 0x400)),
                (RESET_VECTOR, 0x0080_B004_u32.to_le_bytes().to_vec()),
            ],
        }
    }
}

/// The data of an entry that names a place.
pub fn place(address: u32, size: u32) -> Vec<u8> {
    [address.to_le_bytes(), size.to_le_bytes()].concat()
}

impl OvmfImage {
    /// The same image with another entry in the place of this one.
    pub fn with_entry(mut self, name: u128, data: Vec<u8>) -> Self {
        let entry = self.entries.iter_mut().find(|entry| entry.0 == name).unwrap();
        entry.1 = data;
        self
    }

    /// The same image without this entry.
    pub fn without_entry(mut self, name: u128) -> Self {
        self.entries.retain(|entry| entry.0 != name);
        self
    }

    /// The image.
    pub fn bytes(&self) -> Vec<u8> {
        let mut image: Vec<u8> =
            (0..self.pages * 4096).map(|at| (at * 31 / 16) as u8 ^ self.seed.wrapping_mul(37)).collect();
        let end = image.len();
        let metadata = self.metadata();
        let start = end - METADATA_FROM_END as usize;
        image[start..start + metadata.len()].copy_from_slice(&metadata);
        let mut table = Vec::new();
        for (name, data) in &self.entries {
            table.extend_from_slice(&entry(*name, data, data.len()));
        }
        table.extend(entry(FOOTER, &[], table.len()));
        image[end - 32 - table.len()..end - 32].copy_from_slice(&table);
        image
    }

    fn metadata(&self) -> Vec<u8> {
        let size = 16 + 12 * self.sections.len() as u32;
        let mut metadata = b"ASEV".to_vec();
        for word in [size, self.version, self.sections.len() as u32] {
            metadata.extend(word.to_le_bytes());
        }
        for (address, size, kind) in &self.sections {
            for word in [address, size, kind] {
                metadata.extend(word.to_le_bytes());
            }
        }
        metadata
    }
}

/// An entry of the table, which says that its data have this size.
fn entry(name: u128, data: &[u8], size: usize) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h, rest @ ..] = name.to_be_bytes();
    let mut entry = data.to_vec();
    entry.extend(((size + 18) as u16).to_le_bytes());
    entry.extend([d, c, b, a, f, e, h, g]);
    entry.extend(rest);
    entry
}
