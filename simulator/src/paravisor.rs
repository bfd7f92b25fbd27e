//! Azure's paravisor: it asks the chip on the guest's behalf, and hands out report and claims in one blob.
//!
//! The blob is what the NV index 0x01400001 of an Azure confidential VM's virtual TPM holds.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use crate::{guest::Machine, report::REPORT_LEN};

/// Size of the NV index that holds the blob: zeros follow the claims.
pub const INDEX_LEN: usize = 2600;

/// Claims of a VM whose guest wrote `user_data` into the NV index 0x01400002, as the paravisor writes them.
/// Its releases before 2024 write no such member.
pub fn claims(user_data: Option<&[u8; 64]>) -> String {
    let key = |kid: &str, key_op: &str| {
        let modulus = "tYVBpgABBOedWd2SNiT8o1I7FVCit2pDm2mr6B7b66".repeat(8);
        format!(r#"{{"kid":"{kid}","key_ops":["{key_op}"],"kty":"RSA","e":"AQAB","n":"{modulus}"}}"#)
    };
    let user_data = user_data.map(|bytes| format!(r#","user-data":"{}""#, HEXLOWER.encode(bytes)));
    format!(
        concat!(
            r#"{{"keys":[{},{}],"vm-configuration":{{"console-enabled":true,"secure-boot":true,"#,
            r#""tpm-enabled":true,"tpm-persisted":true,"vmUniqueId":"6E1A1E9C-6F3C-4C6F-9D0B-2B2A1C0F4E5D"}}{}}}"#
        ),
        key("HCLAkPub", "sign"),
        key("HCLEkPub", "encrypt"),
        user_data.unwrap_or_default()
    )
}

/// REPORT_DATA of the report that the paravisor asks for: the claims' SHA-256, then zeros.
pub fn report_data(claims: &[u8]) -> [u8; 64] {
    let mut report_data = [0; 64];
    report_data.iter_mut().zip(digest(&SHA256, claims).as_ref()).for_each(|(to, from)| *to = *from);
    report_data
}

/// The blob of a report and these claims, up to the end of the index.
pub fn blob(report: &[u8; REPORT_LEN], claims: &[u8]) -> Vec<u8> {
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let (data, all) = (20 + claims.len(), 32 + REPORT_LEN + 20 + claims.len());
    let header = [u32::from_le_bytes(*b"HCLA"), 2, size(all), 2, 0, 0, 0, 0];
    let numbers = [size(data), 1, 2, 1, size(claims.len())];
    let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    blob.extend(report);
    blob.extend(numbers.iter().flat_map(|word| word.to_le_bytes()));
    blob.extend(claims);
    blob.resize(blob.len().max(INDEX_LEN), 0);
    blob
}

impl Machine {
    /// The blob that the guest of an Azure confidential VM reads after it wrote `user_data`.
    pub fn hcl_report(&self, user_data: [u8; 64]) -> Vec<u8> {
        self.hcl_report_of(claims(Some(&user_data)).as_bytes())
    }

    /// The blob with these claims, which the report binds.
    pub fn hcl_report_of(&self, claims: &[u8]) -> Vec<u8> {
        blob(&self.report(report_data(claims)), claims)
    }
}
