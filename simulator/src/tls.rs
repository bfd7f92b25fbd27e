//! A TLS authority, and the servers that it certifies.
// No library refuses a key that was just made, and signing with it fails only without memory. A fixture that
// cannot be made has to stop.
#![allow(clippy::expect_used)]

use std::net::IpAddr;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};

use crate::der::{self, Oid};

const ECDSA_WITH_SHA256: Oid = Oid(&[1, 2, 840, 10045, 4, 3, 2]);
const EC_PUBLIC_KEY: Oid = Oid(&[1, 2, 840, 10045, 2, 1]);
const PRIME256V1: Oid = Oid(&[1, 2, 840, 10045, 3, 1, 7]);
const COMMON_NAME: Oid = Oid(&[2, 5, 4, 3]);
const BASIC_CONSTRAINTS: Oid = Oid(&[2, 5, 29, 19]);
const SUBJECT_ALT_NAME: Oid = Oid(&[2, 5, 29, 17]);
const EXT_KEY_USAGE: Oid = Oid(&[2, 5, 29, 37]);
const SERVER_AUTH: Oid = Oid(&[1, 3, 6, 1, 5, 5, 7, 3, 1]);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A certificate authority of its own.
#[derive(Debug)]
pub struct Authority {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
}

/// The certificate and key with which a TLS server proves its name.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key, PKCS #8.
    pub key: Vec<u8>,
}

impl Identity {
    /// Its certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Its key, PEM.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// The name of a server.
#[derive(Debug, Clone, Copy)]
pub enum ServerName<'a> {
    /// A DNS name.
    Dns(&'a str),
    /// An IP address.
    Address(IpAddr),
}

impl Authority {
    /// A new authority with a new key. It is valid today.
    pub fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let is_ca = extension(BASIC_CONSTRAINTS, true, &der::sequence(&[der::boolean(true)]));
        let certificate = certificate(AUTHORITY, AUTHORITY, &key, &[is_ca], &key);
        Self { key, certificate }
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Issues a certificate for a server of this name, with a new key.
    pub fn issue(&self, name: ServerName<'_>) -> Identity {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let name = match name {
            ServerName::Dns(name) => der::tlv(0x82, name.as_bytes()),
            ServerName::Address(IpAddr::V4(address)) => der::tlv(0x87, &address.octets()),
            ServerName::Address(IpAddr::V6(address)) => der::tlv(0x87, &address.octets()),
        };
        let extensions = [
            extension(SUBJECT_ALT_NAME, false, &der::sequence(&[name])),
            extension(EXT_KEY_USAGE, false, &der::sequence(&[der::oid(SERVER_AUTH)])),
        ];
        let certificate = certificate("server", AUTHORITY, &key, &extensions, &self.key);
        let key = key.to_pkcs8v1().expect("a key").as_ref().to_vec();
        Identity { certificate, key }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

const AUTHORITY: &str = "Test authority for TLS";

/// A certificate of version 3 (RFC 5280, 4.1), valid from yesterday until tomorrow.
fn certificate(
    subject: &str,
    issuer: &str,
    key: &EcdsaKeyPair,
    extensions: &[Vec<u8>],
    signer: &EcdsaKeyPair,
) -> Vec<u8> {
    let now = Timestamp::now();
    let algorithm = der::sequence(&[der::oid(ECDSA_WITH_SHA256)]);
    let spki = der::sequence(&[
        der::sequence(&[der::oid(EC_PUBLIC_KEY), der::oid(PRIME256V1)]),
        der::bit_string(0, key.public_key().as_ref()),
    ]);
    let tbs = der::sequence(&[
        der::explicit(0, &der::integer(&[2])),
        der::integer(&[1]),
        algorithm.clone(),
        name(issuer),
        der::sequence(&[der::time(now - DAY), der::time(now + DAY)]),
        name(subject),
        spki,
        der::explicit(3, &der::sequence(extensions)),
    ]);
    let signature = signer.sign(&SystemRandom::new(), &tbs).expect("a signature");
    der::sequence(&[tbs, algorithm, der::bit_string(0, signature.as_ref())])
}

fn name(common_name: &str) -> Vec<u8> {
    der::sequence(&[der::set(&[der::sequence(&[der::oid(COMMON_NAME), der::utf8(common_name)])])])
}

fn extension(oid: Oid, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![der::oid(oid)];
    if critical {
        parts.push(der::boolean(true));
    }
    parts.push(der::octet_string(value));
    der::sequence(&parts)
}
