//! The guest's side of the key broker: what runs in a confidential VM, before its disks are open.
//!
//! ```text
//! document ──▶ look ──▶ headers ──▶ release ──▶ cryptsetup
//!  found      own report  read once    challenge,     key by pipe,
//!             and judged  and judged   report, answer header's copy
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`document`], [`command_line`] | where the init data document is found, what binds it, and what is booted |
//! | [`report`] | where reports come from, and the host's certificate table |
//! | [`mod@look`] | the guest's look at its own report, before it asks anybody |
//! | [`transport`] | http and https to a broker, and names to addresses |
//! | [`release`] | from a document to secrets: waits, refusals, the end |
//! | [`disk`] | a header's copy in memory, and cryptsetup |
//! | [`unlock`], [`serve_keys`], [`get`], [`inspect`], [`doctor`] | the commands |
//! | [`krun`] | `/init` of a krun guest |
//! | [`console`], [`failure`], [`exit`] | the lines that a person reads, and the codes that a script reads |
//! | [`unbound`] | the warnings of every run |
//! | [`memory`], [`private`], [`time`], [`root`] | locked memory, files in memory, clocks, where paths begin |
//! | [`cli`] | the command line |

mod arguments;
mod child;
pub mod cli;
pub mod command_line;
pub mod console;
pub mod disk;
pub mod doctor;
pub mod document;
pub mod exit;
pub mod failure;
pub mod get;
pub mod inspect;
pub mod krun;
pub mod look;
pub mod memory;
pub mod private;
pub mod release;
pub mod report;
pub mod root;
pub mod serve_keys;
pub mod time;
pub mod transport;
pub mod unbound;
pub mod unlock;
