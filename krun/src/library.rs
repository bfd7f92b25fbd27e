//! Reads what a libkrunfw-sev library hands out.

use keybroker_snp::measurement::krun::Firmware;

use super::{constants, image::Image};

/// A libkrunfw-sev library, in the bytes of its file.
#[derive(Debug, Clone, Copy)]
pub struct Library<'a> {
    /// The blobs that a guest is launched from.
    pub firmware: Firmware<'a>,
    /// The version of the interface, which is the number in the library's name: `.so.4`, `.so.5`.
    pub version: u64,
}

/// Why a file is no libkrunfw-sev library, or none that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// It is none for this machine.
    #[error("not a shared library for x86-64 Linux")]
    NotElf,
    /// It lacks one of the functions.
    #[error("the library does not export {0}: it is not libkrunfw-sev")]
    Missing(&'static str),
    /// Only running the function would tell what it hands out.
    #[error("{function} does more at {at:#x} than hand out constants")]
    Code {
        /// The function.
        function: &'static str,
        /// The address of the first instruction that is not followed.
        at: u64,
    },
    /// The function hands out an address or a size that the library's file does not have.
    #[error("{0} hands out nothing that lies in the library")]
    Outside(&'static str),
    /// There is no place for one more segment.
    #[error("the library has no program header that could be spared for another initrd")]
    NoHeader,
    /// The initrd has two gigabytes or more.
    #[error("the initrd is too long for a library")]
    TooLong,
}

pub(super) const QBOOT: &str = "krunfw_get_qboot";
pub(super) const INITRD: &str = "krunfw_get_initrd";
pub(super) const KERNEL: &str = "krunfw_get_kernel";
pub(super) const VERSION: &str = "krunfw_get_version";

impl<'a> Library<'a> {
    /// Reads the library from its file and its code. Nothing of it is run.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LibraryError> {
        let image = Image::parse(bytes)?;
        let (qboot, _) = blob(&image, QBOOT, 0)?;
        let (initrd, _) = blob(&image, INITRD, 0)?;
        // Three arguments: where to load it, where to enter it, and its size. Older libraries have no second.
        let (kernel, kernel_address) = blob(&image, KERNEL, 2).or_else(|_| blob(&image, KERNEL, 1))?;
        let version = constants(&image, VERSION)?.returned.ok_or(LibraryError::Outside(VERSION))?;
        let kernel_address = kernel_address.ok_or(LibraryError::Outside(KERNEL))?;
        Ok(Self { firmware: Firmware { qboot, kernel, kernel_address, initrd }, version })
    }

    /// The name by which libkrun loads it.
    pub fn soname(&self) -> String {
        format!("libkrunfw-sev.so.{}", self.version)
    }
}

/// The blob that a function hands out, if its argument of this number is the size, and the number that it
/// stores in the first.
fn blob<'a>(
    image: &Image<'a>,
    function: &'static str,
    size: u8,
) -> Result<(&'a [u8], Option<u64>), LibraryError> {
    let constants = constants(image, function)?;
    let bytes = constants.returned.zip(constants.stored.get(&size).copied());
    let bytes = bytes.and_then(|(address, size)| image.bytes(address, size));
    Ok((bytes.ok_or(LibraryError::Outside(function))?, constants.stored.get(&0).copied()))
}

fn constants(image: &Image<'_>, function: &'static str) -> Result<constants::Constants, LibraryError> {
    let export = image.export(function)?;
    constants::of(image, export.address).map_err(|at| LibraryError::Code { function, at })
}
