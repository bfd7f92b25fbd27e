//! The messages of Trustee's guests.

pub mod evidence;
