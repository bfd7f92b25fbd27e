//! The parsers, over bytes that an attacker chose: they refuse, they never panic.

use std::sync::{Arc, LazyLock};

use keybroker_simulator::pki::pem;
use keybroker_snp::{
    anchors::{TrustAnchors, pem_certificates},
    authority::TrustAnchor,
    chain::Intermediate,
    crl::Crl,
    product::Product::{Milan, Turin},
    report::Report,
    vek::Vek,
};
use keybroker_testing::Attempt;
use proptest::{prelude::*, sample::Index};

static ANCHORS: LazyLock<Vec<Arc<TrustAnchor>>> = LazyLock::new(|| Attempt::vcek(Milan).anchors().unwrap());

/// The sound inputs of the parsers.
static SOUND: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let (milan, turin) = (Attempt::vcek(Milan), Attempt::vlek(Turin));
    let (ask, ark) = (milan.issuer_der(), milan.ark_der());
    let chain = (pem(&ask) + &pem(&ark)).into_bytes();
    vec![
        milan.report_bytes(),
        milan.simulated_vek().certificate,
        turin.simulated_vek().certificate,
        ask,
        milan.crl_der(),
        chain,
        ark,
    ]
});

/// Every parser of what comes from outside.
fn parse(bytes: &[u8]) {
    let _ = Report::parse(bytes);
    let _ = Vek::parse(bytes);
    let _ = TrustAnchor::new(bytes);
    let _ = Intermediate::verify(bytes, &ANCHORS);
    let _ = Crl::verify(bytes, &ANCHORS);
    let _ = pem_certificates(bytes);
    let _ = TrustAnchors::default().add_pem(bytes);
}

/// An edit of sound input, where it reaches far into the parsers: a byte set, bytes cut out, bytes put in.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Cut(Index, usize),
    Insert(Index, Vec<u8>),
    Truncate(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Edit::Set(at, value)),
        1 => (any::<Index>(), 1..8_usize).prop_map(|(at, count)| Edit::Cut(at, count)),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, new)| Edit::Insert(at, new)),
        1 => any::<Index>().prop_map(Edit::Truncate),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        let index = |at: Index, bytes: &[u8]| at.index(bytes.len().max(1)).min(bytes.len());
        match edit {
            Edit::Set(at, value) => {
                let at = index(at, &bytes);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
            }
            Edit::Cut(at, count) => {
                let at = index(at, &bytes);
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Edit::Insert(at, new) => {
                let at = index(at, &bytes);
                bytes.splice(at..at, new);
            }
            Edit::Truncate(at) => {
                let at = index(at, &bytes);
                bytes.truncate(at);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        parse(&bytes);
    }

    #[test]
    fn arbitrary_bytes_of_a_reports_size(
        bytes in prop::collection::vec(any::<u8>(), Report::SIZE), version in 2..=5_u8,
    ) {
        let mut bytes = bytes;
        bytes[..4].copy_from_slice(&[version, 0, 0, 0]);
        bytes[0x34..0x38].copy_from_slice(&[1, 0, 0, 0]);
        bytes[0x48..0x4C].copy_from_slice(&[0; 4]);
        bytes[0x2D0..0x2E8].fill(0);
        bytes[0x318..].fill(0);
        let report = Report::parse(&bytes).unwrap();
        prop_assert_eq!(report.as_bytes().as_slice(), bytes.as_slice());
        let _ = format!("{report:?} {:?}", report.reported_tcb(Turin));
    }

    #[test]
    fn edited_evidence(which in any::<Index>(), edits in prop::collection::vec(edit(), 1..6)) {
        parse(&edited(which.get(&SOUND).clone(), edits));
    }
}

#[test]
fn sound_input_is_parsed() {
    let [report, vcek, vlek, ask, crl, pem, ark] = SOUND.as_slice() else { panic!("seven") };
    Report::parse(report).unwrap();
    Vek::parse(vcek).unwrap();
    Vek::parse(vlek).unwrap();
    Intermediate::verify(ask, &ANCHORS).unwrap();
    Crl::verify(crl, &ANCHORS).unwrap();
    assert_eq!(pem_certificates(pem).unwrap(), [ask.clone(), ark.clone()]);
    TrustAnchor::new(ark).unwrap();
}
