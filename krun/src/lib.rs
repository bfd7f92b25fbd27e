//! libkrun's firmware library, libkrunfw-sev: a krun guest is launched from it.
//!
//! It is an ELF library that hands out three blobs (qboot, kernel, initrd) and their addresses. [`Library`]
//! reads them, and [`relink`] makes the same library with another initrd. Neither loads the library: it may
//! be anybody's. [`initrd`] writes the initrd of one workload.
//!
//! The crate does no I/O.

mod constants;
mod cpio;
mod image;
pub mod initrd;
mod library;
mod relink;
#[cfg(test)]
mod tests;

pub use library::{Library, LibraryError};
pub use relink::relink;
