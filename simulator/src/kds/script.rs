//! Scripts: how the KDS treats requests.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// The kind of document that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The VCEK of a chip.
    Vcek,
    /// The certificates of the authorities.
    Chain,
    /// The certificate revocation list.
    Crl,
}

impl Kind {
    /// The kind by the end of the path. A path that is neither a chain's nor a CRL's counts as a VCEK's.
    pub(super) fn of(target: &str) -> Self {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        match path.rsplit('/').next() {
            Some("cert_chain") => Self::Chain,
            Some("crl") => Self::Crl,
            _ => Self::Vcek,
        }
    }
}

/// How the KDS treats one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// The right answer.
    #[default]
    Serve,
    /// An error status with a short text, and a Retry-After in seconds if given.
    Status(u16, Option<u32>),
    /// The right answer, late.
    Slow(Duration),
    /// No answer, and the connection stays open.
    Hang,
    /// 200 with a page of HTML, as from a proxy or a maintenance page.
    Html200,
    /// The VCEK of another chip at the same TCB, sound in itself. Chains and CRLs are served as they are.
    WrongChip,
    /// The status and headers of the right answer with an empty body.
    Empty,
    /// The right answer, cut off in the middle of its body.
    Truncated,
    /// The connection is reset before a byte of an answer.
    Reset,
}

#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) by_kind: HashMap<Kind, VecDeque<Behaviour>>,
    pub(super) any: VecDeque<Behaviour>,
    pub(super) otherwise: Behaviour,
}

impl Script {
    pub(super) fn next(&mut self, kind: Kind) -> Behaviour {
        self.by_kind
            .get_mut(&kind)
            .and_then(VecDeque::pop_front)
            .or_else(|| self.any.pop_front())
            .unwrap_or_else(|| self.otherwise.clone())
    }
}
