//! Real boots: Debian's kernel and initrds under QEMU, with the guest in them, a broker, and a host that does
//! what hosts can do.
//!
//! A genuine boot ends with a line from inside the opened volume. Every other boot ends with a line of the
//! guest that says why, and the machine has powered off.
//!
//! | module | what it shows |
//! |---|---|
//! | `genuine` | each plug-in opens the root, whatever brings the document |
//! | `krun` | krun's `/init` opens an image of buildah's, and lets the workload do no more than run |
//! | `patience` | a broker that is down, a KDS that is slow, and lost packets are waited for |
//! | `refused` | a guest or a disk that is not the registered one opens nothing |
//! | `ways_in` | no prompt and no credential helps a host that withholds the disk |
//! | `plugins` | no initrd is built with a command line that leaves a way in |
//!
//! Tests that take a minute or longer run with `tests/run --boots` alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod bench;
mod genuine;
mod krun;
mod patience;
mod plugins;
mod refused;
mod ways_in;
