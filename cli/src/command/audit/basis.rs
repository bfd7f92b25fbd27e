//! The basis of an attestation, in words.

use keybroker_common::{
    audit::{AuditRecord, Basis, CrlEdition},
    encoding::{Base64, Hex},
};

/// The basis of `record` in whole sentences. A record without a basis gives none: it decided nothing about
/// evidence, or release 0.1 wrote it.
pub(super) fn words(record: &AuditRecord) -> Vec<String> {
    let Some(Basis { anchor, simulated, vek, crls, guest_key, fleet }) = &record.basis else {
        return Vec::new();
    };
    let root = if *simulated {
        "a root that is not AMD's, added with --trust-anchor. SIMULATED: nothing proves that the hardware is \
         genuine"
    } else {
        "AMD's own root for the product"
    };
    let lists: Vec<_> = crls.iter().map(list).collect();
    vec![
        format!("The report was verified up to {root}."),
        format!("That root's certificate, the ARK's, has the SHA-256 {}.", hex(anchor)),
        format!("The key that signed the report has the certificate with SHA-256 {}.", hex(vek)),
        format!("Revocation was looked up in the ARK's {}.", lists.join(" and its ")),
        format!("The guest's key has the JWK thumbprint {} (RFC 7638, SHA-256).", hex(guest_key)),
        format!("The operator's demands on every guest have the SHA-256 {}.", hex(fleet)),
    ]
}

fn list(CrlEdition { this_update, number }: &CrlEdition) -> String {
    match number {
        Some(number) => format!("list number {number} of {this_update}"),
        None => format!("list of {this_update}, which has no number"),
    }
}

/// The form in which openssl, sha256sum and the like print digests.
fn hex(digest: &Base64<32>) -> Hex<32> {
    Hex(digest.0)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keybroker_common::audit::{Decision, Operation};

    use super::*;

    #[test]
    fn a_basis_is_told_with_its_root_lists_and_digests() {
        let mut record = AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Attest, Decision::Attested);
        assert_eq!(words(&record), Vec::<String>::new(), "a record of release 0.1");
        let crls = vec![
            CrlEdition { this_update: Timestamp::UNIX_EPOCH, number: Some("7".to_owned()) },
            CrlEdition { this_update: Timestamp::UNIX_EPOCH, number: None },
        ];
        let [anchor, vek, guest_key, fleet] = [1, 2, 3, 4].map(|byte| Base64([byte; 32]));
        record.basis = Some(Basis { anchor, simulated: false, vek, crls, guest_key, fleet });
        assert_eq!(
            words(&record),
            [
                "The report was verified up to AMD's own root for the product.".to_owned(),
                format!("That root's certificate, the ARK's, has the SHA-256 {}.", "01".repeat(32)),
                format!("The key that signed the report has the certificate with SHA-256 \
                         {}.", "02".repeat(32)),
                "Revocation was looked up in the ARK's list number 7 of 1970-01-01T00:00:00Z and its list of \
                 1970-01-01T00:00:00Z, which has no number."
                    .to_owned(),
                format!("The guest's key has the JWK thumbprint {} (RFC 7638, SHA-256).", "03".repeat(32)),
                format!("The operator's demands on every guest have the SHA-256 {}.", "04".repeat(32)),
            ]
        );
        if let Some(basis) = &mut record.basis {
            basis.simulated = true;
        }
        assert!(words(&record)[0].contains("SIMULATED: nothing proves"), "{:?}", words(&record));
    }
}
