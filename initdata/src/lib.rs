//! The document that a guest is bound to, and the judging of the disk that its host gives it.
//!
//! | module | holds |
//! |---|---|
//! | [`document`] | the init data document of Confidential Containers, with our file `keybroker.toml` in it |
//! | [`digest`] | the digest of a document, and the HOST_DATA that carries it |
//! | [`broker_key`] | the key that signs a broker's answers, and its short name |
//! | [`volume_key`] | the digest of a disk's volume key, and the facts of its segment |
//! | [`luks`] | reads a LUKS1 or LUKS2 header, and judges it by the document |
//! | [`trailer`] | what buildah writes behind a disk image |
//!
//! The crate does no I/O and reads no clock. It decides nothing about reports: that is the broker's work and
//! the guest's.

pub mod broker_key;
pub mod digest;
pub mod document;
pub mod luks;
pub mod trailer;
pub mod volume_key;

pub use broker_key::{BrokerKey, KeyId};
pub use digest::{Algorithm, InitDataDigest};
pub use document::{Binding, Disk, Document, DocumentError, Settings, digest_of};
