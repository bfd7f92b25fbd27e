//! A registration's signature, for the routes that API Gateway guards with IAM.

use std::time::SystemTime;

use anyhow::anyhow;
use axum::http::{HeaderMap, header};
use reqwest::Url;

use crate::{
    aws::{
        Account, Login,
        signature::{Scope, signature},
    },
    exit::Failure,
};

/// API Gateway, as signatures name it.
const SERVICE: &str = "execute-api";

/// The signer of registrations.
#[derive(Debug)]
pub(super) struct Signer(Box<Account>);

impl Signer {
    /// A signer with the region and the credentials of `login`. It asks for credentials now, so that a build
    /// learns at once if there are none.
    pub(super) async fn new(login: &Login) -> Result<Self, Failure> {
        let account = Account::open(login).await.map_err(|failure| failure.context("signing"))?;
        Ok(Self(Box::new(account)))
    }

    /// Adds the signature to a POST of `body` to `url`, over host, time, body and `headers`.
    pub(super) async fn sign(&self, url: &Url, headers: &mut HeaderMap, body: &[u8]) -> anyhow::Result<()> {
        let credentials = self.0.credentials().await.map_err(|trouble| anyhow!("{}", trouble.words()))?;
        let scope = Scope { region: self.0.region(), service: SERVICE, time: SystemTime::now() };
        let over = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let over = over.map(|value| (header::CONTENT_TYPE.as_str(), value));
        let added = signature(credentials, &scope, "POST", url.as_str(), over, body)?;
        headers.extend(added);
        Ok(())
    }
}
