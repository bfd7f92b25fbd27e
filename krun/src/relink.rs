//! Makes the same library with another initrd.
//!
//! Nothing that the library has is moved or changed. A segment is added behind the last one; it holds the
//! initrd and a function that hands it out, and `krunfw_get_initrd` becomes the name of that function. So
//! qboot, kernel, their addresses, the version and the names of everything are the distribution's own.

use object::{
    Endianness,
    elf::{self, ProgramHeader64},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

use super::{LibraryError, image::Image, library::INITRD};

/// The alignment of segments: libkrunfw's own, which covers every size of pages.
const ALIGNMENT: u64 = 0x1_0000;

/// Pages in front of the initrd, for the function.
const CODE: u64 = 4096;

/// Kinds of program headers that only tools read, in the order in which they are given up.
const SPARE: [elf::ProgramType; 3] = [elf::PT_NOTE, elf::PT_GNU_PROPERTY, elf::PT_GNU_EH_FRAME];

/// The library `bytes` with this initrd, whose last page is filled with zeros.
pub fn relink(bytes: &[u8], initrd: &[u8]) -> Result<Vec<u8>, LibraryError> {
    let image = Image::parse(bytes)?;
    let export = image.export(INITRD)?;
    let header = spare_header(&image)?;
    let size = (initrd.len() as u64).next_multiple_of(4096);
    let stored = i32::try_from(size).map_err(|_| LibraryError::TooLong)?;

    let endian = image.file().endian();
    let segments = image.file().elf_program_headers();
    let ends = segments.iter().map(|segment| segment.p_vaddr(endian).saturating_add(segment.p_memsz(endian)));
    let address = ends.max().unwrap_or(0).checked_next_multiple_of(ALIGNMENT).ok_or(LibraryError::TooLong)?;
    let offset = (bytes.len() as u64).next_multiple_of(ALIGNMENT);

    let mut library = bytes.to_vec();
    library.resize(offset as usize, 0);
    library.extend(function(stored));
    library.resize((offset + CODE) as usize, 0);
    library.extend(initrd);
    library.resize((offset + CODE + size) as usize, 0);

    // st_value and st_size of the symbol.
    put(&mut library, export.entry.saturating_add(8), address)?;
    put(&mut library, export.entry.saturating_add(16), FUNCTION as u64)?;
    // p_type and p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
    let flags = u64::from((elf::PF_R | elf::PF_X).0);
    let fields = [
        u64::from(elf::PT_LOAD.0) | flags << 32,
        offset,
        address,
        address,
        CODE + size,
        CODE + size,
        ALIGNMENT,
    ];
    for (place, field) in (header..).step_by(8).zip(fields) {
        put(&mut library, place, field)?;
    }
    Ok(library)
}

/// Where in the file a program header lies that can be spared: behind those of the segments, whose addresses
/// must ascend.
fn spare_header(image: &Image<'_>) -> Result<u64, LibraryError> {
    let endian = image.file().endian();
    let headers = image.file().elf_program_headers();
    let last =
        headers.iter().rposition(|header| header.p_type(endian) == elf::PT_LOAD).unwrap_or(headers.len());
    let behind = |kind: elf::ProgramType| {
        headers.iter().rposition(|header| header.p_type(endian) == kind).filter(|index| *index > last)
    };
    let index = SPARE.into_iter().find_map(behind).ok_or(LibraryError::NoHeader)?;
    let table = image.file().elf_header().e_phoff(endian);
    Ok(table + index as u64 * size_of::<ProgramHeader64<Endianness>>() as u64)
}

/// Bytes of [`function`].
const FUNCTION: usize = 19;

/// `krunfw_get_initrd(size_t *size)`: stores the size and returns the address of the initrd.
fn function(size: i32) -> Vec<u8> {
    let mut code = vec![0xF3, 0x0F, 0x1E, 0xFA]; // endbr64
    code.extend([0x48, 0xC7, 0x07]); // mov qword [rdi], size
    code.extend(size.to_le_bytes());
    code.extend([0x48, 0x8D, 0x05]); // lea rax, [rip + distance]
    let distance = CODE as i32 - (FUNCTION as i32 - 1);
    code.extend(distance.to_le_bytes());
    code.push(0xC3); // ret
    code
}

fn put(library: &mut [u8], at: u64, number: u64) -> Result<(), LibraryError> {
    let at = usize::try_from(at).map_err(|_| LibraryError::NotElf)?;
    let place = library.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>());
    *place.ok_or(LibraryError::NotElf)? = number.to_le_bytes();
    Ok(())
}
