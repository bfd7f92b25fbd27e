//! `keybroker audit`: what was decided, and why.

#[cfg_attr(not(test), expect(dead_code, reason = "for the command"))]
pub(crate) mod explain;
