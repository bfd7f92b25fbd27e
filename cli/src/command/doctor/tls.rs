//! The certificate of `serve`: what the files hold, and what the running broker presents.

use axum::body::Body;
use hyper::{Request, StatusCode, Uri, header, header::HeaderValue};
use jiff::Timestamp;

use super::{DoctorArgs, finding::Finding};
use crate::{
    operator::{self, Embedded},
    tls::{Files, Pair, Presentation, ROUTE},
};

const CHECK: &str = "tls";
const RENEW: &str = "renew the certificate, and send the broker SIGHUP (`systemctl reload keybroker`)";

/// Nothing, for a broker without TLS.
pub(super) async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let files = args.tls.files().map(|files| (files.read(), files));
    let presented = presented(args).await;
    let pair = files.as_ref().and_then(|(pair, _)| pair.as_ref().ok());
    let running = presented.as_ref().and_then(|presented| running(presented, pair));
    files.map(|(pair, files)| in_files(&files, &pair)).into_iter().chain(running).collect()
}

fn in_files(files: &Files, pair: &Result<Pair, crate::exit::Failure>) -> Finding {
    let at = files.certificate.display();
    match pair {
        Err(failure) => Finding::failed(CHECK, failure),
        Ok(pair) => match pair.warning(Timestamp::now()) {
            Some(warning) => Finding::warn(CHECK, format!("the certificate in {at} {warning}"), RENEW),
            None => Finding::ok(CHECK, format!("{at} and its key, valid until {}", pair.not_after)),
        },
    }
}

/// Tells where the broker presents something else than its files hold.
fn running(presented: &Presentation, pair: Option<&Pair>) -> Option<Finding> {
    let Presentation { certificate, not_after, refused } = presented;
    if let Some(refused) = refused {
        let finding = format!(
            "the running broker could not take the pair that it read at {}, and presents its earlier certificate, \
             which ends at {not_after}: {}",
            refused.at, refused.cause
        );
        return Some(Finding::fail(CHECK, finding, "mend the files, and send the broker SIGHUP"));
    }
    let pair = pair.filter(|pair| pair.fingerprint != *certificate)?;
    Some(Finding::warn(
        CHECK,
        format!(
            "the running broker presents another certificate than its file holds: that one ends at {not_after}, \
             the file's at {}",
            pair.not_after
        ),
        "send the broker SIGHUP (`systemctl reload keybroker`)",
    ))
}

/// The running broker's own account. `None` if none is running, or if it has no TLS.
async fn presented(args: &DoctorArgs) -> Option<Presentation> {
    let Embedded::Socket(broker) = operator::embedded(&args.store.data_dir().ok()?).await.ok()? else {
        return None;
    };
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(ROUTE);
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("operator"));
    let (status, answer) = broker.pass(request).await.ok()?;
    (status == StatusCode::OK).then(|| serde_json::from_slice(&answer).ok()?)?
}
