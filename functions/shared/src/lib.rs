//! The common code of the three functions. Each is a `main` of a few lines over this: settings, AWS clients,
//! one service of `keybroker-common` behind API Gateway.
//!
//! They stand on lambda_http: its runtime brings the events, and its conversion makes requests of them,
//! behind a guard. See [`payload`].

pub mod aws;
pub mod payload;
mod telemetry;

use std::{env, process::ExitCode, sync::Arc};

use axum::Router;
use keybroker_aws::kms::KmsKeyring;
use keybroker_common::{
    broker::Origin,
    config::{self, Configuration, OriginConfig},
    http::{Serve, router},
    keyring::Purpose,
    panics,
};
use lambda_http::{LambdaEvent, lambda_runtime, service_fn};
use tokio::runtime::Builder;

use crate::{
    aws::Aws,
    payload::{Event, Reply},
    telemetry::Names,
};

/// Why a function does not start.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Names PEM files of roots that `attest` trusts beside AMD's, `:` between them, if it was built with its
/// feature `simulated-hardware`. Any other build of it knows no such setting, and does not start with it. The
/// other functions ignore it, as they ignore each of `attest`'s.
pub const TRUST_ANCHORS: &str = "KEYBROKER_TRUST_ANCHORS";

/// Where the challenges of this deployment come from.
pub fn origin(config: OriginConfig, aws: &Aws) -> Origin {
    let OriginConfig { deployment, kms_key, session_ttl: ttl, .. } = config;
    let keys = Arc::new(KmsKeyring::new(aws.kms(), kms_key, Purpose::Challenge));
    Origin { deployment, keys, ttl }
}

/// Runs a function: reads its settings, has `wire` make its service of them, and serves until the instance is
/// taken down.
///
/// `others` are names of settings that are known though `C` has no place for them.
pub fn run<C: Configuration, S: Serve>(
    others: &[&str],
    wire: impl FnOnce(C, &Aws) -> Result<S, Error>,
) -> ExitCode {
    telemetry::start(C::FUNCTION);
    panics::hush();
    match start(others, wire) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            tracing::error!(%cause, "the function does not start");
            ExitCode::FAILURE
        }
    }
}

fn start<C: Configuration, S: Serve>(
    others: &[&str],
    wire: impl FnOnce(C, &Aws) -> Result<S, Error>,
) -> Result<(), Error> {
    let config = config::read(env::vars_os(), others)?;
    let router = router(wire(config, &Aws::from_environment()?)?);
    // An instance answers one request at a time: there is nothing for a second thread to do.
    Builder::new_current_thread().enable_all().build()?.block_on(serve(router))
}

async fn serve(router: Router) -> Result<(), Error> {
    let answer = |event: LambdaEvent<Event>| {
        let router = router.clone();
        let request = event.payload.request_id().map(str::to_owned);
        let names = Names { request, trace: event.context.xray_trace_id };
        async { Ok::<Reply, Error>(telemetry::request(names, payload::answer(router, event.payload)).await) }
    };
    lambda_runtime::run(service_fn(answer)).await
}
