//! The content of the log, and the things that it must never contain.

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::header;
use keybroker_testing::announced;
use tower::ServiceExt;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Gathers what this thread logs, at every level, until the guard is dropped.
    pub(super) fn gather() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(lines.clone())
            .finish();
        let guard = announced::hear(subscriber);
        (lines, guard)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

async fn register(host: &'static str, id: &str) -> String {
    let (lines, _guard) = Lines::gather();
    let mut request = post(REGISTER, registration(id, "open sesame"));
    request.headers_mut().insert(header::HOST, host.parse().unwrap());
    assert_eq!(answer(all().await, request).await.0, StatusCode::OK);
    lines.text()
}

#[tokio::test]
async fn a_registration_is_one_line_with_its_workload() {
    let text = register("127.0.0.1:8080", &"w".repeat(64)).await;
    let line = text.lines().find(|line| line.contains("workload registered")).unwrap();
    assert!(line.contains("INFO") && line.contains(&"w".repeat(64)), "{text}");
    assert!(!text.contains("WARN"), "{text}");
}

#[tokio::test]
async fn a_url_too_long_for_the_guest_is_warned_of_with_the_excess() {
    let text = register("abcdefghij.execute-api.us-east-1.amazonaws.com", &"w".repeat(64)).await;
    let line = text.lines().find(|line| line.contains("WARN")).unwrap();
    assert!(line.contains("(characters beyond: 30)") && line.contains("buildah's -w"), "{line}");
}

#[tokio::test]
async fn no_secret_nonce_or_session_is_ever_logged() {
    let (lines, _guard) = Lines::gather();
    answer(all().await, post(REGISTER, registration("web", "open sesame"))).await;
    answer(all().await, post(REGISTER, registration("taken", "open sesame"))).await;
    answer(all().await, post(REGISTER, registration("web", "open sesame") + "!")).await;
    let response = all().await.oneshot(post(AUTH, auth_body("snp", "0.0.0"))).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    let (_, challenge) = whole(response).await;
    let key = attest_body(&[0xc3; 256], &[1, 0, 1], "00");
    answer(all().await, with_session(post(ATTEST, key))).await;
    let (_, ciphertext) = answer(all().await, with_session(bare(Method::GET, "/kbs/v0/key/open"))).await;

    let text = lines.text();
    assert!(text.contains("workload registered"), "nothing was gathered: {text}");
    let session = &cookie["session_id=".len()..][..32];
    let nonce = challenge.split('"').nth(3).unwrap();
    let modulus = data_encoding::BASE64.encode(&[0xc3; 256]);
    for never in ["open sesame", session, nonce, SESSION.as_str(), &modulus[..40], &ciphertext[1..41]] {
        assert!(!text.contains(never), "{never} in {text}");
    }
}
