//! Files that hold evidence, as tools write them.
//!
//! Nothing in a file is trusted: whatever its form, it goes to the same verification. There is one function
//! for each form. A form is accepted only if the bytes can be nothing else. Any other file is refused, with
//! the reason and a way to cut it to shape. Such a refusal is no verdict, because nothing was verified.

mod binary;
mod characters;
mod der;
mod endorsement;
mod pem;
mod table;
mod text;

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context as _, anyhow};
use keybroker_common::{binding::SentReport, requirements::EvidenceForm};
use keybroker_snp::hcl::HclError;
use keybroker_snp::report::Report;

use crate::{counted::counted, exit::Unusable};

pub(crate) use self::endorsement::{Endorsement, Rejected};

/// The most bytes of a file of evidence. Reports, certificates and lists have some kilobytes.
const LONGEST: u64 = 16 << 20;

/// The content of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The 1184 bytes of a report, or Azure's blob with it.
    pub(crate) report: Option<SentReport>,
    /// The certificates and revocation lists in DER, in their order.
    pub(crate) ders: Vec<Vec<u8>>,
}

/// The reason why nothing was taken from a file: what the file is, and how to cut it to shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unread {
    /// No bytes.
    #[error("it is empty")]
    Empty,
    /// Text that PowerShell's `>` writes.
    #[error("it is text in UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`")]
    Utf16,
    /// Text of no known form.
    #[error(
        "it is text, but neither PEM, hex, base64 nor Azure's JSON (openssl prints PEM without -noout and \
         with -outform PEM)"
    )]
    Text,
    /// A PEM block that has no end, or content that is no base64.
    #[error("a PEM block in it has no end, or its content is not base64")]
    Pem,
    /// A PEM block with another label.
    #[error("it holds a PEM block {0:?}, and only CERTIFICATE and X509 CRL are accepted")]
    PemLabel(String),
    /// Certificates in an envelope.
    #[error("it is PKCS #7: extract the certificates with `openssl pkcs7 -print_certs`")]
    Pkcs7,
    /// JSON of another form.
    #[error("it is JSON without Azure's members vcekCert and certificateChain")]
    Json,
    /// A report in JSON. Its signature cannot be verified, because the signed bytes are missing.
    #[error("it is a report in JSON, member by member: give the 1184 bytes that the chip signed")]
    ReportMembers,
    /// Bytes that begin as a report, and are too few.
    #[error("it begins as a report but has {0} bytes: a report has 1184, so the file was cut short")]
    Short(usize),
    /// A report with other bytes behind it.
    #[error(
        "behind the 1184 bytes of a report it has {0} others, which are not a certificate table: \
         `head -c 1184` gives the report"
    )]
    Behind(usize),
    /// The answer of /dev/sev-guest to a request that the firmware refused.
    #[error(
        "it is the driver's answer to a request for a report, and the firmware refused the request: status \
         {0:#x}"
    )]
    Firmware(u32),
    /// Azure's blob around another kind of report.
    #[error("it is Azure's blob around a report of type {0}, and SEV-SNP's type is 2")]
    HclType(u32),
    /// Azure's blob with another fault.
    #[error("it is Azure's blob, and {0}")]
    Hcl(HclError),
    /// Azure's blob, cut short.
    #[error("it is only the beginning of Azure's blob: `tpm2_nvread 0x01400001` gives all of it")]
    HclShort,
    /// A certificate table with an entry that leads out of the file, or into the table itself.
    #[error(
        "it is a host's certificate table, and its entry {0} leads outside of it: was the file cut short?"
    )]
    Table(usize),
    /// A certificate table without entries.
    #[error("it is a certificate table without entries: nobody gave the host certificates for its guests")]
    EmptyTable,
    /// DER with another length than the file has.
    #[error(
        "it begins as DER of {0} bytes, but does not end there: was it cut short, or is something behind it?"
    )]
    Der(usize),
    /// A compressed file.
    #[error("it is compressed: gunzip it")]
    Gzip,
    /// Any other file.
    #[error(
        "its {0} bytes are neither a report (1184 bytes), nor DER, nor a host's certificate table, nor \
         Azure's blob"
    )]
    Unknown(usize),
}

impl Evidence {
    fn report(bytes: &[u8]) -> Self {
        Self { report: Some(SentReport::bare(bytes)), ders: Vec::new() }
    }

    fn hcl(blob: &[u8]) -> Self {
        let sent = SentReport { form: EvidenceForm::AzSnpVtpm, bytes: blob.to_vec() };
        Self { report: Some(sent), ders: Vec::new() }
    }

    fn ders(ders: Vec<Vec<u8>>) -> Self {
        Self { report: None, ders }
    }

    /// The content of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Unread> {
        match (bytes, characters::text(bytes)) {
            ([], _) => Err(Unread::Empty),
            ([0xFF, 0xFE, ..] | [0xFE, 0xFF, ..], _) => Err(Unread::Utf16),
            (_, Some(text)) => text::evidence(text),
            (_, None) => binary::evidence(bytes),
        }
    }

    /// The content of the file at `path`.
    pub(crate) fn in_file(path: &Path) -> anyhow::Result<Self> {
        Self::of(&read(path)?).with_context(|| unread(path))
    }

    /// The report in the file at `path`, and the certificates with it.
    pub(crate) fn with_report(path: &Path) -> anyhow::Result<(SentReport, Vec<Vec<u8>>)> {
        let Self { report, ders } = Self::in_file(path)?;
        let report = report
            .ok_or_else(|| anyhow!("it holds certificates or a revocation list, but no report"))
            .and_then(|sent| sent.read().map(drop).map_err(Into::into).map(|()| sent));
        Ok((report.with_context(|| unread(path))?, ders))
    }

    /// The report in the file at `path`, whatever is around it.
    pub(crate) fn report_in(path: &Path) -> anyhow::Result<Report> {
        let (sent, _) = Self::with_report(path)?;
        Ok(sent.read()?.report().clone())
    }

    /// The certificates and lists in the file at `path`, whether or not a report is before them.
    pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
        let Self { ders, .. } = Self::in_file(path)?;
        if ders.is_empty() {
            return Err(anyhow!("it is a report, without a certificate")).with_context(|| unread(path));
        }
        Ok(ders)
    }
}

/// The `N` bytes in the file at `path`: raw, with a line break behind, or in hex or base64.
pub(crate) fn fixed<const N: usize>(path: &Path) -> anyhow::Result<[u8; N]> {
    let bytes = read(path)?;
    let raw = <[u8; N]>::try_from(der::less_one_line_break(&bytes, N));
    raw.ok()
        .or_else(|| characters::decode(characters::text(&bytes)?)?.try_into().ok())
        .ok_or_else(|| {
            anyhow!(
                "it has {}, and does not hold {N} bytes in hex or base64 either (snpguest uses the \
                 first {N} bytes of a longer request file: `head -c {N}` gives them)",
                counted(bytes.len(), "byte")
            )
        })
        .with_context(|| unread(path))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || bounded(File::open(path)?);
    read().with_context(|| Unusable(format!("cannot read {}", path.display())))
}

/// Everything from `source`, if that is no more than evidence ever has.
pub(crate) fn bounded(source: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(anyhow!("it has more than {} MiB, which no evidence has", LONGEST >> 20));
    }
    Ok(bytes)
}

fn unread(path: &Path) -> Unusable {
    Unusable(format!("{} holds nothing that can be read", path.display()))
}

#[cfg(test)]
mod tests;
