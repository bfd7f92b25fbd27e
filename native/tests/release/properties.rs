//! The transcript, over requests at random.

use keybroker_initdata::{Algorithm, InitDataDigest, KeyId};
use keybroker_native::{Ask, Suite};
use proptest::{prelude::*, sample::select};

prop_compose! {
    /// Few different values, so that two requests are often alike in all but one field, or none.
    fn ask()(
        (challenge, workload) in ("[ab]{0,2}", "[ab]{0,2}"),
        secrets in prop::collection::vec("[ab]{0,2}", 0..3),
        suite in select(&Suite::ALL[..]),
        public_key in prop::collection::vec(0..2_u8, 0..3),
        (algorithm, byte) in (select(&Algorithm::ALL[..]), 0..2_u8),
        broker_keys in prop::collection::vec(0..2_u8, 0..3),
    ) -> Ask {
        let init_data = InitDataDigest::new(algorithm, vec![byte; algorithm.digest_len()]).unwrap();
        let broker_keys = broker_keys.into_iter().map(|byte| KeyId::from_bytes([byte; 32])).collect();
        Ask { challenge, workload, secrets, suite, public_key, init_data, broker_keys }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// No two requests share a transcript, wherever the border between two fields is.
    #[test]
    fn a_transcript_is_one_requests(one in ask(), other in ask()) {
        prop_assert_eq!(one == other, one.transcript() == other.transcript());
    }

    /// Text that moves from one field into the next is another request.
    #[test]
    fn borders_are_in_the_transcript(ask in ask(), text in "[ab]{1,3}") {
        let (mut before, mut behind) = (ask.clone(), ask);
        before.challenge.push_str(&text);
        behind.workload.insert_str(0, &text);
        prop_assert_ne!(before.transcript(), behind.transcript());
    }
}
