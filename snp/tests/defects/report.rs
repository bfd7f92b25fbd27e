use keybroker_simulator::report::SIGNED_BY_NONE;
use keybroker_snp::{
    product::{
        Product::{Milan, Turin},
        TcbVersion,
    },
    report::{ParseError, Report},
    silicon::Cpuid,
    verify::{Inputs, Outcome, VerificationCheck, VerifyError, examine},
};
use keybroker_testing::{Attempt, Refusal, flipped};

fn parse_refusal(attempt: Attempt) -> ParseError {
    match attempt.refusal() {
        Refusal::Report(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_byte_short_or_long() {
    let report = Attempt::vcek(Milan).report_bytes();
    let long = [report.as_slice(), &[0]].concat();
    assert_eq!(Report::parse(&report[..1183]), Err(ParseError::Size(1183)));
    assert_eq!(Report::parse(&long), Err(ParseError::Size(1185)));
    assert_eq!(Report::parse(&[]), Err(ParseError::Size(0)));
}

#[test]
fn unknown_version() {
    for version in [0, 1, 6, 0x102, u32::MAX] {
        let attempt = Attempt::vcek(Milan).fields(|fields| fields.version = version);
        assert_eq!(parse_refusal(attempt), ParseError::Version(version));
    }
}

#[test]
fn another_signature_algorithm() {
    for algorithm in [0, 2, 0x101] {
        let attempt = Attempt::vcek(Milan).fields(|fields| fields.signature_algo = algorithm);
        assert_eq!(parse_refusal(attempt), ParseError::SignatureAlgorithm(algorithm));
    }
}

#[test]
fn reserved_bits_of_the_key_information() {
    for bit in 5..32 {
        let (byte, value) = (0x48 + bit / 8, 1 << (bit % 8));
        let attempt = Attempt { signed_bytes: vec![(byte, value)], ..Attempt::vcek(Milan) };
        assert_eq!(parse_refusal(attempt), ParseError::KeyInfo(1 << bit));
    }
}

#[test]
fn reserved_signing_keys() {
    for key in 2..=6 {
        let attempt = Attempt::vcek(Milan).fields(|fields| fields.signing_key = key);
        assert_eq!(parse_refusal(attempt), ParseError::KeyInfo(key << 2));
    }
}

/// The chip does not sign the signature's own bytes: only the parser can notice.
#[test]
fn padding_behind_r_behind_s_or_behind_both() {
    let report = Attempt::vcek(Milan).report_bytes();
    for padding in [0x2D0..0x2E8, 0x318..0x330, 0x330..0x4A0] {
        for bit in padding.start * 8..padding.end * 8 {
            assert_eq!(Report::parse(&flipped(&report, bit)), Err(ParseError::SignaturePadding), "bit {bit}");
        }
    }
}

fn unsigned() -> Refusal {
    Refusal::Verify(VerificationCheck::Signed, VerifyError::Unsigned)
}

#[test]
fn masked_chip_key() {
    assert_eq!(Attempt::vcek(Milan).fields(|fields| fields.mask_chip_key = true).refusal(), unsigned());
}

#[test]
fn signed_by_no_key() {
    assert_eq!(
        Attempt::vcek(Milan).fields(|fields| fields.signing_key = SIGNED_BY_NONE).refusal(),
        unsigned()
    );
}

/// The bytes that the firmware writes where it was told not to sign.
#[test]
fn a_signature_of_zeros() {
    let attempt = Attempt::vcek(Milan);
    let mut report = attempt.report_bytes();
    report[0x2A0..].fill(0);
    assert_eq!(
        attempt.verify_report(&report, &attempt.endorsements().unwrap()).unwrap_err(),
        Refusal::Verify(VerificationCheck::Signature, VerifyError::Signature)
    );
}

#[test]
fn another_challenge() {
    for byte in 0..64 {
        let attempt = Attempt::vcek(Milan).fields(|fields| fields.report_data[byte] ^= 1);
        assert_eq!(attempt.refusal(), Refusal::Verify(VerificationCheck::Challenge, VerifyError::Challenge));
    }
}

#[test]
fn unknown_cpu() {
    for (family, model) in [(0, 0), (0x17, 0x31), (0x19, 0x20), (0x19, 0xB0), (0x1A, 0x12), (0x1A, 0x50)] {
        let attempt = Attempt::vcek(Milan).fields(|fields| fields.cpuid = [family, model, 0]);
        let error = VerifyError::UnknownProduct(Cpuid { family, model, stepping: 0 });
        assert_eq!(attempt.refusal(), Refusal::Verify(VerificationCheck::Product, error));
    }
    // The line that is known is named, with what a release would need to serve it.
    let venice = VerifyError::UnknownProduct(Cpuid { family: 0x1A, model: 0x50, stepping: 0 }).to_string();
    assert!(venice.contains("It is a Venice") && venice.contains("root certificate (ARK)"), "{venice}");
    let unheard_of = VerifyError::UnknownProduct(Cpuid { family: 0x17, model: 1, stepping: 2 }).to_string();
    assert!(unheard_of.ends_with("is no product that this broker serves"), "{unheard_of}");
}

#[test]
fn masked_chip_id() {
    let attempt = Attempt::vcek(Milan).fields(|fields| fields.chip_id = [0; 64]);
    assert_eq!(attempt.refusal(), Refusal::Verify(VerificationCheck::Identity, VerifyError::ChipMasked));
    assert!(VerifyError::ChipMasked.to_string().contains("the host masks the chip id"));
}

#[test]
fn chip_id_with_bytes_behind_turins_eight() {
    for byte in 8..64 {
        let attempt = Attempt::vcek(Turin).fields(|fields| fields.chip_id[byte] = 1);
        assert_eq!(attempt.refusal(), Refusal::Verify(VerificationCheck::Identity, VerifyError::ChipId));
    }
}

/// The key was derived for the bytes of REPORTED_TCB, reserved ones included.
#[test]
fn reserved_bytes_of_the_reported_tcb() {
    let sound = Attempt::vcek(Milan);
    let certificate = sound.parsed_vek().unwrap().tcb;
    let attempt = Attempt { signed_bytes: vec![(0x182, 1)], ..sound };
    let error = VerifyError::ReportedTcb { report: None, certificate };
    assert_eq!(attempt.refusal(), Refusal::Verify(VerificationCheck::ReportedTcb, error));
}

#[test]
fn signed_by_another_chip() {
    let attempt = Attempt::vcek(Milan);
    let mut other = attempt.clone();
    other.chip = keybroker_simulator::pki::Chip::new(keybroker_simulator::Product::Milan, 2);
    assert_eq!(
        attempt.verify_report(&other.report_bytes(), &attempt.endorsements().unwrap()).unwrap_err(),
        Refusal::Verify(VerificationCheck::Signature, VerifyError::Signature)
    );
}

/// Firmware that signs under the VCEK of current_tcb where the host reports another: the certificate of
/// either gives it away, and vouches for nothing.
#[test]
fn signed_under_the_vcek_of_the_current_tcb() {
    let signed = Attempt::vcek(Milan).fields(|fields| fields.reported_tcb.snp -= 1);
    let current = signed.parsed_vek().unwrap().tcb;
    let reported = TcbVersion { snp: current.snp - 1, ..current };
    let error = VerifyError::SignedAtCurrentTcb { reported, current };
    assert!(error.to_string().contains("signed under the VCEK of current_tcb"), "{error}");
    assert_eq!(signed.refusal(), Refusal::Verify(VerificationCheck::ReportedTcb, error));

    let mut as_reported = signed.clone();
    as_reported.chip = signed.chip.at(signed.fields.reported_tcb);
    let error = VerifyError::SignatureBesideCurrentTcb { reported, current };
    assert!(error.to_string().contains("snphost commit"), "{error}");
    assert_eq!(
        signed.verify_report(&signed.report_bytes(), &as_reported.endorsements().unwrap()).unwrap_err(),
        Refusal::Verify(VerificationCheck::Signature, error)
    );
    // Another chip's certificate tells nothing of this one's firmware.
    let mut others = as_reported.clone();
    let other = keybroker_simulator::pki::Chip::new(keybroker_simulator::Product::Milan, 2);
    others.chip = other.at(signed.fields.reported_tcb);
    let (report, others) = (Report::parse(&signed.report_bytes()).unwrap(), others.parsed_vek().unwrap());
    let inputs = Inputs {
        report: &report,
        report_data: None,
        vek: Some(&others),
        chain: None,
        crl: None,
        further_crls: &[],
        accepted_csp_ids: None,
        now: signed.now,
    };
    let said =
        examine(&inputs).into_iter().find(|(check, _)| *check == VerificationCheck::Signature).unwrap().1;
    assert_eq!(said, Outcome::Failed(VerifyError::Signature));
    // Nothing of that is said of a report that was signed under neither.
    let mut altered = signed.report_bytes();
    altered[0x90] ^= 1;
    let error = VerifyError::ReportedTcb { report: Some(reported), certificate: current };
    assert_eq!(
        signed.verify_report(&altered, &signed.endorsements().unwrap()).unwrap_err(),
        Refusal::Verify(VerificationCheck::ReportedTcb, error)
    );
}
