//! AMD's Key Distribution Service (AMD publication 57230): what it is asked, and how.
//!
//! Every answer is bytes from the network. Nothing here verifies them.

mod connection;

use std::{sync::OnceLock, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};
use keybroker_common::metrics::{self, Count};
use keybroker_snp::{endorsement::EndorsementKind, product::Product};
use reqwest::{
    Client, Response, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    error::KdsError,
    pacing::{ATTEMPT, CONCURRENCY, Pauses, retried},
};

/// Path of the chain of a product's VCEKs or VLEKs: PEM, ASK or ASVK, then ARK.
pub fn chain_path(product: Product, kind: EndorsementKind) -> String {
    format!("/{}/v1/{product}/cert_chain", kind.name())
}

/// Path of a product's CRL: DER.
pub fn crl_path(product: Product, kind: EndorsementKind) -> String {
    format!("/{}/v1/{product}/crl", kind.name())
}

/// A client of AMD's KDS. Its connection and TLS roots are made with the first request.
#[derive(Debug)]
pub struct Kds {
    base: String,
    authorities: Vec<u8>,
    client: OnceLock<Client>,
    permits: Semaphore,
    pauses: Pauses,
}

impl Kds {
    /// Larger than any certificate, chain or CRL of AMD's.
    const MAX_BODY: usize = 64 * 1024;

    /// A client of the service at `base` (scheme and host, without a slash behind). TLS is also believed of
    /// servers that one of `authorities` vouches for: certificates in PEM, or nothing.
    pub fn new(base: impl Into<String>, authorities: impl Into<Vec<u8>>) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        Self {
            base,
            authorities: authorities.into(),
            client: OnceLock::new(),
            permits: Semaphore::new(CONCURRENCY),
            pauses: Pauses::default(),
        }
    }

    /// Whether the client can be made, with the authorities that it was given. Connects to nothing.
    pub fn check(&self) -> Result<(), KdsError> {
        self.client().map(|_| ())
    }

    /// Asks for the certificate or chain at `path`, up to three times within `budget` in all. A Retry-After
    /// is honoured where it fits.
    pub async fn fetch(&self, path: &str, budget: Duration) -> Result<Vec<u8>, KdsError> {
        let deadline = Instant::now() + budget;
        let under_way = self.pauses.enter(path);
        let permitted = || async {
            let permit = timeout_at(deadline, self.permits.acquire()).await;
            let Ok(Ok(_permit)) = permit else { return Err(KdsError::Busy) };
            // KDS may have turned away another request while this one waited.
            under_way.check()?;
            self.attempt(path, deadline).await.inspect_err(|error| under_way.note(error))
        };
        retried(permitted, deadline).await
    }

    /// The same for the CRL at `path`. It takes no permit and minds no pause: requests for chips must not
    /// keep a list from being renewed. The caller asks for each list once at a time, so that there is never
    /// more than one request per product and kind under way beside those of [`Kds::fetch`].
    pub async fn fetch_crl(&self, path: &str, budget: Duration) -> Result<Vec<u8>, KdsError> {
        let deadline = Instant::now() + budget;
        retried(|| self.attempt(path, deadline), deadline).await
    }

    /// Whether the service answers at all, and the time that it says it is: for an operator, once.
    pub async fn probe(&self) -> Result<Option<Timestamp>, KdsError> {
        let url = format!("{}{}", self.base, chain_path(Product::Milan, EndorsementKind::Vcek));
        let answer = async { self.client()?.get(url).send().await.map_err(connection::silent) };
        let answer = timeout(ATTEMPT, answer).await;
        let response = answer.unwrap_or_else(|_| Err(KdsError::Silent("time ran out".to_owned())))?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
        match response.status() {
            StatusCode::OK => Ok(date),
            status => Err(KdsError::Status { status: status.as_u16(), retry_after: None }),
        }
    }

    async fn attempt(&self, path: &str, deadline: Instant) -> Result<Vec<u8>, KdsError> {
        let deadline = deadline.min(Instant::now() + ATTEMPT);
        let answer = timeout_at(deadline, self.get(path)).await;
        answer.unwrap_or_else(|_| Err(KdsError::Silent("time ran out".to_owned())))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, KdsError> {
        let url = format!("{}{path}", self.base);
        let response = self.client()?.get(url).send().await.map_err(connection::silent)?;
        match response.status() {
            StatusCode::OK => body(response).await,
            StatusCode::NOT_FOUND => Err(KdsError::NotFound),
            status => {
                if status == StatusCode::TOO_MANY_REQUESTS {
                    metrics::count(Count::KdsThrottled);
                }
                let retry_after = response.headers().get(RETRY_AFTER);
                let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                Err(KdsError::Status { status: status.as_u16(), retry_after })
            }
        }
    }

    fn client(&self) -> Result<&Client, KdsError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = connection::build(&self.base, &self.authorities)?;
        Ok(self.client.get_or_init(|| client))
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, KdsError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(connection::silent)? {
        if body.len() + chunk.len() > Kds::MAX_BODY {
            return Err(KdsError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
