//! TLS of `keybroker serve`: the certificate that it presents, and how another one takes its place.

mod pair;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context as _, anyhow};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use jiff::Timestamp;
use keybroker_common::http::reply;
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

pub(crate) use self::pair::Pair;
use crate::exit::{Exit, Failure};

/// The route of the operator's socket that says what is presented.
pub(crate) const ROUTE: &str = "/tls";

/// The arguments about TLS.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    /// Speak TLS (1.2 and 1.3) with the certificate in this PEM file.
    ///
    /// The server's own certificate comes first, then those that lead from it to a root that clients trust.
    /// On SIGHUP the broker reads this file and the key again. If it cannot use them, or the certificate has
    /// ended, it goes on with the pair that it has, and logs why. Connections are not interrupted.
    #[arg(long, env = "KEYBROKER_TLS_CERT", requires = "tls_key", value_name = "PEM")]
    tls_cert: Option<PathBuf>,
    /// The PEM file of the certificate's private key, without a passphrase.
    ///
    /// Its mode must be 0640 or less: only its owner may write to it, and only its owner and its group may
    /// read it.
    #[arg(long, env = "KEYBROKER_TLS_KEY", requires = "tls_cert", value_name = "PEM")]
    tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// The files, if there is to be TLS.
    pub(crate) fn files(&self) -> Option<Files> {
        let (certificate, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(Files { certificate, key })
    }
}

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    /// Reads both.
    pub(crate) fn read(&self) -> Result<Pair, Failure> {
        Pair::read(self).map_err(|error| {
            let (hint, path) = (error.hint(self), error.at(self).display().to_string());
            Failure::new(Exit::Configuration, error).context(format!("reading {path}")).hint(hint)
        })
    }
}

/// The pair that is presented, until another takes its place.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Files,
    presented: RwLock<Presented>,
}

#[derive(Debug)]
struct Presented {
    pair: Pair,
    /// Why the files' last pair was not taken.
    refused: Option<Refused>,
}

/// The certificate that a broker presents, as it says on the operator's socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Presentation {
    /// SHA-256 of the certificate, in hex.
    pub(crate) certificate: String,
    /// When it ends.
    pub(crate) not_after: Timestamp,
    /// Why the files' last pair was not taken.
    pub(crate) refused: Option<Refused>,
}

/// A pair that was not taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) at: Timestamp,
    pub(crate) cause: String,
}

impl Tls {
    /// With the pair in `files`, which must be usable.
    pub(crate) fn start(files: Files) -> Result<Self, Failure> {
        let pair = files.read()?;
        announce(&pair);
        Ok(Self { files, presented: RwLock::new(Presented { pair, refused: None }) })
    }

    /// The acceptor for a new connection. The connection keeps its pair whatever happens later.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let presented = self.presented.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&presented.pair.config))
    }

    /// The operator's view.
    fn presentation(&self) -> Presentation {
        let presented = self.presented.read().unwrap_or_else(PoisonError::into_inner);
        let Presented { pair, refused } = &*presented;
        Presentation {
            certificate: pair.fingerprint.clone(),
            not_after: pair.not_after,
            refused: refused.clone(),
        }
    }

    /// Reads the files again. A pair that cannot be used changes nothing, nor does one that is out of its
    /// time while the pair in use is not.
    fn reload(&self) {
        let (read, now) = (self.files.read(), Timestamp::now());
        let mut presented = self.presented.write().unwrap_or_else(PoisonError::into_inner);
        let usable = read.and_then(|pair| match pair.warning(now) {
            Some(warning) if !pair.is_in_time(now) && presented.pair.is_in_time(now) => {
                Err(anyhow!("the certificate in {} {warning}", self.files.certificate.display()).into())
            }
            _ => Ok(pair),
        });
        match usable {
            Ok(pair) => {
                announce(&pair);
                *presented = Presented { pair, refused: None };
            }
            Err(failure) => {
                let (cause, _) = failure.told();
                tracing::error!(%cause, "THE NEW TLS PAIR CANNOT BE USED: the broker keeps the earlier one");
                status("the new TLS pair cannot be used: the broker keeps the earlier one");
                presented.refused = Some(Refused { at: Timestamp::now(), cause });
            }
        }
    }
}

/// Says in the log which certificate is presented from now on.
fn announce(pair: &Pair) {
    tracing::info!(sha256 = pair.fingerprint, not_after = %pair.not_after, "presenting a TLS certificate");
    status(&format!("TLS certificate valid until {}", pair.not_after));
    if let Some(warning) = pair.warning(Timestamp::now()) {
        tracing::warn!("THE TLS CERTIFICATE {warning}");
    }
}

/// A line for `systemctl status`. Without a service manager there is nobody to tell.
fn status(line: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(line)]);
}

/// Reads the pair again whenever SIGHUP comes. From this call on SIGHUP does not end the process, with or
/// without TLS.
pub(crate) fn reload_on_hangup(tls: Option<Arc<Tls>>) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup()).context("handling SIGHUP")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match &tls {
                Some(tls) => tls.reload(),
                None => tracing::warn!("SIGHUP reads a TLS certificate again, and this broker has none"),
            }
        }
    });
    Ok(())
}

/// `null` without TLS.
async fn present(State(tls): State<Option<Arc<Tls>>>) -> impl IntoResponse {
    let presentation = tls.map(|tls| tls.presentation());
    reply::json(StatusCode::OK, serde_json::to_vec(&presentation).unwrap_or_default())
}

/// The route that tells the operator.
pub(crate) fn router(tls: Option<Arc<Tls>>) -> Router {
    Router::new().route(ROUTE, get(present)).with_state(tls)
}

#[cfg(test)]
mod tests;
