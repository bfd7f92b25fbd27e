//! Files that hold evidence, as tools write them.
//!
//! Nothing that is found is believed: in whatever form it came, it goes to the same verification. There is
//! one function for each form. A form is taken where the bytes can be nothing else. All else is refused, with
//! what the file is and how to cut it, and that is no verdict: what was not read was not verified.

mod binary;
mod characters;
mod der;
mod endorsement;
mod pem;
mod table;
mod text;

use std::{fs, path::Path};

use anyhow::{Context as _, anyhow};
use keybroker_snp::report::Report;

pub(crate) use self::endorsement::{Endorsement, Rejected};

/// What is in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The 1184 bytes of a report.
    pub(crate) report: Option<Vec<u8>>,
    /// DER of certificates and revocation lists, in their order.
    pub(crate) ders: Vec<Vec<u8>>,
}

/// Why nothing was taken from a file: what it is instead, and how to cut it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unread {
    /// No bytes.
    #[error("it is empty")]
    Empty,
    /// Text that PowerShell's `>` writes.
    #[error("it is text in UTF-16: `iconv -f UTF-16 -t UTF-8` makes text of it that can be read")]
    Utf16,
    /// Text of no known form.
    #[error(
        "it is text, and neither PEM, hex, base64 nor Azure's JSON (openssl prints PEM without -noout and with -outform PEM)"
    )]
    Text,
    /// A PEM block without an end, or whose content is no base64.
    #[error("a PEM block in it has no end, or holds something that is no base64")]
    Pem,
    /// A PEM block of something else.
    #[error("it holds a PEM block {0:?}: CERTIFICATE and X509 CRL can be taken")]
    PemLabel(String),
    /// Certificates in an envelope.
    #[error("it is PKCS #7: `openssl pkcs7 -print_certs` makes certificates of it")]
    Pkcs7,
    /// JSON of something else.
    #[error("it is JSON without Azure's members vcekCert and certificateChain")]
    Json,
    /// A report whose signature cannot be verified: its bytes are not there.
    #[error("it is JSON with a report member by member: the 1184 bytes are needed, as the chip signed them")]
    ReportMembers,
    /// Bytes that begin as a report does.
    #[error("it begins as a report and has {0} bytes: a report has 1184, so the file was cut short")]
    Short(usize),
    /// A report, and something else behind it.
    #[error(
        "behind the 1184 bytes of a report it has {0} others that are no certificate table: `head -c 1184` gives the report"
    )]
    Behind(usize),
    /// The answer of /dev/sev-guest to a request that the firmware refused.
    #[error("it is the driver's answer to a request for a report, and the firmware refused: status {0:#x}")]
    Firmware(u32),
    /// Azure's blob around something else.
    #[error("it is Azure's blob around a report of type {0}, and SEV-SNP's is 2")]
    HclType(u32),
    /// Azure's blob, and not all of it.
    #[error("it is the beginning of Azure's blob: `tpm2_nvread 0x01400001` gives all of it")]
    HclShort,
    /// A certificate table that leads out of the file, or into itself.
    #[error("it is a host's certificate table whose entry {0} leads outside of it: was it cut short?")]
    Table(usize),
    /// A certificate table in which nothing is.
    #[error("it is a certificate table without entries: the host was given no certificates for its guests")]
    EmptyTable,
    /// Something in DER whose length is not the file's.
    #[error(
        "it begins as DER that is {0} bytes long and does not end there: was it cut short, or is something behind it?"
    )]
    Der(usize),
    /// A compressed file.
    #[error("it is compressed: gunzip it")]
    Gzip,
    /// Anything else.
    #[error(
        "its {0} bytes are neither a report (1184 bytes), nor DER, nor a host's certificate table, nor Azure's blob"
    )]
    Unknown(usize),
}

impl Evidence {
    fn report(bytes: &[u8]) -> Self {
        Self { report: Some(bytes.to_vec()), ders: Vec::new() }
    }

    fn ders(ders: Vec<Vec<u8>>) -> Self {
        Self { report: None, ders }
    }

    /// What `bytes` hold.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Unread> {
        match (bytes, characters::text(bytes)) {
            ([], _) => Err(Unread::Empty),
            ([0xFF, 0xFE, ..] | [0xFE, 0xFF, ..], _) => Err(Unread::Utf16),
            (_, Some(text)) => text::evidence(text),
            (_, None) => binary::evidence(bytes),
        }
    }

    /// What the file at `path` holds.
    pub(crate) fn in_file(path: &Path) -> anyhow::Result<Self> {
        Self::of(&read(path)?).with_context(|| unread(path))
    }

    /// The report in the file at `path`, and the certificates that came with it.
    pub(crate) fn with_report(path: &Path) -> anyhow::Result<(Report, Vec<Vec<u8>>)> {
        let Self { report, ders } = Self::in_file(path)?;
        let report = report
            .ok_or_else(|| anyhow!("it holds certificates or a revocation list, and no report"))
            .and_then(|bytes| Ok(Report::parse(&bytes)?));
        Ok((report.with_context(|| unread(path))?, ders))
    }

    /// The certificates and lists in the file at `path`, whether or not a report is before them.
    pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
        let Self { ders, .. } = Self::in_file(path)?;
        if ders.is_empty() {
            return Err(anyhow!("it is a report, and no certificate comes with it"))
                .with_context(|| unread(path));
        }
        Ok(ders)
    }
}

/// The bytes that a file of `N` of them holds: raw, with a line break behind, or in hex or base64.
pub(crate) fn fixed<const N: usize>(path: &Path) -> anyhow::Result<[u8; N]> {
    let bytes = read(path)?;
    let raw = <[u8; N]>::try_from(der::less_one_line_break(&bytes, N));
    raw.ok()
        .or_else(|| characters::decode(characters::text(&bytes)?)?.try_into().ok())
        .ok_or_else(|| {
            anyhow!(
                "it has {} bytes, and is not {N} in hex or base64 either (snpguest takes the first {N} of a longer request \
                 file: `head -c {N}` gives them)",
                bytes.len()
            )
        })
        .with_context(|| unread(path))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn unread(path: &Path) -> String {
    format!("nothing can be taken from {}", path.display())
}

#[cfg(test)]
mod tests;
