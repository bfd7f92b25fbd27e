//! Evidence, as sev 6.2.1 reads and writes it.

use clients_shared::{
    evidence::{Release, check},
    transcripts,
};

clients_shared::from_6!(V6_2_1, sev_6_2_1, "6.2.1", "B");

#[test]
fn shape_b() {
    check::<V6_2_1>();
}

/// Why the broker takes no report through this crate: it reads the vectors of shape C and drops them.
#[test]
fn mitigation_vectors_are_refused_in_bytes_and_dropped_in_json() {
    let newer =
        transcripts().into_iter().filter(|transcript| transcript.shape == "C" && transcript.report[0] == 5);
    let mut checked = 0;
    for transcript in newer {
        checked += 1;
        assert!(V6_2_1::from_bytes(&transcript.report).is_err(), "{}", transcript.name);
        let bytes = V6_2_1::to_bytes(&transcript.report_json()).expect("a report without vectors");
        assert_ne!(transcript.report[0x1F8..0x208], [0; 16], "{}", transcript.name);
        let mut expected = transcript.report.clone();
        expected[0x1F8..0x208].fill(0);
        assert_eq!(bytes, expected, "{}", transcript.name);
    }
    assert!(checked > 0, "no report of version 5");
}
