//! `buildah`, which registers a confidential workload (1.39: `mkcw`, `build --cw`, `commit --cw`).

use std::{io, time::Duration};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::http::{self, Endpoint, Response};

/// A registration whose fields a test can change. [`Buildah::register`] sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buildah {
    /// The broker's URL as given with `--attestation-url`: a base path and userinfo are allowed.
    pub url: String,
    /// `-w`, or 64 hexadecimal digits.
    pub workload_id: String,
    /// The launch measurement in hexadecimal: 96 digits for SNP.
    pub launch_measurement: String,
    /// The passphrase of the encrypted disk.
    pub passphrase: String,
    /// JSON inside a string.
    pub tee_config: String,
    /// How long the request may take. buildah itself has no limit.
    pub deadline: Duration,
}

impl Buildah {
    /// An SNP workload as buildah registers it.
    pub fn new(url: &str, workload_id: &str, measurement: &[u8; 48], passphrase: &str) -> Self {
        Self {
            url: url.to_owned(),
            workload_id: workload_id.to_owned(),
            launch_measurement: HEXLOWER.encode(measurement),
            passphrase: passphrase.to_owned(),
            tee_config: tee_config(15),
            deadline: Duration::from_secs(60),
        }
    }

    /// The body, in Go's order and with Go's escapes.
    pub fn body(&self) -> String {
        format!(
            r#"{{"workload_id":{},"launch_measurement":{},"passphrase":{},"tee_config":{}}}"#,
            go_string(&self.workload_id),
            go_string(&self.launch_measurement),
            go_string(&self.passphrase),
            go_string(&self.tee_config),
        )
    }

    /// Posts the registration. One attempt, and no redirect is followed.
    pub async fn register(&self) -> io::Result<Response> {
        self.send(&self.body()).await
    }

    /// Posts another body in the same request.
    pub async fn send(&self, body: &str) -> io::Result<Response> {
        let endpoint = Endpoint::parse(&self.url)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a plain-http URL"))?;
        let authorization = endpoint.authorization.as_ref();
        let authorization =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let request = format!(
            "POST {}/kbs/v0/register_workload HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\n\
             Content-Length: {}\r\n{authorization}Content-Type: application/json\r\n\
             Accept-Encoding: gzip\r\n\r\n{body}",
            endpoint.base,
            endpoint.authority,
            body.len(),
        );
        http::exchange(&endpoint.authority, request.as_bytes(), self.deadline).await
    }

    /// Whether buildah treats this response as success: only 200 and 202.
    pub fn accepts(response: &Response) -> bool {
        matches!(response.status, 200 | 202)
    }
}

/// The `tee_config` of SNP with these policy bits: 15 is SMT, the reserved bit, MIGRATE_MA and DEBUG.
pub fn tee_config(bits: u32) -> String {
    // In Go's order: by field, not by name.
    format!(r#"{{"flags":{{"bits":{bits}}},"minfw":{}}}"#, json!({"major": 0, "minor": 0}))
}

/// A JSON string as Go writes it: `<`, `>`, `&` and the two line separators of JavaScript are escaped too.
fn go_string(text: &str) -> String {
    let mut out = Value::from(text).to_string();
    for escaped in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        out = out.replace(escaped, &format!("\\u{:04x}", u32::from(escaped)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{response, serve};

    #[tokio::test]
    async fn the_request_has_the_bytes_that_buildah_sends() {
        let (url, requests) = serve(|_| response(200, "", b"")).await;
        let build = Buildah::new(&url, "W", &[0xAB; 48], "a<b>&\"c");
        assert!(Buildah::accepts(&build.register().await.expect("a response")));
        let tee_config = r#"{\"flags\":{\"bits\":15},\"minfw\":{\"major\":0,\"minor\":0}}"#;
        let body = format!(
            r#"{{"workload_id":"W","launch_measurement":"{}","passphrase":{},"tee_config":"{tee_config}"}}"#,
            "ab".repeat(48),
            r#""a\u003cb\u003e\u0026\"c""#,
        );
        let expected = format!(
            "POST /kbs/v0/register_workload HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\n\
             Content-Length: {}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{body}",
            url.strip_prefix("http://").expect("http"),
            body.len()
        );
        assert_eq!(requests.lock().expect("whole")[0], expected);
    }

    #[tokio::test]
    async fn userinfo_and_base_path_come_from_the_url() {
        let (url, requests) = serve(|_| response(202, "", b"")).await;
        let url = url.replace("http://", "http://build:secret@") + "/prod";
        let response = Buildah::new(&url, "W", &[0; 48], "p").register().await.expect("a response");
        assert!(Buildah::accepts(&response));
        let request = requests.lock().expect("whole")[0].clone();
        assert!(request.starts_with("POST /prod/kbs/v0/register_workload HTTP/1.1\r\nHost: 127.0.0.1:"));
        assert!(request.contains("\r\nAuthorization: Basic YnVpbGQ6c2VjcmV0\r\n"));
    }

    #[tokio::test]
    async fn only_200_and_202_are_success_and_redirects_are_not_followed() {
        for status in [201, 204, 302, 307, 409, 500] {
            let (url, requests) = serve(move |_| response(status, "Location: /other\r\n", b"")).await;
            let response = Buildah::new(&url, "W", &[0; 48], "p").register().await.expect("a response");
            assert!(!Buildah::accepts(&response), "{status}");
            assert_eq!(requests.lock().expect("whole").len(), 1);
        }
    }
}
