//! OVMF's image, and what it asks of the VMM that launches it: the sections of memory that are added to the
//! guest beside it, the place of the kernel's hashes, and where all vCPUs but the first start.
//!
//! The image ends with a table of entries, each named by a GUID, that is read from its end. One entry leads
//! to the metadata for SEV, which list the sections.

use std::sync::OnceLock;

use super::{LaunchDigest, PAGE_SIZE, Page, PageBytes};

/// An image of OVMF that can be launched with SNP.
#[derive(Debug, Clone)]
pub struct Ovmf<'a> {
    pages: &'a [PageBytes],
    sections: Vec<Section>,
    hash_table: Option<u32>,
    reset_vector: u32,
    digest: OnceLock<LaunchDigest>,
}

/// Memory that the VMM adds to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Its purpose.
    pub kind: SectionKind,
    /// Its guest physical address.
    pub address: u32,
    /// Its size in bytes: whole pages.
    pub size: u32,
}

/// The purpose of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// Memory that OVMF uses before it can accept any itself.
    Memory,
    /// The page of secrets.
    Secrets,
    /// The page of CPUID values.
    Cpuid,
    /// The calling area of an SVSM.
    CallingArea,
    /// The page of the kernel's hashes.
    KernelHashes,
}

/// Why an image is no OVMF that can be launched with SNP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OvmfError {
    /// No VMM could launch an image of this size.
    #[error("{0} bytes: an image of OVMF has whole pages of 4096 bytes, and 16 MiB at most")]
    Size(usize),
    /// The image does not end with OVMF's table.
    #[error("the image does not end with OVMF's table: it is not OVMF, or not the whole of it")]
    NoTable,
    /// The table has an entry that does not fit.
    #[error("OVMF's table is damaged")]
    Table,
    /// The table has two entries of one name. QEMU takes the last, the known tools take the first.
    #[error("OVMF's table has two entries for {0}")]
    Twice(&'static str),
    /// The table has no entry of this name, or it is too short.
    #[error("OVMF's table has no entry for {0}: this build of OVMF cannot be launched with SNP")]
    Missing(&'static str),
    /// The metadata lie outside of the image, or are none.
    #[error("OVMF's metadata for SEV are damaged")]
    Metadata,
    /// The metadata are of a version that is not known.
    #[error("OVMF's metadata for SEV have version {0}: 1 is known")]
    Version(u32),
    /// There are more sections than any OVMF has.
    #[error("OVMF's metadata for SEV name {0} sections: 64 are the most")]
    Sections(u32),
    /// A section is for something that is not known.
    #[error("OVMF's metadata for SEV name a section of type {0:#x}, which is not known")]
    Kind(u32),
    /// A section does not lie where memory can be added.
    #[error("OVMF's section of {size:#x} bytes at {address:#x} has no place in the guest's memory")]
    Place {
        /// Its address.
        address: u32,
        /// Its size.
        size: u32,
    },
    /// Two sections have a page in common. A page is added once.
    #[error("OVMF's sections at {0:#x} and {1:#x} overlap")]
    Overlap(u32, u32),
    /// The sections together are larger than those of any OVMF.
    #[error("OVMF's sections have more than 64 MiB")]
    TooMuch,
    /// The place for the kernel's hashes is none.
    #[error("OVMF's place for the kernel's hashes, {size} bytes at {address:#x}, is no place for 176 bytes")]
    HashTable {
        /// Its address.
        address: u32,
        /// Its size.
        size: u32,
    },
}

/// Where the image ends.
const FOUR_GIB: u64 = 0x1_0000_0000;
/// Below this distance from its end the memory of devices begins.
const LARGEST: usize = 16 * 1024 * 1024;
/// The size of QEMU's table of hashes: a header and three entries, filled up to a multiple of 16 bytes.
const TABLE_SIZE: usize = 176;
const MOST_SECTIONS: u32 = 64;
const MOST_BYTES: u64 = 64 * 1024 * 1024;

const FOOTER: [u8; 16] = guid(0x96b582de_1fb2_45f7_baea_a366c55a082d);
const HASH_TABLE: Entry = Entry("the kernel's hashes", guid(0x7255371f_3a3b_4b04_927b_1da6efa8d454));
const RESET_VECTOR: Entry = Entry("the reset vector", guid(0x00f771de_1a7e_4fcb_890e_68c77e2fb44e));
const METADATA: Entry = Entry("SEV's metadata", guid(0xdc886566_984a_4798_a75e_5585a7bf67cc));

impl<'a> Ovmf<'a> {
    /// Reads an image. An image that QEMU would not launch is refused.
    pub fn parse(image: &'a [u8]) -> Result<Self, OvmfError> {
        let pages = match image.as_chunks() {
            (pages @ [_, ..], []) if image.len() <= LARGEST => pages,
            _ => return Err(OvmfError::Size(image.len())),
        };
        let table = table(image).ok_or(OvmfError::NoTable)?;
        let reset_vector = first_u32(RESET_VECTOR.required(table)?).filter(|address| *address != 0);
        let reset_vector = reset_vector.ok_or(OvmfError::Missing(RESET_VECTOR.0))?;
        let metadata = first_u32(METADATA.required(table)?).ok_or(OvmfError::Missing(METADATA.0))?;
        let sections = sections(image, metadata)?;
        // A build that takes no hashes has the entry all the same: its address is zero.
        let hash_table = match HASH_TABLE.find(table)? {
            Some(entry) => hash_table(entry)?,
            None => None,
        };
        let takes_hashes = sections.iter().any(|section| section.kind == SectionKind::KernelHashes);
        let hash_table = hash_table.filter(|_| takes_hashes);
        Ok(Self { pages, sections, hash_table, reset_vector, digest: OnceLock::new() })
    }

    /// The digest of the image's pages. It is computed once.
    pub fn digest(&self) -> [u8; 48] {
        self.launch_digest().clone().finish()
    }

    /// The sections, in their order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Whether this build checks the hashes of a kernel that the VMM hands to it. OVMF's AmdSev builds do.
    pub fn takes_kernel_hashes(&self) -> bool {
        self.hash_table.is_some()
    }

    /// Where the table of hashes lies in its page.
    pub(super) fn hash_table_offset(&self) -> Option<usize> {
        self.hash_table.map(|address| address as usize % PAGE_SIZE)
    }

    /// Where every vCPU but the first starts.
    pub(super) fn reset_vector(&self) -> u32 {
        self.reset_vector
    }

    pub(super) fn launch_digest(&self) -> &LaunchDigest {
        self.digest.get_or_init(|| {
            let mut digest = LaunchDigest::new();
            let mut address = FOUR_GIB - (self.pages.len() * PAGE_SIZE) as u64;
            for page in self.pages {
                digest.add(Page::Normal(page), address);
                address += PAGE_SIZE as u64;
            }
            digest
        })
    }
}

/// A GUID as it lies in memory: its first three fields are little-endian.
pub(super) const fn guid(number: u128) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = number.to_be_bytes();
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// An entry of the table: its name in words, and its GUID.
struct Entry(&'static str, [u8; 16]);

impl Entry {
    fn required<'a>(&self, table: &'a [u8]) -> Result<&'a [u8], OvmfError> {
        self.find(table)?.ok_or(OvmfError::Missing(self.0))
    }

    /// The entry's data.
    fn find<'a>(&self, table: &'a [u8]) -> Result<Option<&'a [u8]>, OvmfError> {
        let mut found = None;
        let mut rest = table;
        while !rest.is_empty() {
            let (before, name, data) = last_entry(rest).ok_or(OvmfError::Table)?;
            if name == self.1 && found.replace(data).is_some() {
                return Err(OvmfError::Twice(self.0));
            }
            rest = before;
        }
        Ok(found)
    }
}

/// The entries of the table, without the footer, which ends 32 bytes before the image does.
fn table(image: &[u8]) -> Option<&[u8]> {
    let (image, _) = image.split_at_checked(image.len().checked_sub(32)?)?;
    let (_, name, entries) = last_entry(image)?;
    (name == FOOTER).then_some(entries)
}

/// Splits the last entry off: what is before it, its GUID and its data. An entry ends with its whole size and
/// its GUID.
fn last_entry(table: &[u8]) -> Option<(&[u8], [u8; 16], &[u8])> {
    let (before, name) = table.split_last_chunk::<16>()?;
    let (_, size) = before.split_last_chunk::<2>()?;
    let entry = table.len().checked_sub(u16::from_le_bytes(*size).into())?;
    let (rest, entry) = table.split_at_checked(entry)?;
    Some((rest, *name, entry.get(..entry.len().checked_sub(18)?)?))
}

fn first_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_le_bytes)
}

fn hash_table(entry: &[u8]) -> Result<Option<u32>, OvmfError> {
    let word = |at| entry.get(at..).and_then(first_u32).ok_or(OvmfError::Table);
    let (address, size) = (word(0)?, word(4)?);
    let fits = size as usize >= TABLE_SIZE && address as usize % PAGE_SIZE + TABLE_SIZE <= PAGE_SIZE;
    match address {
        0 => Ok(None),
        _ if fits => Ok(Some(address)),
        _ => Err(OvmfError::HashTable { address, size }),
    }
}

/// The sections that the metadata name, which lie this far from the image's end.
fn sections(image: &[u8], from_end: u32) -> Result<Vec<Section>, OvmfError> {
    let start = image.len().checked_sub(from_end as usize).ok_or(OvmfError::Metadata)?;
    let metadata = image.get(start..).ok_or(OvmfError::Metadata)?;
    let word = |at: usize| metadata.get(at..).and_then(first_u32).ok_or(OvmfError::Metadata);
    let (size, version, number) = (word(4)?, word(8)?, word(12)?);
    if !metadata.starts_with(b"ASEV") {
        return Err(OvmfError::Metadata);
    }
    if version != 1 {
        return Err(OvmfError::Version(version));
    }
    if number > MOST_SECTIONS {
        return Err(OvmfError::Sections(number));
    }
    let metadata = metadata.get(16..size as usize).ok_or(OvmfError::Metadata)?;
    let (records, _) = metadata.as_chunks::<12>();
    let records = records.get(..number as usize).ok_or(OvmfError::Metadata)?;
    let sections = records.iter().map(section).collect::<Result<Vec<_>, _>>()?;
    check_places(&sections, FOUR_GIB - image.len() as u64)?;
    Ok(sections)
}

fn section(record: &[u8; 12]) -> Result<Section, OvmfError> {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *record;
    let kind = match u32::from_le_bytes([i, j, k, l]) {
        1 => SectionKind::Memory,
        2 => SectionKind::Secrets,
        3 => SectionKind::Cpuid,
        4 => SectionKind::CallingArea,
        0x10 => SectionKind::KernelHashes,
        other => return Err(OvmfError::Kind(other)),
    };
    Ok(Section { kind, address: u32::from_le_bytes([a, b, c, d]), size: u32::from_le_bytes([e, f, g, h]) })
}

/// KVM adds whole pages, each once, and the image lies at `image`.
fn check_places(sections: &[Section], image: u64) -> Result<(), OvmfError> {
    const PAGE: u32 = PAGE_SIZE as u32;
    let end = |section: &Section| u64::from(section.address) + u64::from(section.size);
    for (index, section) in sections.iter().enumerate() {
        let Section { kind, address, size } = *section;
        let one_page = matches!(kind, SectionKind::Secrets | SectionKind::Cpuid | SectionKind::KernelHashes);
        let whole = address.is_multiple_of(PAGE) && size.is_multiple_of(PAGE) && size > 0;
        if !whole || (one_page && size != PAGE) || end(section) > image {
            return Err(OvmfError::Place { address, size });
        }
        let overlaps =
            |other: &&Section| end(other) > address.into() && u64::from(other.address) < end(section);
        if let Some(other) = sections.iter().take(index).find(overlaps) {
            return Err(OvmfError::Overlap(other.address, address));
        }
    }
    let bytes: u64 = sections.iter().map(|section| u64::from(section.size)).sum();
    if bytes > MOST_BYTES { Err(OvmfError::TooMuch) } else { Ok(()) }
}
