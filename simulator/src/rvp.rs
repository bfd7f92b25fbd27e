//! `rvp_cli`, keybroker's client that registers reference values.

use std::{io, time::Duration};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::http::{self, Endpoint, Response};

/// A registration, which the client composes from its three files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RvpCli {
    /// The broker's URL (`--http`).
    pub url: String,
    /// The queries (`--queries`), each Rego.
    pub query: Vec<String>,
    /// The reference values (`--reference`), an object.
    pub reference_values: Value,
    /// The resources (`--resources`), an object of strings.
    pub resources: Value,
    /// How long the request may take.
    pub deadline: Duration,
}

impl RvpCli {
    /// The client's own example: one measurement, the query for it, and one passphrase.
    pub fn new(url: &str, measurement: &[u8; 48], passphrase: &str) -> Self {
        Self {
            url: url.to_owned(),
            query: vec!["data.measurement == input.measurement".to_owned()],
            reference_values: json!({"measurement": data_encoding::HEXLOWER.encode(measurement)}),
            resources: json!({"passphrase": passphrase}),
            deadline: Duration::from_secs(60),
        }
    }

    /// The body, in the order of the client's structure.
    pub fn body(&self) -> String {
        let Self { query, reference_values, resources, .. } = self;
        let query = Value::from(query.as_slice());
        format!(r#"{{"query":{query},"reference_values":{reference_values},"resources":{resources}}}"#)
    }

    /// Posts the registration.
    pub async fn register(&self) -> io::Result<Response> {
        self.send(&self.body()).await
    }

    /// Posts another body in the same request.
    pub async fn send(&self, body: &str) -> io::Result<Response> {
        let endpoint = Endpoint::parse(&self.url)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a plain-http URL"))?;
        let request = format!(
            "POST {}/rvp/register HTTP/1.1\r\ncontent-type: application/json\r\naccept: */*\r\nhost: {}\r\n\
             content-length: {}\r\n\r\n{body}",
            endpoint.base,
            endpoint.authority,
            body.len()
        );
        http::exchange(&endpoint.authority, request.as_bytes(), self.deadline).await
    }

    /// HOST_DATA as the client reads it: the client cuts one character off either end of the body and prints
    /// the rest.
    pub fn host_data(response: &Response) -> Option<[u8; 32]> {
        let text = response.text();
        let inner = text.get(1..text.len().checked_sub(1)?)?;
        BASE64.decode(inner.as_bytes()).ok()?.try_into().ok()
    }
}
