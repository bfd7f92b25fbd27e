//! `GET /kbs/v0/resource/{name}`, as keybroker's guest reads it.

use data_encoding::HEXLOWER;

use super::super::Invalid;
use crate::secret::{
    bounds::is_name,
    seal::{Jwe, Sealed},
};

/// Reads a resource's name. One that no resource can have is refused before anything is looked up.
pub fn resource_name(name: &str) -> Result<&str, Invalid> {
    if is_name(name) { Ok(name) } else { Err(Invalid::ResourceName) }
}

/// The answer's body: the members of a flattened JWE. keybroker's guest reads `ciphertext` alone, in
/// lower-case hex, and decrypts it by RSAES-PKCS1-v1_5: so it is where that can be, with the other members
/// empty. A longer secret is a JWE in full (RFC 7516, 7.2.2).
pub fn released(sealed: &Sealed) -> Vec<u8> {
    let pkcs1 = |ciphertext: &[u8]| Jwe {
        protected: String::new(),
        encrypted_key: String::new(),
        iv: String::new(),
        ciphertext: HEXLOWER.encode(ciphertext),
        tag: String::new(),
    };
    match sealed {
        Sealed::Pkcs1(ciphertext) => pkcs1(ciphertext).to_json(),
        Sealed::Jwe(jwe) => jwe.to_json(),
    }
}
