//! The store of a running broker, through a Unix socket in its data directory: one request for each method of
//! [`OperatorStore`](keybroker_common::store::OperatorStore), over HTTP/1.
//!
//! Only the socket's owner can use it: its mode says so, and the broker asks the kernel who connects. That
//! user could also open the file once the broker has ended.

mod client;
mod server;

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    encoding::Hex,
    ids::{AuditId, RegistrationDigest, TokenId, WorkloadId},
    keyring::{Keyring, Purpose},
    store::{AuditQuery, Cursor, Lease, StoredEndorsement},
    token::Token,
    workload::Workload,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::server::FAREWELL;

pub(crate) use self::{
    client::SocketStore,
    server::{Socket, router},
};

/// Name of the socket in the data directory.
const NAME: &str = "operator.sock";
/// The route of the store's methods.
const OPERATE: &str = "/operate";
/// Longest request, in bytes: several times the largest registration.
const REQUEST_LIMIT: usize = 4 << 20;
/// Longest answer, in bytes: a page, with rows that are base64 twice.
const ANSWER_LIMIT: usize = 16 << 20;

/// A call of the store. The answer is the method's result in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StoreCall {
    Workload {
        id: WorkloadId,
    },
    Selected {
        host_data: Hex<32>,
    },
    Revoke {
        id: WorkloadId,
        audit: AuditRecord,
    },
    PutToken {
        token: Token,
        audit: AuditRecord,
    },
    Token {
        id: TokenId,
    },
    RevokeToken {
        id: TokenId,
        audit: AuditRecord,
    },
    Tokens {
        after: Option<Cursor>,
    },
    Endorsement {
        key: String,
    },
    PutEndorsement {
        key: String,
        endorsement: StoredEndorsement,
    },
    Lease {
        key: String,
        lease: Lease,
    },
    EndLease {
        key: String,
        holder: Uuid,
    },
    Append {
        record: AuditRecord,
    },
    Workloads {
        after: Option<Cursor>,
    },
    Restore {
        id: WorkloadId,
        registration: RegistrationDigest,
        audit: AuditRecord,
    },
    Amend {
        seen: Workload,
        amended: Box<Workload>,
        audit: AuditRecord,
    },
    Delete {
        seen: Workload,
        audit: AuditRecord,
    },
    Endorsements {
        after: Option<Cursor>,
    },
    DeleteEndorsement {
        key: String,
    },
    AuditRecord {
        id: AuditId,
    },
    AuditRecords {
        query: AuditQuery,
        /// The query's, which its own form leaves out: an earlier broker refuses a call that has it.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        newest_first: bool,
        after: Option<Cursor>,
    },
    Keyring {
        purpose: Purpose,
    },
    Prune {
        before: Timestamp,
        audit: AuditRecord,
    },
    TurnKeyring {
        purpose: Purpose,
        replaced: Option<u64>,
        ring: Keyring,
        audit: AuditRecord,
    },
    BoundKey {},
}

/// How long to wait for a store that a broker has open and no longer serves: longer than its end takes.
const WAIT_FOR_END: Duration = FAREWELL.saturating_add(Duration::from_secs(2));

/// How long to wait for the store in `data_dir`, which another process has open. A broker that has begun to
/// end has taken its socket away, and will let go. For all others it is `usual`.
pub(crate) fn patience(data_dir: &Path, usual: Duration) -> Duration {
    if data_dir.join(NAME).exists() { usual } else { WAIT_FOR_END }
}

/// Longest path that a socket's address holds, with room to spare.
const ADDRESS_LEN: usize = 100;

/// `name` in `directory`, by a path that fits into a socket's address. If the real path is too long, this one
/// goes by way of the open directory, which must stay open until the path was used.
fn address(directory: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    let path = directory.join(name);
    if path.as_os_str().len() <= ADDRESS_LEN {
        return Ok((path, None));
    }
    let directory = File::open(directory)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())), Some(directory)))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use axum::Router;
    use keybroker_common::{
        audit::{Act, Decision, Operation},
        clock::SystemClock,
        store::{
            AuditStore as _, EndorsementStore as _, KeyringStore as _, OperatorStore as _,
            RevocationStore as _, StoreError, StoredKeyring, WorkloadStore as _,
        },
    };
    use keybroker_embedded::store::EmbeddedStore;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        operator::local::LocalStore as _,
        server::{self, Ended},
    };

    /// A broker of an earlier release reads a call that it can answer, and refuses one that it would answer
    /// otherwise.
    #[test]
    fn an_earlier_broker_does_not_list_the_oldest_first_in_place_of_the_newest() {
        let spelt = |newest_first| {
            let query = AuditQuery { newest_first, ..AuditQuery::default() };
            serde_json::to_string(&StoreCall::AuditRecords { query, newest_first, after: None }).unwrap()
        };
        let earlier =
            r#"{"audit_records":{"query":{"workload":null,"since":null,"until":null},"after":null}}"#;
        assert_eq!(spelt(false), earlier);
        assert!(spelt(true).contains(r#""newest_first":true"#), "{}", spelt(true));
        for newest in [false, true] {
            let read = serde_json::from_str(&spelt(newest)).unwrap();
            assert!(matches!(read, StoreCall::AuditRecords { newest_first, .. } if newest_first == newest));
        }
    }

    #[test]
    fn an_error_of_the_store_arrives_as_it_is() {
        for error in [
            StoreError::Conflict,
            StoreError::Selects,
            StoreError::Unavailable("down".to_owned()),
            StoreError::Full("no room".to_owned()),
            StoreError::Refused("no".to_owned()),
            StoreError::Corrupt { table: "workloads".into(), cause: "broken".to_owned() },
        ] {
            let sent = serde_json::to_vec(&Err::<(), _>(&error)).unwrap();
            assert_eq!(serde_json::from_slice::<Result<(), StoreError>>(&sent).unwrap(), Err(error));
        }
    }

    fn sample(id: WorkloadId) -> Workload {
        Workload {
            id,
            registration: b"registration".to_vec(),
            secrets: BTreeMap::new(),
            first_registered_at: Timestamp::now(),
            revoked_at: None,
            released_at: None,
            restored_by: None,
            revocation: None,
        }
    }

    /// This includes methods that no command of this program calls.
    #[tokio::test]
    async fn every_method_reaches_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(directory.path(), Arc::new(SystemClock)).unwrap());
        assert!(SocketStore::reach(directory.path()).await.is_err(), "nobody serves yet");
        let (stop, stopped) = oneshot::channel::<()>();
        let served = server::run(
            Socket::bind(directory.path()).unwrap(),
            router(store.clone(), None, Router::new()),
            async { drop(stopped.await) },
        );
        let served = tokio::spawn(served);
        let socket = SocketStore::reach(directory.path()).await.unwrap();

        let now = Timestamp::now();
        let row = StoredEndorsement { bytes: vec![1, 2, 3], fetched_at: now, edition: 7 };
        assert_eq!(socket.put_endorsement("Milan/x", &row).await, Ok(()));
        assert_eq!(store.endorsement("Milan/x").await, Ok(Some(row.clone())));
        assert_eq!(socket.endorsement("Milan/x").await, Ok(Some(row.clone())));
        assert_eq!(socket.endorsements(None).await.unwrap().rows, [("Milan/x".to_owned(), row)]);
        let (first, second) = (Lease::new(Uuid::new_v4(), now), Lease::new(Uuid::new_v4(), now));
        assert_eq!(socket.lease("Milan/x", &first).await, Ok(None));
        assert_eq!(store.lease("Milan/x", &second).await, Ok(Some(first)));
        assert_eq!(socket.end_lease("Milan/x", first.holder).await, Ok(()));
        assert_eq!(socket.lease("Milan/x", &second).await, Ok(None));
        assert_eq!(socket.delete_endorsement("Milan/x").await, Ok(()));
        assert_eq!(store.endorsement("Milan/x").await, Ok(None));

        let audit = AuditRecord::new(now, Operation::Operate, Decision::Revoked);
        let id = WorkloadId::new("nobody").unwrap();
        assert_eq!(socket.workload(&id).await, Ok(None));
        assert_eq!(socket.selected(&[7; 32]).await, Ok(None));
        assert_eq!(socket.revoke(&id, &audit).await, Err(StoreError::Conflict));
        assert_eq!(socket.restore(&id, RegistrationDigest::of(b""), &audit).await, Err(StoreError::Conflict));
        let amended = sample(id.clone());
        assert_eq!(socket.amend(&amended, &amended, &audit).await, Err(StoreError::Conflict));
        assert_eq!(socket.delete(&amended, &audit).await, Err(StoreError::Conflict));
        assert_eq!(socket.append(&audit).await, Ok(()));
        let recorded = socket.audit_record(audit.id).await.unwrap().unwrap();
        let principal = Some(format!("uid/{}", rustix::process::geteuid().as_raw()));
        assert_eq!(recorded, AuditRecord { principal, ..audit });
        let page = socket.audit_records(&AuditQuery::default(), None).await.unwrap();
        assert_eq!((page.rows, page.next), (vec![recorded], None));
        assert!(socket.workloads(None).await.unwrap().rows.is_empty());

        let (purpose, ring) = (Purpose::Challenge, Keyring { last: 7, ..Keyring::default() });
        let turned = AuditRecord::new(now, Operation::Operate, Decision::KeysTurned);
        assert_eq!(socket.keyring(purpose).await, Ok(None));
        assert_eq!(socket.turn_keyring(purpose, None, &ring, &turned).await, Ok(()));
        let stored = store.keyring(purpose).await.unwrap().unwrap();
        assert_eq!(stored.ring, ring);
        assert_eq!(socket.keyring(purpose).await, Ok(Some(stored.clone())));
        let again = AuditRecord::new(now, Operation::Operate, Decision::KeysTurned);
        assert_eq!(socket.turn_keyring(purpose, None, &ring, &again).await, Err(StoreError::Conflict));
        assert!(socket.audit_record(turned.id).await.unwrap().unwrap().principal.is_some());
        assert_eq!(socket.bound_key().await, Ok(None));
        store.bind_key("local:0123456789abcdef").unwrap();
        assert_eq!(socket.bound_key().await, Ok(Some("local:0123456789abcdef".to_owned())));
        let later = Timestamp::now();
        let pruned = AuditRecord::new(later, Operation::Operate, Decision::Pruned);
        assert_eq!(socket.prune(now, &pruned).await, Ok(0));
        assert_eq!(socket.prune(later, &pruned).await, Ok(2));
        let recorded = socket.audit_record(pruned.id).await.unwrap().unwrap();
        assert_eq!(recorded.act, Some(Act::Pruned { before: later, records: 2 }));
        assert!(recorded.principal.is_some() && socket.audit_record(turned.id).await == Ok(None));
        // Without a record nobody turns a ring through the socket.
        let StoredKeyring { edition, ring } = stored;
        let put = socket.put_keyring(purpose, Some(edition), &ring).await;
        assert!(matches!(put, Err(StoreError::Refused(_))), "{put:?}");

        drop(stop);
        assert_eq!(served.await.unwrap(), Ended::Drained);
        assert!(matches!(socket.workload(&id).await, Err(StoreError::Unavailable(_))));
    }
}
