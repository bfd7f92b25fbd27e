//! The wrapping key of a broker on one machine.
