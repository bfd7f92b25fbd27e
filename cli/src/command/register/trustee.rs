//! Guests of Trustee: which dialects a registration is for, and where such a guest finds the broker.

use std::fmt::Write as _;

use anyhow::anyhow;
use keybroker_common::{
    broker::RegisterRequest,
    dialect::{Dialect, Dialects},
    ids::WorkloadId,
    workload::Registration,
};
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// The dialects of the workload's guests.
#[derive(Debug, clap::Args)]
pub(super) struct DialectArgs {
    /// The protocol of the workload's guests: `trustee` for Kata's and CoCo's, `v1` for the guest of this
    /// project, which needs init data; `v1,trustee` for both
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',', requires = "workload_id")]
    dialect: Vec<Spoken>,
}

/// A dialect that a registration with a workload id can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Spoken {
    /// The broker's own protocol
    V1,
    /// Trustee's protocol, in every version
    Trustee,
}

impl DialectArgs {
    /// The dialects, if any are named.
    pub(super) fn read(&self) -> Result<Option<Dialects>, Failure> {
        if self.dialect.is_empty() {
            return Ok(None);
        }
        let named = self.dialect.iter().map(|spoken| match spoken {
            Spoken::V1 => Dialect::Native,
            Spoken::Trustee => Dialect::Trustee,
        });
        let dialects = Dialects::try_from(named.collect::<Vec<_>>());
        dialects.map(Some).map_err(|error| Failure::new(Exit::Usage, error).context("--dialect"))
    }
}

/// Whether guests of Trustee, and no others, are registered: their init data is theirs to write.
pub(super) fn alone(dialects: Option<&Dialects>) -> bool {
    dialects.and_then(Dialects::only) == Some(Dialect::Trustee)
}

/// Whether guests of Trustee are registered, perhaps beside others.
pub(super) fn among(dialects: Option<&Dialects>) -> bool {
    dialects.is_some_and(|dialects| dialects.contains(Dialect::Trustee))
}

/// The place of the broker, as a guest of Trustee is told.
#[derive(Debug, Serialize)]
pub(super) struct Kbs {
    /// The URL of the broker, with the path that names the workload.
    url: String,
    /// The parameter of the guest's kernel.
    aa_kbc_params: String,
    /// Whether the guest may go without the path: its HOST_DATA selects the workload.
    selected_by_host_data: bool,
    /// Whether nobody said at which address guests reach the broker.
    #[serde(skip)]
    pub(super) unknown: bool,
}

impl Kbs {
    /// Stands for an address that is not known.
    const BROKER: &'static str = "https://BROKER";

    /// The broker at `base`, for the guests of `request`, if they are Trustee's.
    pub(super) fn of(request: &RegisterRequest, base: Option<&str>) -> Option<Self> {
        if !request.dialects.contains(Dialect::Trustee) {
            return None;
        }
        let address = base.unwrap_or(Self::BROKER).trim_end_matches('/');
        let url = format!("{address}/w/{}", segment(&request.workload_id));
        Some(Self {
            aa_kbc_params: format!("cc_kbc::{url}"),
            url,
            selected_by_host_data: selects(request),
            unknown: base.is_none(),
        })
    }

    /// Whether guests of Trustee can name the workload of `request` by their URL alone.
    pub(super) fn is_named_by(request: &RegisterRequest) -> bool {
        request.dialects.contains(Dialect::Trustee) && !selects(request)
    }

    /// The lines about it.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        vec![("KBS URL", self.url.clone()), ("kernel", format!("agent.aa_kbc_params={}", self.aa_kbc_params))]
    }
}

fn selects(request: &RegisterRequest) -> bool {
    let registration = Registration {
        serial: uuid::Uuid::nil(),
        dialects: request.dialects.clone(),
        owner: None,
        reference_values: request.reference_values.clone(),
        policy: request.policy.clone(),
        rego: None,
    };
    registration.selected_by().is_some()
}

/// An id as a segment of a path.
fn segment(id: &WorkloadId) -> String {
    let mut segment = String::new();
    for byte in id.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(byte.into());
        } else {
            // Writing to a String does not fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

/// Refuses an address of the broker from which no URL for guests of Trustee can be made.
pub(crate) fn check_broker(base: &str) -> Result<(), Failure> {
    let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    let wrong = match rest {
        None => "must begin with https:// or http://",
        Some(rest) if rest.starts_with('/') || rest.is_empty() => "must name a host",
        Some(rest) if rest.contains("::") => {
            "must not have `::`, at which clients split agent.aa_kbc_params: give an IPv6 address a name"
        }
        Some(rest) if rest.contains("/w/") || rest.contains("/kbs/") => {
            "must be the broker's alone: the command adds /w/ and the id, and clients add /kbs/v0/…"
        }
        Some(rest) if !rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@".contains(&byte)) => {
            "must be ASCII without spaces, ?, # and @"
        }
        Some(_) => return Ok(()),
    };
    Err(Failure::new(Exit::Usage, anyhow!("--broker {base:?} {wrong}")))
}

/// The failure that only a disk's document has what `flag` is about.
pub(super) fn for_disks(flag: &str) -> Failure {
    Failure::new(Exit::Usage, anyhow!("{flag} is for guests that open a disk by a document of this project"))
        .hint("give each secret with --resource repository/type/tag=FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_of_a_url() {
        for (id, expected) in [("web-1.0_~", "web-1.0_~"), ("a@b:c;d", "a%40b%3Ac%3Bd"), ("ü", "%C3%BC")] {
            assert_eq!(segment(&WorkloadId::new(id).unwrap()), expected);
        }
    }

    #[test]
    fn the_address_of_the_broker_makes_a_url() {
        for base in
            ["https://k.example.org", "http://127.0.0.1:8080/", "https://k.example.org/keys", "http://kbs"]
        {
            assert!(check_broker(base).is_ok(), "{base}");
        }
        for base in [
            "k.example.org",
            "ftp://k.example.org",
            "https://",
            "https:///w",
            "http://[::1]:8080",
            "https://k.example.org/w/web",
            "https://k.example.org/kbs/v0",
            "https://k.example.org/ x",
            "https://k.example.org?x",
            "https://user@k.example.org",
            "https://ü.example.org",
            "",
        ] {
            assert!(check_broker(base).is_err(), "{base}");
        }
    }

    #[test]
    fn dialects_are_named_once() {
        let read = |dialect: &[Spoken]| DialectArgs { dialect: dialect.to_vec() }.read();
        let both = read(&[Spoken::Trustee, Spoken::V1]).unwrap().unwrap();
        assert_eq!(both.iter().collect::<Vec<_>>(), [Dialect::Native, Dialect::Trustee]);
        assert!(alone(read(&[Spoken::Trustee]).unwrap().as_ref()));
        assert!(!alone(Some(&both)) && !alone(None));
        assert!(read(&[]).unwrap().is_none() && read(&[Spoken::V1, Spoken::V1]).is_err());
    }
}
