//! Decode, one call of the broker, encode.

use std::sync::Arc;

use axum::{
    extract::{
        Path, RawPathParams, Request, State,
        rejection::{PathRejection, RawPathParamsRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    BODY_LIMIT, EVIDENCE_LIMIT, Operator, Principal, REFERENCE_VALUES_LIMIT, guest_url, reply, request,
    unhurried::to_the_end,
};
use crate::{
    broker::{self, Attest, Auth, Credential, Register, RegisterRequest, SessionProof},
    dialect::Dialect,
    ids::{CarriedId, Claim, HostData, SessionId, WorkloadId},
    problem::{Problem, TrusteeStage},
    store::Health,
    wire::{
        Invalid, authorization, cookie, handshake, keybroker, libkrun, manners, native,
        trustee::{self, ResourceName},
    },
};

type Answer = Result<Response, Problem>;

/// Without a store, this is the health of the process alone.
pub(super) async fn health(State(store): State<Option<Arc<dyn Health>>>) -> Answer {
    if let Some(store) = store
        && let Err(cause) = store.check().await
    {
        tracing::warn!(%cause, "not healthy");
        return Err(Problem::Unhealthy);
    }
    Ok(reply::json(StatusCode::OK, br#"{"status":"ok"}"#.to_vec()))
}

pub(super) async fn register(State(broker): State<Register>, request: Request) -> Answer {
    let headers = request.headers().clone();
    let credential = credential(&request);
    let registration = libkrun::register_request(&request::json(request).await?)?;
    let registration = RegisterRequest { credential, ..registration };
    let workload_id = registration.workload_id.clone();
    let registered = to_the_end(async move {
        let registered = broker.register(registration).await?;
        log_registration(&headers, &workload_id, registered.replaced);
        Ok(registered)
    })
    .await?;
    Ok(reply::json(StatusCode::OK, libkrun::registered(&registered)))
}

pub(super) async fn register_reference_values(State(broker): State<Register>, request: Request) -> Answer {
    let credential = credential(&request);
    let body = request::json_within(REFERENCE_VALUES_LIMIT, request).await?;
    let (registration, host_data) = keybroker::register_request(&body, HostData::random())?;
    let registration = RegisterRequest { credential, ..registration };
    to_the_end(async move { broker.register(registration).await }).await?;
    Ok(reply::json(StatusCode::OK, keybroker::registered(&host_data)))
}

/// The caller's credential. The first two are authenticated by the server in front of the broker; a token is
/// not yet looked up.
fn credential(request: &Request) -> Credential {
    if let Some(Operator(name)) = request.extensions().get() {
        return Credential::Operator(name.clone());
    }
    if let Some(Principal(name)) = request.extensions().get() {
        return Credential::Principal(name.clone());
    }
    authorization::token(request.headers()).map_or(Credential::None, |token| Credential::Token(token.id()))
}

fn log_registration(headers: &HeaderMap, workload_id: &WorkloadId, replaced: bool) {
    tracing::info!(%workload_id, replaced, "workload registered");
    if let Some(excess) = guest_url::overflow(headers, workload_id) {
        tracing::warn!(
            %workload_id,
            excess,
            "the URL of this workload's key is too long for libkrun's guest, which may crash (characters \
             beyond: {excess}): shorten the workload id (buildah's -w) or the broker's host name"
        );
    }
    if CarriedId::new(workload_id.clone()).is_none() {
        tracing::warn!(
            %workload_id,
            "libkrun's cookie cannot carry this workload's id, so its guests get no challenge: shorten it to 64 \
             printable ASCII characters, or to 48 bytes if it has commas, semicolons or others"
        );
    }
}

pub(super) async fn auth(State(broker): State<Auth>, path: Parameters, request: Request) -> Answer {
    let named = named_workload(&path)?;
    let body = request::json(request).await?;
    let trustees = trustee::asks(&body);
    let answer = async {
        let claim = handshake::auth_request(&body, named)?;
        let challenge = broker.challenge(claim).await?;
        let mut response = reply::json(StatusCode::OK, handshake::challenge(&challenge));
        let cookie = handshake::set_cookie(&challenge, broker.challenges.ttl);
        if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
            cookie.set_sensitive(true);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(response)
    };
    in_form(trustees.then_some(TrusteeStage::Attestation), answer.await)
}

pub(super) async fn attest(State(broker): State<Attest>, path: Parameters, request: Request) -> Answer {
    let named = named_workload(&path)?;
    let (dialects, session_id) = request::session(request.headers())?;
    // As the claim has it, until the guest's key decides.
    let mut trustees =
        dialects.contains(&Dialect::Trustee) && matches!(session_id.claim(), Claim::Trustee(_));
    let answer = async {
        check_named(named.as_ref(), &session_id)?;
        let limit = if trustees { EVIDENCE_LIMIT } else { BODY_LIMIT };
        if trustees {
            broker.recognise(&session_id).await?;
        }
        let body = request::json_within(limit, request).await?;
        trustees = handshake::is_trustees(&dialects, session_id.claim(), &body)?;
        let evidence = handshake::evidence(dialects, session_id.claim(), &body)?;
        let attested = to_the_end(async move { broker.attest(&session_id, evidence).await }).await?;
        let body =
            manners(attested.dialect).session.map_or_else(Vec::new, |session| (session.attested)(&attested));
        Ok(reply::json_or_empty(body))
    };
    let answer = answer.await;
    in_form(trustees.then_some(TrusteeStage::Attestation), answer)
}

pub(super) async fn challenge(State(broker): State<Auth>, request: Request) -> Answer {
    let claim = native::challenge_request(&request::json(request).await?)?;
    let challenge = broker.challenge(claim).await?;
    Ok(reply::json(StatusCode::OK, native::challenge(&challenge, broker.challenges.ttl)))
}

pub(super) async fn release(State(broker): State<Attest>, request: Request) -> Answer {
    let (session_id, asked) = native::release_request(&request::json(request).await?)?;
    let answer = to_the_end(async move { broker.release_secrets(&session_id, asked).await }).await?;
    Ok(reply::json(StatusCode::OK, answer.to_json()))
}

pub(super) async fn key(
    State(broker): State<Attest>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Answer {
    let Path(workload_id) = path.map_err(|_| Invalid::Path)?;
    let workload_id = WorkloadId::new(workload_id).map_err(Invalid::WorkloadId)?;
    let session_id = request::session_of(Dialect::Libkrun, &headers)?;
    let released = to_the_end(async move { broker.passphrase(&session_id, &workload_id).await }).await?;
    let nul_terminated = !headers.contains_key(header::USER_AGENT);
    Ok(reply::json(StatusCode::OK, libkrun::released(released.sealed(), nul_terminated)))
}

pub(super) async fn resource(
    State(broker): State<Attest>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Answer {
    let Path(name) = path.map_err(|_| Invalid::Path)?;
    let name = keybroker::resource_name(&name)?.to_owned();
    let session_id = request::session_of(Dialect::Keybroker, &headers)?;
    let released = to_the_end(async move { broker.resource(&session_id, &name).await }).await?;
    Ok(reply::json(StatusCode::OK, keybroker::released(released.sealed())))
}

/// A resource in Trustee's dialect. The guest names its session by the cookie, or by its attestation result.
pub(super) async fn named_resource(
    State(broker): State<Attest>,
    path: Parameters,
    headers: HeaderMap,
) -> Answer {
    let answer = async {
        let name = resource_name(&path)?;
        let named = named_workload(&path)?;
        let proof = match authorization::bearer(&headers)? {
            Some(_) if cookie::session(&headers)?.is_some() => return Err(Invalid::Cookies.into()),
            Some(result) => broker.session_of_result(result).await?,
            None => SessionProof::Id(request::session_of(Dialect::Trustee, &headers)?),
        };
        check_named(named.as_ref(), proof.session_id())?;
        let released = to_the_end(async move { broker.named_resource(&proof, name.as_str()).await }).await?;
        Ok(reply::json(StatusCode::OK, trustee::released(released.sealed())))
    };
    in_form(Some(TrusteeStage::Resource), answer.await)
}

pub(super) async fn result_keys(State(broker): State<Attest>) -> Answer {
    let keys = broker.results.jwks().await.map_err(broker::Error::from)?;
    Ok(reply::json(StatusCode::OK, keys))
}

/// The parameters of a path.
type Parameters = Result<RawPathParams, RawPathParamsRejection>;

fn parameter<'a>(path: &'a Parameters, name: &str) -> Result<Option<&'a str>, Invalid> {
    let path = path.as_ref().map_err(|_| Invalid::Path)?;
    Ok(path.iter().find(|(found, _)| *found == name).map(|(_, value)| value))
}

/// The workload that the guest's URL names, where it names one.
fn named_workload(path: &Parameters) -> Result<Option<WorkloadId>, Invalid> {
    let named = parameter(path, "workload_id")?;
    Ok(named.map(WorkloadId::new).transpose()?)
}

/// That the session is of the workload that the guest's URL names, where it names one.
fn check_named(named: Option<&WorkloadId>, session_id: &SessionId) -> Result<(), Problem> {
    let other = named.is_some_and(|named| session_id.claim().workload_id() != Some(named));
    if other { Err(broker::Error::NoSession { id: None }.into()) } else { Ok(()) }
}

fn resource_name(path: &Parameters) -> Result<ResourceName, Invalid> {
    let part = |name| parameter(path, name).map(Option::unwrap_or_default);
    ResourceName::new([part("repository")?, part("type")?, part("tag")?]).ok_or(Invalid::ResourceName)
}

/// The answer, or the problem in the form that Trustee's clients read, where the client is one of them.
fn in_form(stage: Option<TrusteeStage>, answer: Answer) -> Answer {
    let Some(stage) = stage else { return answer };
    Ok(answer.unwrap_or_else(|problem| {
        let mut response = problem.into_response();
        response.extensions_mut().insert(stage);
        response
    }))
}
