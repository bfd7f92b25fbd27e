//! A shared library as it lies in memory, read from its file.

use object::{
    Endianness, Object as _, ObjectSegment as _, ObjectSymbol as _, ObjectSymbolTable as _, RelocationFlags,
    RelocationTarget, SymbolIndex, elf,
    read::elf::{ElfFile64, FileHeader as _, SectionHeader as _},
};

use super::LibraryError;

/// A shared library, or a program, for x86-64.
pub(super) struct Image<'a> {
    file: ElfFile64<'a>,
}

/// A function or an object that the library exports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Export {
    /// Its address, with the library at 0.
    pub(super) address: u64,
    /// Where its entry in the symbol table lies in the file.
    pub(super) entry: u64,
}

impl<'a> Image<'a> {
    /// Reads a shared library.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, LibraryError> {
        Self::of_type(&[elf::ET_DYN], bytes)
    }

    /// Reads a shared library or a program.
    pub(super) fn library_or_program(bytes: &'a [u8]) -> Result<Self, LibraryError> {
        Self::of_type(&[elf::ET_DYN, elf::ET_EXEC], bytes)
    }

    fn of_type(types: &[elf::FileType], bytes: &'a [u8]) -> Result<Self, LibraryError> {
        let file = ElfFile64::parse(bytes).map_err(|_| LibraryError::NotElf)?;
        let (header, endian) = (file.elf_header(), file.endian());
        let is_ours = types.contains(&header.e_type(endian))
            && header.e_machine(endian) == elf::EM_X86_64
            && endian == Endianness::Little;
        is_ours.then_some(Self { file }).ok_or(LibraryError::NotElf)
    }

    pub(super) fn file(&self) -> &ElfFile64<'a> {
        &self.file
    }

    /// The export of this name.
    pub(super) fn export(&self, name: &'static str) -> Result<Export, LibraryError> {
        let table = self.file.elf_dynamic_symbol_table();
        let sections = self.file.elf_section_table();
        let section = sections.section(table.section()).map_err(|_| LibraryError::Missing(name))?;
        let start = section.sh_offset(self.file.endian());
        let symbol = self
            .file
            .dynamic_symbols()
            .find(|symbol| symbol.name() == Ok(name) && symbol.is_definition())
            .ok_or(LibraryError::Missing(name))?;
        let entry =
            start.saturating_add(symbol.index().0 as u64 * size_of::<elf::Sym64<Endianness>>() as u64);
        Ok(Export { address: symbol.address(), entry })
    }

    /// The bytes from an address on, to the end of what the file has there.
    pub(super) fn from(&self, address: u64) -> Option<&'a [u8]> {
        self.file.segments().find_map(|segment| {
            let at = usize::try_from(address.checked_sub(segment.address())?).ok()?;
            segment.data().ok()?.get(at..)
        })
    }

    /// `size` bytes at an address.
    pub(super) fn bytes(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        self.from(address)?.get(..usize::try_from(size).ok()?)
    }

    /// The word at an address once the dynamic linker has done its work, with the library at 0.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let mut relocations = self.file.dynamic_relocations().into_iter().flatten();
        if let Some((_, relocation)) = relocations.find(|(at, _)| *at == address) {
            let RelocationFlags::Elf { r_type } = relocation.flags() else { return None };
            return match (r_type, relocation.target()) {
                (elf::R_X86_64_RELATIVE, _) => Some(relocation.addend() as u64),
                (elf::R_X86_64_GLOB_DAT, RelocationTarget::Symbol(index)) => self.address_of(index),
                (elf::R_X86_64_64, RelocationTarget::Symbol(index)) => {
                    Some(self.address_of(index)?.wrapping_add(relocation.addend() as u64))
                }
                _ => None,
            };
        }
        let bytes = self.bytes(address, 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn address_of(&self, index: SymbolIndex) -> Option<u64> {
        let symbol = self.file.dynamic_symbol_table()?.symbol_by_index(index).ok()?;
        symbol.is_definition().then(|| symbol.address())
    }
}
