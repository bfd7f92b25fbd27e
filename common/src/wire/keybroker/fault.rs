//! Why a registration by reference values is not one that can be held to.

use crate::{
    platform::DemandError,
    requirements::KeyDigests,
    secret::bounds::{MAX_SECRET_LEN, MAX_SECRETS},
};

/// Why a registration is refused, by the field that is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationFault {
    /// Neither a launch measurement nor an ID key.
    #[error("no measurement and no id_key_digest: any genuine SNP guest would be admitted")]
    Unbound,
    /// Not launch measurements.
    #[error("{0} is not one or more measurements of 96 hex digits")]
    Measurement(&'static str),
    /// Reference values that have no names.
    #[error("reference_values is not an object")]
    ReferenceValues,
    /// Two sets of measurements that no guest is in.
    #[error("measurements and reference_values.measurement have nothing in common")]
    Disjoint,
    /// Not hex of the right length.
    #[error("require.{0} is not {1} hex digits")]
    Hex(&'static str, usize),
    /// A digest of zeros, which says that there is none.
    #[error("{0} is all zeros, as of every guest that has none")]
    Zeros(&'static str),
    /// Not a choice of keys.
    #[error("require.{0} is not 1 to {most} digests, each once", most = KeyDigests::MOST)]
    Keys(&'static str),
    /// HOST_DATA is not the client's to choose.
    #[error(
        "require.host_data: the broker chooses HOST_DATA, which selects a registration and proves nothing"
    )]
    HostData,
    /// HOST_DATA that is not the digest of the init data that it binds.
    #[error("require.host_data is not the digest of init_data, which it binds")]
    OtherHostData,
    /// A workload id without init data, or init data without one.
    #[error("v1 needs workload_id and init_data together, and init_data needs workload_id")]
    InitDataAlone,
    /// Dialects of guests that another registration is for.
    #[error("dialects: v1 and trustee may be named, and no other")]
    Dialects,
    /// Dialects without the id that their guests name.
    #[error("dialects needs workload_id")]
    DialectsAlone,
    /// Init data that a guest of Trustee's is not tied to.
    #[error("init_data.bound_by must be host_data where dialects names trustee")]
    TrusteeBinding,
    /// A document that has no digest.
    #[error("init_data.document is not TOML with version 0.1.0, algorithm and data")]
    AnyDocument,
    /// Init data that is neither a document nor a digest.
    #[error("init_data is not a document, or an algorithm (sha256, sha384, sha512) with a digest in hex")]
    InitData,
    /// A document of init data that cannot be read.
    #[error("init_data.document is not init data for keybroker-guest: keybroker register --disk says why")]
    Document,
    /// The document names another workload.
    #[error("init_data.document names another workload than workload_id")]
    OtherWorkload,
    /// The document says that it is bound by something else.
    #[error("init_data.document has another binding than init_data.bound_by")]
    OtherBinding,
    /// A requirement that every guest satisfies.
    #[error("require.{0} would require nothing")]
    Nothing(&'static str),
    /// A field of an ID block that anybody may have written.
    #[error("require.{0} proves nothing without id_key_digest or author_key_digest")]
    Unsigned(&'static str),
    /// A form of evidence that is not served, or the one that needs no naming.
    #[error("require.evidence is not \"az-snp-vtpm\"; without it the bare report is required")]
    Evidence,
    /// A tie between guest and registration that no Azure VM has.
    #[error(
        "with require.evidence az-snp-vtpm nothing binds a guest's HOST_DATA or init data: name workload_id, no \
         require.host_data, and init_data.bound_by nothing or no init_data"
    )]
    BoundOnAzure,
    /// A demand on the platform that cannot be checked.
    #[error("{field} {fault}", field = .0, fault = .1.short())]
    Demand(&'static str, DemandError),
    /// A field that decides nothing without a query.
    #[error("{0} would be ignored without a query")]
    Ignored(&'static str),
    /// Too many resources.
    #[error("more than {MAX_SECRETS} resources")]
    ResourceCount,
    /// A name that does not fit into a path as it stands.
    #[error("a resource's name is not 1 to 64 of A-Z a-z 0-9 . _ - (three of them with slashes for trustee)")]
    ResourceName,
    /// An empty secret, or one that is too long to wrap.
    #[error("a resource has not 1 to {MAX_SECRET_LEN} bytes")]
    ResourceLength,
}
