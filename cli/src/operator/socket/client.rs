//! The client: the store of a running broker, through its socket.

use std::{
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use axum::body::Body;
use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    encoding::Hex,
    ids::{AuditId, RegistrationDigest, TokenId, WorkloadId},
    keyring::{Keyring, Purpose},
    store::{
        AuditQuery, AuditStore, Cursor, EndorsementStore, KeyringStore, Lease, OperatorStore, Page,
        RevocationStore, StoreError, StoredEndorsement, StoredKeyring, TokenStore, WorkloadStore,
    },
    token::Token,
    workload::Workload,
};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};
use uuid::Uuid;

use super::{ANSWER_LIMIT, NAME, OPERATE, StoreCall};
use crate::operator::local::LocalStore;

/// How long one request may take: longer than the store's slowest page.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long pruning may take, which is done record by record.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(3600);

/// The store of the broker that serves a data directory. Each call is a connection of its own.
#[derive(Debug)]
pub(crate) struct SocketStore {
    data_dir: PathBuf,
}

impl SocketStore {
    /// The store of the broker that serves `data_dir`, if there is one that answers this user.
    pub(crate) async fn reach(data_dir: &Path) -> anyhow::Result<Self> {
        let store = Self { data_dir: data_dir.to_owned() };
        // Any question will do: it is the answer that matters.
        let probe = StoreCall::AuditRecord { id: AuditId(Uuid::nil()) };
        let _: Result<Option<AuditRecord>, StoreError> = store.send(&probe).await?;
        Ok(store)
    }

    /// A connection to a broker's socket.
    ///
    /// A user who may write to the directory could put another socket there. So only its owner may write to
    /// it, and the process that answers must be the owner's.
    async fn connect(&self) -> io::Result<UnixStream> {
        let directory = fs::metadata(&self.data_dir)?;
        let refused = |what| Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        if directory.permissions().mode() & 0o022 != 0 {
            return refused("other users may write to the data directory: make it 0700");
        }
        // The socket itself: a link could lead to one of another program's.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let socket = open(self.data_dir.join(NAME), flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&socket)?.st_mode) != FileType::Socket {
            return refused("the broker's socket is a link, or no socket at all");
        }
        let named = format!("/proc/self/fd/{}", socket.as_raw_fd());
        if !Path::new(&named).exists() {
            return Err(io::Error::other("the command reaches it by way of /proc, which is not mounted"));
        }
        let stream = UnixStream::connect(named).await?;
        match stream.peer_cred()?.uid() {
            uid if uid == 0 || uid == directory.uid() => Ok(stream),
            _ => refused("the process that answers there is not the data directory owner's"),
        }
    }

    async fn ask<T: DeserializeOwned>(&self, request: StoreCall) -> Result<T, StoreError> {
        match self.send(&request).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Unavailable(format!("{error:#}"))),
        }
    }

    async fn send<T: DeserializeOwned>(&self, request: &StoreCall) -> anyhow::Result<Result<T, StoreError>> {
        let limit = if matches!(request, StoreCall::Prune { .. }) { PRUNE_TIMEOUT } else { REQUEST_TIMEOUT };
        let body = serde_json::to_vec(request).context("the request has no JSON form")?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(OPERATE)
            .header(header::HOST, "operator")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))?;
        let (status, answer) = self.pass_within(limit, request).await?;
        if status != StatusCode::OK {
            return Err(anyhow!("the broker answers {status}"));
        }
        serde_json::from_slice(&answer).context("this release cannot read the broker's answer")
    }

    /// Passes a request to the other routes of the socket, and returns the status and the body of the answer.
    pub(crate) async fn pass(&self, request: Request<Body>) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        self.pass_within(REQUEST_TIMEOUT, request).await
    }

    async fn pass_within(
        &self,
        limit: Duration,
        request: Request<Body>,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        timeout(limit, self.exchange(request)).await.context("the broker does not answer")?
    }

    async fn exchange(&self, request: Request<Body>) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let stream = self.connect().await.with_context(|| format!("{NAME} is not served"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The connection ends with the sender.
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| anyhow!(error)).context("the answer breaks off")?.to_bytes();
        connection.abort();
        match status {
            StatusCode::FORBIDDEN => Err(anyhow!("the broker belongs to another user")),
            status => Ok((status, body.into())),
        }
    }
}

#[async_trait]
impl WorkloadStore for SocketStore {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.ask(StoreCall::Workload { id: id.clone() }).await
    }

    async fn selected(&self, host_data: &[u8; 32]) -> Result<Option<WorkloadId>, StoreError> {
        self.ask(StoreCall::Selected { host_data: Hex(*host_data) }).await
    }
}

#[async_trait]
impl RevocationStore for SocketStore {
    async fn revoke(&self, id: &WorkloadId, audit: &AuditRecord) -> Result<(), StoreError> {
        self.ask(StoreCall::Revoke { id: id.clone(), audit: audit.clone() }).await
    }
}

#[async_trait]
impl TokenStore for SocketStore {
    async fn put_token(&self, token: &Token, audit: &AuditRecord) -> Result<(), StoreError> {
        self.ask(StoreCall::PutToken { token: token.clone(), audit: audit.clone() }).await
    }

    async fn stored_token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        self.ask(StoreCall::Token { id: *id }).await
    }

    async fn revoke_token(&self, id: &TokenId, audit: &AuditRecord) -> Result<(), StoreError> {
        self.ask(StoreCall::RevokeToken { id: *id, audit: audit.clone() }).await
    }

    async fn tokens(&self, after: Option<&Cursor>) -> Result<Page<Token>, StoreError> {
        self.ask(StoreCall::Tokens { after: after.cloned() }).await
    }
}

#[async_trait]
impl EndorsementStore for SocketStore {
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError> {
        self.ask(StoreCall::Endorsement { key: key.to_owned() }).await
    }

    async fn put_endorsement(&self, key: &str, endorsement: &StoredEndorsement) -> Result<(), StoreError> {
        self.ask(StoreCall::PutEndorsement { key: key.to_owned(), endorsement: endorsement.clone() }).await
    }

    async fn lease(&self, key: &str, lease: &Lease) -> Result<Option<Lease>, StoreError> {
        self.ask(StoreCall::Lease { key: key.to_owned(), lease: *lease }).await
    }

    async fn end_lease(&self, key: &str, holder: Uuid) -> Result<(), StoreError> {
        self.ask(StoreCall::EndLease { key: key.to_owned(), holder }).await
    }
}

#[async_trait]
impl AuditStore for SocketStore {
    async fn append(&self, record: &AuditRecord) -> Result<(), StoreError> {
        self.ask(StoreCall::Append { record: record.clone() }).await
    }
}

#[async_trait]
impl KeyringStore for SocketStore {
    async fn keyring(&self, purpose: Purpose) -> Result<Option<StoredKeyring>, StoreError> {
        let stored: Option<(u64, Keyring)> = self.ask(StoreCall::Keyring { purpose }).await?;
        Ok(stored.map(|(edition, ring)| StoredKeyring { edition, ring }))
    }

    /// There is no such call: an operator's change leaves a record, and only the broker makes keys.
    async fn put_keyring(&self, _: Purpose, _: Option<u64>, _: &Keyring) -> Result<(), StoreError> {
        Err(StoreError::Refused("only the broker itself makes its keys".to_owned()))
    }
}

#[async_trait]
impl LocalStore for SocketStore {
    async fn prune(&self, before: Timestamp, audit: &AuditRecord) -> Result<u64, StoreError> {
        self.ask(StoreCall::Prune { before, audit: audit.clone() }).await
    }

    async fn bound_key(&self) -> Result<Option<String>, StoreError> {
        self.ask(StoreCall::BoundKey {}).await
    }
}

#[async_trait]
impl OperatorStore for SocketStore {
    async fn workloads(&self, after: Option<&Cursor>) -> Result<Page<Workload>, StoreError> {
        self.ask(StoreCall::Workloads { after: after.cloned() }).await
    }

    async fn restore(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        self.ask(StoreCall::Restore { id: id.clone(), registration, audit: audit.clone() }).await
    }

    async fn amend(
        &self,
        seen: &Workload,
        amended: &Workload,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let (seen, amended, audit) = (seen.clone(), Box::new(amended.clone()), audit.clone());
        self.ask(StoreCall::Amend { seen, amended, audit }).await
    }

    async fn delete(&self, seen: &Workload, audit: &AuditRecord) -> Result<(), StoreError> {
        self.ask(StoreCall::Delete { seen: seen.clone(), audit: audit.clone() }).await
    }

    async fn endorsements(
        &self,
        after: Option<&Cursor>,
    ) -> Result<Page<(String, StoredEndorsement)>, StoreError> {
        self.ask(StoreCall::Endorsements { after: after.cloned() }).await
    }

    async fn delete_endorsement(&self, key: &str) -> Result<(), StoreError> {
        self.ask(StoreCall::DeleteEndorsement { key: key.to_owned() }).await
    }

    async fn turn_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let (ring, audit) = (ring.clone(), audit.clone());
        self.ask(StoreCall::TurnKeyring { purpose, replaced, ring, audit }).await
    }

    async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        self.ask(StoreCall::AuditRecord { id }).await
    }

    async fn audit_records(
        &self,
        query: &AuditQuery,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError> {
        let (query, newest_first, after) = (query.clone(), query.newest_first, after.cloned());
        self.ask(StoreCall::AuditRecords { query, newest_first, after }).await
    }
}
