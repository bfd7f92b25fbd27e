//! The outer form of certificates and CRLs: content, algorithm, signature (RFC 5280, 4.1 and 5.1).

use super::{keys::RsaKey, signature::Algorithm};
use crate::der;

/// `tbs`, the outer algorithm and the signature in one SEQUENCE.
pub(super) fn signed(tbs: Vec<u8>, algorithm: Algorithm, signer: RsaKey, corrupt: bool) -> Vec<u8> {
    let mut signature = signer.sign(algorithm, &tbs);
    if let (true, Some(last)) = (corrupt, signature.last_mut()) {
        *last ^= 1;
    }
    der::sequence(&[tbs, algorithm.identifier(), der::bit_string(0, &signature)])
}
