//! Any bytes: they are refused, or they are what the blob says.

use keybroker_snp::hcl::HclReport;
use proptest::{prelude::*, sample::Index};

use crate::{MACHINE, USER_DATA};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..4200)) {
        prop_assert!(HclReport::parse(&bytes).is_err());
    }

    /// Whatever one byte becomes, the blob is refused, or the report or its hash is another, or nothing that
    /// is read changed.
    #[test]
    fn one_byte_altered(at in any::<Index>(), value in 1..=255_u8) {
        let sound = MACHINE.hcl_report(USER_DATA);
        let mut blob = sound.clone();
        let at = at.index(blob.len());
        blob[at] ^= value;
        let Ok(hcl) = HclReport::parse(&blob) else { return Ok(()) };
        let sound = HclReport::parse(&sound).unwrap();
        let same = hcl.report() == sound.report() && hcl.claims() == sound.claims();
        // The header's version, the kind of request, the status and what is reserved.
        let unread = (4..8).contains(&at) || (12..32).contains(&at);
        prop_assert_eq!(same, unread, "byte {}", at);
        if hcl.claims() != sound.claims() {
            prop_assert_ne!(hcl.expected_report_data(), sound.expected_report_data());
        }
    }
}
