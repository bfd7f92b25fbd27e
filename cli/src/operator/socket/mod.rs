//! The store of a running broker, through a Unix socket in its data directory: one request for each method of
//! [`OperatorStore`](keybroker_common::store::OperatorStore), over HTTP/1.
//!
//! The socket is its owner's alone, by its mode and by asking the kernel who connects. Whoever passes could as well open
//! the file once the broker has ended.

mod client;
mod server;

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use keybroker_common::{
    audit::{AuditId, AuditRecord},
    store::{AuditQuery, Cursor, Lease, StoredEndorsement},
    workload::{Workload, WorkloadId},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::{
    client::SocketStore,
    server::{Socket, router},
};

/// Name of the socket in the data directory.
const NAME: &str = "operator.sock";
/// The route of the store's methods.
const OPERATE: &str = "/operate";
/// Longest request, in bytes: a registration with all that it may hold, several times over.
const REQUEST_LIMIT: usize = 4 << 20;
/// Longest answer, in bytes: a page, whose rows are base64 twice.
const ANSWER_LIMIT: usize = 16 << 20;

/// What a store is asked for. The answer is the method's result in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Workload { id: WorkloadId },
    Revoke { id: WorkloadId, audit: AuditRecord },
    Endorsement { key: String },
    PutEndorsement { key: String, endorsement: StoredEndorsement },
    Lease { key: String, lease: Lease },
    EndLease { key: String, holder: Uuid },
    Append { record: AuditRecord },
    Workloads { after: Option<Cursor> },
    Restore { id: WorkloadId, audit: AuditRecord },
    Delete { seen: Workload, audit: AuditRecord },
    Endorsements { after: Option<Cursor> },
    DeleteEndorsement { key: String },
    AuditRecord { id: AuditId },
    AuditRecords { query: AuditQuery, after: Option<Cursor> },
}

/// Longest path that a socket's address holds, with room to spare.
const ADDRESS_LEN: usize = 100;

/// `name` in `directory` by a path that fits into a socket's address: where the real one is too long, by way of the open
/// directory, which has to stay open until the path was used.
fn address(directory: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    let path = directory.join(name);
    if path.as_os_str().len() <= ADDRESS_LEN {
        return Ok((path, None));
    }
    let directory = File::open(directory)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())), Some(directory)))
}
