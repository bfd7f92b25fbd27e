//! AMD SEV-SNP in software, for the test suites and for `keybroker demo`.
//!
//! | module | stands for |
//! |---|---|
//! | [`pki`] | AMD's certificates (ARK, ASK, ASVK, VCEK, VLEK) and CRL, sound or with any defect asked for |
//! | [`report`] | the secure processor that signs attestation reports |
//! | [`kds`] | AMD's Key Distribution Service, with failures on demand |
//! | [`guest`] | confidential guests: libkrun's C client to the byte, keybroker's, Trustee's, and a well-behaved one |
//! | [`paravisor`] | Azure's paravisor, which asks the chip on a guest's behalf |
//! | [`build`] | `buildah`, which registers a workload |
//! | [`rvp`] | keybroker's `rvp_cli`, which registers reference values |
//! | [`tls`] | an authority that vouches for a server's name, for what stands before a broker |
//! | [`http`] | the raw HTTP/1.1 exchange that guests and builds speak |
//!
//! Nothing here is secret or secure: the process that uses the root keys makes them. The crate shares no code
//! with the broker, so that an error in reading AMD's formats on one side shows on the other.

pub mod build;
pub mod disk;
pub mod guest;
pub mod http;
pub mod kds;
pub mod paravisor;
pub mod pki;
pub mod report;
pub mod rvp;
pub mod tls;

mod der;
#[cfg(test)]
mod listener;
mod product;

pub use product::{Product, Tcb};
