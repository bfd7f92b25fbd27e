//! A guest: a fresh RSA key, and reports bound to it.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::{KeySize, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey},
};
use data_encoding::BASE64;
use keybroker_common::{
    binding::SentReport, broker::Evidence, challenge::Challenge, decision::EvidenceDigest,
    secret::seal::GuestKey, wire::handshake::KeyTexts,
};
use keybroker_simulator::{
    pki::{Chip, VekKey},
    report::ReportFields,
};
use sha2::{Digest, Sha512};
use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};

/// A key pair as a guest makes one at each boot.
pub struct KeyPair {
    private: Pkcs1PrivateDecryptingKey,
    public: GuestKey,
    /// The numbers as texts, exactly as sent.
    pub texts: KeyTexts,
}

impl KeyPair {
    fn generate() -> Self {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
        let (_, info) = SubjectPublicKeyInfo::from_der(der.as_ref()).unwrap();
        let PublicKey::RSA(rsa) = info.parsed().unwrap() else { panic!("an RSA key") };
        // DER puts a zero before a number whose first bit is set, libkrun's guest does not send it.
        let modulus = rsa.modulus.strip_prefix(&[0]).unwrap_or(rsa.modulus);
        let texts = KeyTexts { modulus: BASE64.encode(modulus), exponent: BASE64.encode(rsa.exponent) };
        let public = GuestKey::rsa(modulus, rsa.exponent).unwrap();
        Self { private: Pkcs1PrivateDecryptingKey::new(private).unwrap(), public, texts }
    }

    /// The modulus as RFC 7638 has it.
    pub fn modulus_base64url(&self) -> String {
        let modulus = BASE64.decode(self.texts.modulus.as_bytes()).unwrap();
        data_encoding::BASE64URL_NOPAD.encode(&modulus)
    }

    /// The contents of a release, for a holder of the private key.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut clear = vec![0; self.private.min_output_size()];
        self.private.decrypt(sealed, &mut clear).ok().map(|clear| clear.to_vec())
    }
}

/// The guest's key of most tests.
pub static KEY: LazyLock<KeyPair> = LazyLock::new(KeyPair::generate);
/// Somebody else's.
pub static OTHER_KEY: LazyLock<KeyPair> = LazyLock::new(KeyPair::generate);

/// Evidence of a guest on `chip` with `key`, as it should be.
pub fn evidence(chip: &Chip, key: &KeyPair, challenge: &Challenge) -> Evidence {
    evidence_with(chip, key, challenge, |_| {})
}

/// The same with the report's fields altered before the chip signs it.
pub fn evidence_with(
    chip: &Chip,
    key: &KeyPair,
    challenge: &Challenge,
    alter: impl FnOnce(&mut ReportFields),
) -> Evidence {
    evidence_signed(chip, &chip.vcek_key(chip.tcb), key, challenge, alter)
}

/// The same, signed by whatever key.
pub fn evidence_signed(
    chip: &Chip,
    signer: &VekKey,
    key: &KeyPair,
    challenge: &Challenge,
    alter: impl FnOnce(&mut ReportFields),
) -> Evidence {
    let hash = Sha512::new()
        .chain_update(challenge.nonce.expose())
        .chain_update(&key.texts.modulus)
        .chain_update(&key.texts.exponent);
    let mut fields = ReportFields { report_data: hash.finalize().into(), ..ReportFields::new(chip) };
    alter(&mut fields);
    let report = fields.sign(signer).to_vec();
    Evidence {
        dialects: challenge.claim.dialects().to_vec(),
        workload_id: None,
        init_data: None,
        // There is no body here: no two reports are the same.
        digest: EvidenceDigest::of(&report),
        report: Ok(SentReport::bare(report)),
        claimed_product: None,
        certificates: Vec::new(),
        guest_key: key.public.clone(),
        binding: Arc::new(key.texts.clone()),
    }
}
