//! The forms that are no text.

use keybroker_snp::{
    hcl::{HclError, HclReport},
    report::Report,
};

use super::{Evidence, Unread, der, table};

/// The content of `bytes`, which are no text. No two of the forms can be confused: a table begins with one of
/// five GUIDs, the blob with its name, and DER with 30h; the driver's answer has zeros where a report has its
/// policy with bit 17 set.
pub(super) fn evidence(bytes: &[u8]) -> Result<Evidence, Unread> {
    match bytes {
        [0x1F, 0x8B, ..] => Err(Unread::Gzip),
        [b'H', b'C', b'L', b'A', ..] => azure(bytes),
        [0x30, ..] => der::values(bytes).map(Evidence::ders),
        _ if table::begins(bytes) => table::content(bytes).map(Evidence::ders),
        _ => match drivers_answer(bytes) {
            Some(Ok(report)) => with_report(report),
            Some(Err(unread)) => Err(unread),
            None => with_report(bytes),
        },
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let word = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

/// A report, alone, in a longer buffer of zeros, or with the host's table behind it.
fn with_report(bytes: &[u8]) -> Result<Evidence, Unread> {
    let begins = matches!(bytes, [1..=32, 0, 0, 0, ..]);
    let Some((report, rest)) = der::less_one_line_break(bytes, Report::SIZE).split_at_checked(Report::SIZE)
    else {
        return Err(if begins { Unread::Short(bytes.len()) } else { Unread::Unknown(bytes.len()) });
    };
    match rest {
        [] => Ok(Evidence::report(report)),
        _ if !begins => Err(Unread::Unknown(bytes.len())),
        _ if rest.iter().all(|byte| *byte == 0) => Ok(Evidence::report(report)),
        _ if table::begins(rest) => Ok(Evidence { ders: table::content(rest)?, ..Evidence::report(report) }),
        _ => Err(Unread::Behind(rest.len())),
    }
}

/// The report in an answer of /dev/sev-guest: status, the report's length, 24 bytes of zeros, the report.
/// `None` if `bytes` are something else.
fn drivers_answer(bytes: &[u8]) -> Option<Result<&[u8], Unread>> {
    let (status, size) = (u32_at(bytes, 0)?, u32_at(bytes, 4)?);
    let (header, report) = bytes.split_at_checked(32)?;
    let reserved = header.get(8..)?.iter().all(|byte| *byte == 0);
    let nothing = report.iter().all(|byte| *byte == 0);
    match (status, usize::try_from(size).ok()?) {
        (0, Report::SIZE) if reserved => Some(Ok(report)),
        (1.., 0) if reserved && nothing => Some(Err(Unread::Firmware(status))),
        _ => None,
    }
}

/// The blob that Azure's paravisor keeps in the vTPM: a report, and claims that it binds.
fn azure(blob: &[u8]) -> Result<Evidence, Unread> {
    match HclReport::parse(blob) {
        Ok(_) => Ok(Evidence::hcl(blob)),
        Err(HclError::ReportKind(kind)) => Err(Unread::HclType(kind)),
        Err(HclError::ClaimsSize { .. }) => Err(Unread::HclShort),
        Err(HclError::Size(size)) if size < HclReport::MIN_SIZE => Err(Unread::HclShort),
        Err(error) => Err(Unread::Hcl(error)),
    }
}
