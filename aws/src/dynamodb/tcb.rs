//! TCB versions as attributes: few bytes.

use keybroker_snp::product::TcbVersion;

/// The levels of a TCB version, a byte each: boot loader, tee, snp, microcode, and before them fmc where it
/// has one.
pub(super) fn levels(TcbVersion { fmc, boot_loader, tee, snp, microcode }: TcbVersion) -> Vec<u8> {
    fmc.into_iter().chain([boot_loader, tee, snp, microcode]).collect()
}

/// The version with these levels. `None` if they have neither form.
pub(super) fn read(levels: &[u8]) -> Option<TcbVersion> {
    match *levels {
        [boot_loader, tee, snp, microcode] => {
            Some(TcbVersion { fmc: None, boot_loader, tee, snp, microcode })
        }
        [fmc, boot_loader, tee, snp, microcode] => {
            Some(TcbVersion { fmc: Some(fmc), boot_loader, tee, snp, microcode })
        }
        _ => None,
    }
}
