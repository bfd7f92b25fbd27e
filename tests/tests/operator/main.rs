//! The operator's commands, on each kind of store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod audit_list;
mod audit_words;
mod aws;
mod certificates;
mod core_files;
mod doctor;
mod export;
mod hints;
mod id_block;
mod import_trustee;
mod keys;
mod measure;
mod permissions;
mod planted;
mod register;
mod register_asks;
mod register_disk;
mod register_flags;
mod register_trustee;
mod resource;
mod revoke;
mod rewrap;
mod rewrap_aws;
mod signing_keys;
mod socket;
mod tcb;
mod token;
mod workload;
