//! A certificate and its key, as read from their files.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use keybroker_embedded::files::open_named;
use tokio_rustls::rustls::{
    self, InconsistentKeys, ServerConfig, crypto,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::Files;
use crate::{counted::counted, suggest::quoted};

/// Longest file. A chain has a few certificates of one or two kilobytes.
const LONGEST: u64 = 1 << 20;
/// The protocol inside of TLS. A client that insists on another protocol is refused.
const PROTOCOL: &[u8] = b"http/1.1";
/// A certificate is warned of when this part of its time is left, and no earlier than [`EARLIEST`].
const PART: i32 = 6;
const EARLIEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A certificate, its key, and what a server does with them.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(super) config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, in hex.
    pub(crate) fingerprint: String,
    not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// Why a pair cannot be used. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
pub(super) enum PairError {
    #[error("the certificate's file cannot be read: {0}")]
    CertificateFile(io::Error),
    #[error("there is no certificate in PEM in it, or one that is broken")]
    NoCertificate,
    #[error("the first certificate in it is none of X.509: {0}")]
    Certificate(String),
    #[error("the key's file cannot be read: {0}")]
    KeyFile(io::Error),
    #[error("others may use the private key (mode {0:04o}); it must be 0640 or less")]
    Exposed(u32),
    #[error("there is no private key in PEM in it, or one under a passphrase")]
    NoKey,
    #[error("the private key is not that of the certificate")]
    NotThatKey,
    #[error("TLS cannot use the key: {0}")]
    Key(rustls::Error),
}

impl PairError {
    /// The file that is at fault.
    pub(super) fn at<'a>(&self, files: &'a Files) -> &'a Path {
        match self {
            Self::CertificateFile(_) | Self::NoCertificate | Self::Certificate(_) => &files.certificate,
            Self::KeyFile(_) | Self::Exposed(_) | Self::NoKey | Self::NotThatKey | Self::Key(_) => &files.key,
        }
    }

    /// Advice.
    pub(super) fn hint(&self, files: &Files) -> String {
        let key = quoted(&files.key.display().to_string());
        match self {
            Self::CertificateFile(_) | Self::KeyFile(_) => {
                "the broker's user must be able to read certificate and key".to_owned()
            }
            Self::NoCertificate | Self::Certificate(_) => {
                "put the server's certificate first, and then those between it and the root".to_owned()
            }
            Self::Exposed(_) => format!("run `chmod 0640 {key}`, and find out who may have read it"),
            Self::NoKey => "give the key as `-----BEGIN PRIVATE KEY-----`, without a passphrase".to_owned(),
            Self::NotThatKey => {
                "give the key with which the certificate was asked for; the server's certificate must be the \
                 first in its file"
                    .to_owned()
            }
            Self::Key(_) => {
                "use a key of ECDSA (P-256, P-384), Ed25519, or RSA with 2048 bits or more".to_owned()
            }
        }
    }
}

impl Pair {
    /// Reads the pair in `files`. Certificate and key belong together. Whether clients trust the certificate,
    /// and under which name, is not known here.
    pub(super) fn read(files: &Files) -> Result<Self, PairError> {
        let pem = content(open_named(&files.certificate).map_err(PairError::CertificateFile)?)
            .map_err(PairError::CertificateFile)?;
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| PairError::NoCertificate)?;
        let first = chain.first().ok_or(PairError::NoCertificate)?;
        let fingerprint = HEXLOWER.encode(digest(&SHA256, first).as_ref());
        let (not_before, not_after) = validity(first)?;
        let config = config(chain, key(&files.key)?)?;
        Ok(Self { config: Arc::new(config), fingerprint, not_before, not_after })
    }

    /// Whether clients whose clocks are right take the certificate at `now`.
    pub(super) fn is_in_time(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// A fault of the certificate's time, now or soon: the rest of a sentence about the certificate.
    pub(crate) fn warning(&self, now: Timestamp) -> Option<String> {
        let (begins, ends) = (self.not_before, self.not_after);
        let soon = (ends.duration_since(begins) / PART).min(EARLIEST);
        match ends.duration_since(now) {
            _ if now < begins => Some(format!("is not valid before {begins}")),
            left if !left.is_positive() => Some(format!("ended at {ends}: clients refuse it")),
            left if left < soon => Some(format!("ends at {ends}, in {}", counted(left.as_hours(), "hour"))),
            _ => None,
        }
    }
}

/// All of a file. It may hold a secret.
fn content(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = file.metadata()?.len();
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than a megabyte"));
    }
    // Room for all of it: a text that grows leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1));
    file.take(length + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, PairError> {
    let file = open_named(path).map_err(PairError::KeyFile)?;
    let mode = file.metadata().map_err(PairError::KeyFile)?.mode() & 0o7777;
    if mode & 0o037 != 0 {
        return Err(PairError::Exposed(mode));
    }
    let pem = content(file).map_err(PairError::KeyFile)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| PairError::NoKey)
}

fn validity(certificate: &[u8]) -> Result<(Timestamp, Timestamp), PairError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| PairError::Certificate(error.to_string()))?;
    // "Without end" is a second of the year 9999 (RFC 5280, 4.1.2.5) that is later than the last timestamp.
    let time = |seconds| {
        let limit = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Timestamp::from_second(seconds).unwrap_or(limit)
    };
    let validity = parsed.validity();
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, PairError> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PairError::NotThatKey,
        error => PairError::Key(error),
    })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(PairError::Key)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_owned()];
    // A guest comes once: nothing is kept for it to come back with, and each connection has keys of its own.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
