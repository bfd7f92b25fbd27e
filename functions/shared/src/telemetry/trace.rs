//! Traces: what AWS X-Ray is told of a request that it samples, if the deployment asks for traces at all.
//!
//! Lambda makes the trace, and the function's own segment of it. To that one is added here: a subsegment for
//! the request, with one for each stage in it. It goes by one datagram to the daemon that Lambda runs beside
//! the function, and leads by its annotations to the audit record. A datagram that is lost costs a picture.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::OnceLock,
};

use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision},
    metrics::Count,
};
use serde::Serialize;

use super::Happened;

/// The place of the daemon, as Lambda names it.
pub(super) const DAEMON: &str = "AWS_XRAY_DAEMON_ADDRESS";
/// The daemon wants this before each document.
const HEADER: &str = "{\"format\": \"json\", \"version\": 1}\n";

/// A place in a trace, as the runtime's header names it: `Root=1-…;Parent=…;Sampled=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The trace.
    pub(super) root: String,
    /// The segment that this request is a part of.
    parent: String,
}

impl Place {
    /// Nothing, if the request is not sampled, or the header is none.
    pub(super) fn sampled(header: &str) -> Option<Self> {
        let value =
            |name: &str| header.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let (root, parent) = (value("Root")?, value("Parent")?);
        let [version, time, rest] = root.split('-').collect::<Vec<_>>().try_into().ok()?;
        let whole = version == "1" && is_hex(time, 8) && is_hex(rest, 24) && is_hex(parent, 16);
        let place = || Self { root: root.to_owned(), parent: parent.to_owned() };
        (whole && value("Sampled") == Some("1")).then(place)
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where documents go.
#[derive(Debug)]
pub(super) struct Daemon {
    address: Option<SocketAddr>,
    socket: OnceLock<Option<UdpSocket>>,
    random: RandomState,
}

impl Daemon {
    /// The daemon at `address`, as `169.254.100.1:2000`. To none, if that is no address.
    pub(super) fn at(address: &str) -> Self {
        Self { address: address.parse().ok(), socket: OnceLock::new(), random: RandomState::new() }
    }

    /// Tells of a request that is over.
    pub(super) fn tell(&self, traced: &Traced, request: Option<&str>) {
        let Some(address) = self.address else { return };
        let Some(socket) = self.socket.get_or_init(|| open(address)) else { return };
        let Ok(document) = serde_json::to_string(&self.document(traced, request, Timestamp::now())) else {
            return;
        };
        // The request is answered, told or not.
        let _ = socket.send_to(format!("{HEADER}{document}").as_bytes(), address);
    }

    fn document<'a>(&self, traced: &'a Traced, request: Option<&'a str>, now: Timestamp) -> Document<'a> {
        let Traced { place, begin, stages, decided, failed } = traced;
        let id =
            |number: usize| format!("{:016x}", self.random.hash_one((&place.root, &place.parent, number)));
        let stage = |(number, stage): (usize, &'a Stage)| Segment {
            name: &stage.name,
            id: id(number + 1),
            start_time: stage.end - stage.milliseconds / 1e3,
            end_time: stage.end,
        };
        Document {
            segment: Segment { name: "keybroker", id: id(0), start_time: *begin, end_time: seconds(now) },
            kind: "subsegment",
            trace_id: &place.root,
            parent_id: &place.parent,
            error: matches!(decided, Some(Decided { decision: Decision::Refused | Decision::Withheld, .. })),
            fault: *failed,
            annotations: Annotations { request, decided: decided.as_ref() },
            subsegments: stages.iter().enumerate().map(stage).collect(),
        }
    }
}

/// A socket that nobody waits for.
fn open(to: SocketAddr) -> Option<UdpSocket> {
    let from: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(from).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

/// A request that is sampled, as far as it has come.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) place: Place,
    begin: f64,
    stages: Vec<Stage>,
    decided: Option<Decided>,
    failed: bool,
}

#[derive(Debug)]
struct Stage {
    name: String,
    end: f64,
    milliseconds: f64,
}

/// The last decision: the record's id, and the check that failed.
#[derive(Debug, Serialize)]
struct Decided {
    #[serde(rename = "record")]
    id: String,
    decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<String>,
}

impl Traced {
    /// A request that begins.
    pub(super) fn begin(place: Place) -> Self {
        let begin = seconds(Timestamp::now());
        Self { place, begin, stages: Vec::new(), decided: None, failed: false }
    }

    /// Notes an event of this moment.
    pub(super) fn add(&mut self, happened: &Happened) {
        match happened {
            Happened::Took(name, milliseconds) => {
                let (end, milliseconds) = (seconds(Timestamp::now()), *milliseconds);
                self.stages.push(Stage { name: name.clone(), end, milliseconds });
            }
            Happened::Decided(record) => {
                let AuditRecord { id, decision, failed, .. } = &**record;
                let check = failed.as_ref().map(|failed| failed.check.clone());
                self.failed |= *decision == Decision::Unavailable;
                self.decided = Some(Decided { id: id.to_string(), decision: *decision, check });
            }
            Happened::Counted(name) => self.failed |= name == Count::Panicked.name(),
            Happened::Aged(_) => {}
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    segment: Segment<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
    trace_id: &'a str,
    parent_id: &'a str,
    error: bool,
    fault: bool,
    annotations: Annotations<'a>,
    subsegments: Vec<Segment<'a>>,
}

/// Times are in seconds since 1970.
#[derive(Serialize)]
struct Segment<'a> {
    name: &'a str,
    id: String,
    start_time: f64,
    end_time: f64,
}

#[derive(Serialize)]
struct Annotations<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(flatten)]
    decided: Option<&'a Decided>,
}
