//! The server: the socket of a running broker.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use keybroker_common::{
    audit::AuditRecord,
    broker::announce,
    http::Operator,
    store::{AuditQuery, StoreError},
    token::Token,
};
use keybroker_embedded::files;
use keybroker_kds::EndorsementSource;
use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};

use super::{NAME, OPERATE, REQUEST_LIMIT, StoreCall, address};
use crate::{
    operator::local::{LocalStore, pruned},
    server::{self, Limits, Listener},
};

/// The socket's name until it listens.
const WORKSHOP: &str = "operator.sock.new";
/// Connections that may wait to be accepted.
const WAITING: i32 = 128;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The user who connected, as the kernel names them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketUser {
    uid: Option<u32>,
}

impl SocketUser {
    /// The user as audit records name one.
    pub(crate) fn principal(self) -> Option<String> {
        self.uid.map(|uid| format!("uid/{uid}"))
    }

    /// Whether it is the user of this process, or root, who could become that user.
    fn may_operate(self) -> bool {
        self.uid.is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw())
    }
}

/// The listening socket. Dropping it removes its file.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket in `data_dir`. This process must have the store there open, so an existing socket was
    /// left behind by a process that was killed, and is replaced. At no time can anybody but the owner
    /// connect.
    pub(crate) fn bind(data_dir: &Path) -> io::Result<Self> {
        let (workshop, path) = (data_dir.join(WORKSHOP), data_dir.join(NAME));
        files::remove(&workshop)?;
        let (short, _directory) = address(data_dir, WORKSHOP)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Its file gets the mode of the socket. To set the mode of the file would follow a link.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(short)?)?;
        listen(&socket, WAITING)?;
        fs::rename(workshop, &path)?;
        Ok(Self { listener: UnixListener::from_std(socket.into())?, path })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(cause) = files::remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %cause, "the operator's socket could not be removed");
        }
    }
}

impl Listener for Socket {
    type Stream = UnixStream;

    /// The connections are commands of one user, each with one at a time.
    fn limits(&self) -> Limits {
        Limits::alone(32)
    }

    async fn accept(&self) -> io::Result<(UnixStream, server::Peer)> {
        Ok((self.listener.accept().await?.0, server::Peer::Local))
    }

    fn router_for(&self, stream: &UnixStream, router: &Router) -> Router {
        let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
        router.clone().layer(Extension(SocketUser { uid }))
    }
}

/// The store and memory that commands act on.
#[derive(Debug, Clone)]
struct Served {
    store: Arc<dyn LocalStore>,
    /// The broker's memory of certificates, if there is a broker.
    endorsements: Option<Arc<EndorsementSource>>,
}

/// The routes of the socket: the store's own, and `others`. None of them sees a request of another user. A
/// handler learns the user from `Extension<SocketUser>`, the broker's handlers from its own [`Operator`]. The
/// broker's `endorsements` forget what an operator changes.
pub(crate) fn router(
    store: Arc<dyn LocalStore>,
    endorsements: Option<Arc<EndorsementSource>>,
    others: Router,
) -> Router {
    Router::new()
        .route(OPERATE, post(operate))
        .with_state(Served { store, endorsements })
        .merge(others)
        .layer(middleware::from_fn(owner_only))
}

async fn owner_only(mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<SocketUser>().copied().filter(|peer| peer.may_operate());
    match peer.and_then(SocketUser::principal) {
        Some(principal) => {
            request.extensions_mut().insert(Operator(principal));
            next.run(request).await
        }
        None => {
            let peer = request.extensions().get::<SocketUser>();
            tracing::warn!(uid = peer.and_then(|peer| peer.uid), "another user at the operator's socket");
            StatusCode::FORBIDDEN.into_response()
        }
    }
}

async fn operate(
    State(Served { store, endorsements }): State<Served>,
    Extension(peer): Extension<SocketUser>,
    body: Body,
) -> Response {
    let Ok(body) = timeout(REQUEST_TIMEOUT, to_bytes(body, REQUEST_LIMIT)).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let Ok(body) = body else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let Ok(request) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let changed = match request {
        StoreCall::PutEndorsement { .. } | StoreCall::DeleteEndorsement { .. } => endorsements,
        _ => None,
    };
    // The call runs on a task of its own: once begun it is recorded and announced, even if nobody waits for
    // it.
    let answered = tokio::spawn(async move {
        let answer = answer(store.as_ref(), peer, request).await;
        if let Some(endorsements) = changed {
            endorsements.forget();
        }
        answer
    });
    let answered = answered.await;
    answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn answer(store: &dyn LocalStore, peer: SocketUser, request: StoreCall) -> Response {
    let by_peer = |audit| AuditRecord { principal: peer.principal(), ..audit };
    match request {
        StoreCall::Workload { id } => json(&store.workload(&id).await),
        StoreCall::Selected { host_data } => json(&store.selected(&host_data.0).await),
        StoreCall::Workloads { after } => json(&store.workloads(after.as_ref()).await),
        StoreCall::Revoke { id, audit } => {
            let audit = by_peer(audit);
            recorded(store.revoke(&id, &audit).await, &audit)
        }
        StoreCall::Restore { id, registration, audit } => {
            let audit = by_peer(audit);
            recorded(store.restore(&id, registration, &audit).await, &audit)
        }
        StoreCall::Amend { seen, amended, audit } => {
            let audit = by_peer(audit);
            recorded(store.amend(&seen, &amended, &audit).await, &audit)
        }
        StoreCall::Delete { seen, audit } => {
            let audit = by_peer(audit);
            recorded(store.delete(&seen, &audit).await, &audit)
        }
        StoreCall::Token { id } => json(&store.stored_token(&id).await),
        StoreCall::PutToken { token, audit } => {
            let (token, audit) = (Token { created_by: peer.principal(), ..token }, by_peer(audit));
            recorded(store.put_token(&token, &audit).await, &audit)
        }
        StoreCall::RevokeToken { id, audit } => {
            let audit = by_peer(audit);
            recorded(store.revoke_token(&id, &audit).await, &audit)
        }
        StoreCall::Tokens { after } => json(&store.tokens(after.as_ref()).await),
        StoreCall::Append { record } => {
            let record = by_peer(record);
            recorded(store.append(&record).await, &record)
        }
        StoreCall::Endorsement { key } => json(&store.endorsement(&key).await),
        StoreCall::Endorsements { after } => json(&store.endorsements(after.as_ref()).await),
        StoreCall::PutEndorsement { key, endorsement } => {
            json(&store.put_endorsement(&key, &endorsement).await)
        }
        StoreCall::DeleteEndorsement { key } => json(&store.delete_endorsement(&key).await),
        StoreCall::Lease { key, lease } => json(&store.lease(&key, &lease).await),
        StoreCall::EndLease { key, holder } => json(&store.end_lease(&key, holder).await),
        StoreCall::Keyring { purpose } => {
            let stored = store.keyring(purpose).await;
            json(&stored.map(|stored| stored.map(|stored| (stored.edition, stored.ring))))
        }
        StoreCall::Prune { before, audit } => {
            let audit = by_peer(audit);
            let deleted = store.prune(before, &audit).await;
            if let Ok(records @ 1..) = deleted {
                announce(&pruned(&audit, before, records));
            }
            json(&deleted)
        }
        StoreCall::TurnKeyring { purpose, replaced, ring, audit } => {
            let audit = by_peer(audit);
            recorded(store.turn_keyring(purpose, replaced, &ring, &audit).await, &audit)
        }
        StoreCall::BoundKey {} => json(&store.bound_key().await),
        StoreCall::AuditRecord { id } => json(&store.audit_record(id).await),
        StoreCall::AuditRecords { query, newest_first, after } => {
            let query = AuditQuery { newest_first, ..query };
            json(&store.audit_records(&query, after.as_ref()).await)
        }
    }
}

/// The answer to a write with an audit record, which is announced as any other record.
fn recorded(written: Result<(), StoreError>, audit: &AuditRecord) -> Response {
    if written.is_ok() {
        announce(audit);
    }
    json(&written)
}

fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
