//! Beside `sev`, the implementation by AMD's own engineers: what this broker accepts, `sev` accepts too, and
//! both read the same out of a report.
//!
//! `sev` looks at signatures alone; where this broker demands more stands in [`stricter`], where less in
//! [`looser`].
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/peer.rs"]
mod peer;

use jiff::SignedDuration;
use keybroker_simulator::{
    pki::{Algorithm, Ca, CrlOptions, Overrides, RsaKey, extension},
    report::{SIGNED_BY_NONE, SIGNED_BY_VCEK},
};
use keybroker_snp::{
    endorsement::EndorsementKind::{Vcek, Vlek},
    product::{
        Product::{self, Genoa, Milan, Turin},
        TcbVersion,
    },
    report::Report,
};
use keybroker_testing::{
    Attempt,
    attempt::{NOW, signing_key},
    fields::fields,
    flipped,
    genuine::{self, Genuine, sev_file, vectors_directory},
    simulated, time,
};
use peer::{Evidence, sev_report};
use proptest::{prelude::*, sample::Index};
use sev::firmware::host::TcbVersion as SevTcb;

fn evidence(attempt: &Attempt) -> Evidence {
    Evidence {
        ark: attempt.ark_der(),
        issuer: attempt.issuer_der(),
        vek: attempt.simulated_vek().certificate,
        report: attempt.report_bytes(),
    }
}

/// The same with AMD's own authorities, as `sev` carries them.
fn genuine_evidence(genuine: &Genuine) -> Evidence {
    let line = genuine.product.name().to_lowercase();
    let certificate = |name: &str| {
        let pem = sev_file(&format!("src/certs/snp/builtin/{line}/{name}.pem"));
        keybroker_snp::anchors::pem_certificates(&pem).unwrap().remove(0)
    };
    Evidence {
        ark: certificate("ark"),
        issuer: genuine.asvk.clone().unwrap_or_else(|| certificate("ask")),
        vek: genuine.vek.clone(),
        report: genuine.report.clone(),
    }
}

#[test]
fn both_accept_genuine_evidence() {
    for genuine in genuine::all() {
        genuine.chain().unwrap();
        genuine_evidence(&genuine).sev_verify().unwrap_or_else(|error| panic!("{}: {error}", genuine.name));
    }
}

#[test]
fn both_accept_what_is_sound() {
    for product in Product::ALL {
        for kind in [Vcek, Vlek] {
            for version in 2..=5 {
                let attempt = Attempt::new(product, kind).fields(|fields| fields.version = version);
                attempt.verify().unwrap();
                // See `looser`: sev cannot read version 2 of a chip that does not say which it is.
                let accepts = evidence(&attempt).sev_accepts();
                assert_eq!(accepts, (version, kind) != (2, Vlek), "{product} {kind} version {version}");
            }
        }
    }
}

/// The reports that `sev` accepts and this broker refuses, with the reason.
fn stricter() -> Vec<(&'static str, Attempt)> {
    let usual = Overrides::default;
    let second = SignedDuration::from_secs(1);
    let milan = || Attempt::vcek(Milan);
    let vek = |overrides| milan().certified(overrides);
    let issuer = |issuer| Attempt { issuer, ..milan() };
    let ark = |ark| Attempt { ark: Some(ark), ..milan() };
    let crl = |crl| Attempt { crl, ..milan() };
    let past = || Some(time(NOW) - second);
    let future = || Some(time(NOW) + second);
    let named = |name: &str| Some(name.to_owned());
    let flip = |bit: usize| milan().fields(|fields| fields.report_data[bit / 8] ^= 1 << (bit % 8));
    vec![
        ("a report answers one challenge only", flip(0)),
        (
            "a chip that was told not to sign has not signed",
            milan().fields(|fields| fields.mask_chip_key = true),
        ),
        ("nor has one that names no key", milan().fields(|fields| fields.signing_key = SIGNED_BY_NONE)),
        ("reserved signing keys mean nothing that is known", milan().fields(|fields| fields.signing_key = 2)),
        (
            "a VLEK does not stand in for a VCEK",
            Attempt::vlek(Milan).fields(|fields| fields.signing_key = SIGNED_BY_VCEK),
        ),
        ("another algorithm is another signature", milan().fields(|fields| fields.signature_algo = 2)),
        ("a layout that is not known is not read", milan().fields(|fields| fields.version = 6)),
        ("reserved bits of the key information", Attempt { signed_bytes: vec![(0x4B, 0x80)], ..milan() }),
        ("the certificate is for one chip", milan().fields(|fields| fields.chip_id[63] ^= 1)),
        ("the certificate is for one TCB", milan().fields(|fields| fields.reported_tcb.snp -= 1)),
        ("the CPU is of the certificate's product", milan().fields(|fields| fields.cpuid = [0x19, 0x11, 0])),
        ("Venice is not supported", Attempt::vcek(Turin).fields(|fields| fields.cpuid = [0x1A, 0x50, 0])),
        ("a provider is trusted by name", Attempt { accepted_csp_ids: vec![], ..Attempt::vlek(Milan) }),
        ("an expired VEK", vek(Overrides { not_after: past(), ..usual() })),
        ("a VEK of tomorrow", vek(Overrides { not_before: future(), ..usual() })),
        ("an expired ASK", issuer(Overrides { not_after: past(), ..usual() })),
        ("an expired ARK", ark(Overrides { not_after: past(), ..usual() })),
        ("names must chain", vek(Overrides { issuer_cn: named("SEV-Genoa"), ..usual() })),
        ("names must chain up to the root", issuer(Overrides { issuer_cn: named("ARK-Genoa"), ..usual() })),
        ("AMD's names only", vek(Overrides { subject_cn: named("VCEK"), ..usual() })),
        ("no certificate without extensions", vek(Overrides { version_1: true, ..usual() })),
        ("one algorithm, named once", vek(Overrides { inner_algorithm: Some(Algorithm::PSS), ..usual() })),
        (
            "an extension twice reads two ways",
            vek(Overrides { duplicate: Some(extension::oid::SNP), ..usual() }),
        ),
        ("a critical extension must be understood", milan().extension(extension::unknown(true))),
        ("AMD's extensions must be there", vek(Overrides { omit: vec![extension::oid::HWID], ..usual() })),
        (
            "an authority is marked as one",
            issuer(Overrides { replace: vec![extension::basic_constraints(false, None)], ..usual() }),
        ),
        (
            "an authority may sign certificates",
            issuer(Overrides { replace: vec![extension::key_usage(false, false)], ..usual() }),
        ),
        (
            "the ASK is revoked",
            crl(CrlOptions { revoked: vec![Ca::Ask.serial(simulated(Milan))], ..CrlOptions::default() }),
        ),
        ("revocation is not known", crl(CrlOptions { next_update: past(), ..CrlOptions::default() })),
        (
            "a VLEK's issuer issues no VCEK",
            vek(Overrides { signer: Some(RsaKey::Ask), subject_cn: named("SEV-VLEK"), ..usual() }),
        ),
    ]
}

#[test]
fn where_this_broker_is_stricter() {
    for (reason, attempt) in stricter() {
        attempt.refusal();
        evidence(&attempt).sev_verify().unwrap_or_else(|error| panic!("sev refuses too: {reason}: {error}"));
    }
}

/// Bytes that the chip did not sign must be zero here: behind R, behind S, and behind both. `sev` does not
/// look at them.
#[test]
fn where_this_broker_is_stricter_about_padding() {
    let sound = evidence(&Attempt::vcek(Milan));
    for offset in [0x2D0, 0x2E7, 0x318, 0x32F, 0x330, 0x49F] {
        let altered = Evidence { report: flipped(&sound.report, offset * 8), ..sound.clone() };
        assert!(Report::parse(&altered.report).is_err(), "{offset:#x}");
        assert!(altered.sev_accepts(), "{offset:#x}");
    }
}

/// The reports that `sev` refuses and this broker accepts, with the reason.
fn looser() -> Vec<(&'static str, Attempt)> {
    let unknown = |offset| Attempt { signed_bytes: vec![(offset, 1)], ..Attempt::vcek(Milan) };
    vec![
        // The chip has signed these bytes, so nobody altered them; no rule depends on them; and firmware may
        // give one of them a meaning without a new version, which must not lock every guest out.
        ("reserved bytes behind the key information", unknown(0x4C)),
        ("reserved bytes behind CPUID", unknown(0x18B)),
        ("reserved byte behind CURRENT_VERSION", unknown(0x1EB)),
        ("reserved byte behind COMMITTED_VERSION", unknown(0x1EF)),
        ("reserved bytes up to the signature", unknown(0x29F)),
        // `sev` guesses the layout of a version 2 report from its chip id. Here the certificate says it.
        ("version 2 with a masked chip id", Attempt::vlek(Milan).fields(|fields| fields.version = 2)),
    ]
}

#[test]
fn where_this_broker_is_looser() {
    for (reason, attempt) in looser() {
        attempt.verify().unwrap_or_else(|refusal| panic!("{reason}: {refusal:?}"));
        assert!(!evidence(&attempt).sev_accepts(), "{reason}");
    }
}

fn same_tcb(ours: Option<TcbVersion>, theirs: SevTcb) -> bool {
    let SevTcb { fmc, bootloader, tee, snp, microcode } = theirs;
    ours.is_none_or(|ours| ours == TcbVersion { fmc, boot_loader: bootloader, tee, snp, microcode })
}

/// Every field that [`Report`] exposes, as `sev` reads it.
fn assert_same_fields(bytes: &[u8], product: Product) {
    let ours = Report::parse(bytes).unwrap();
    let theirs = sev_report(bytes).unwrap();
    assert_eq!(ours.version(), theirs.version);
    assert_eq!(ours.guest_svn(), theirs.guest_svn);
    assert_eq!(ours.family_id(), &theirs.family_id);
    assert_eq!(ours.image_id(), &theirs.image_id);
    assert_eq!(ours.vmpl(), theirs.vmpl);
    assert_eq!(ours.platform_info(), u64::from(theirs.plat_info));
    assert_eq!(ours.report_data(), &theirs.report_data);
    assert_eq!(ours.measurement(), &theirs.measurement);
    assert_eq!(ours.host_data(), &theirs.host_data);
    assert_eq!(ours.id_key_digest(), &theirs.id_key_digest);
    assert_eq!(ours.author_key_digest(), &theirs.author_key_digest);
    assert_eq!(ours.chip_id(), &theirs.chip_id);
    assert_eq!(
        ours.cpuid().map(|cpuid| (cpuid.family, cpuid.model)),
        theirs.cpuid_fam_id.zip(theirs.cpuid_mod_id)
    );

    let (policy, theirs_policy) = (ours.policy(), theirs.policy);
    // sev's conversion sets bit 17 whether the report does or not.
    assert_eq!(policy.bits() | 1 << 17, u64::from(theirs_policy));
    assert_eq!(policy.abi(), (theirs_policy.abi_major() as u8, theirs_policy.abi_minor() as u8));
    assert_eq!(policy.smt_allowed(), theirs_policy.smt_allowed());
    assert_eq!(policy.migrate_ma_allowed(), theirs_policy.migrate_ma_allowed());
    assert_eq!(policy.debug_allowed(), theirs_policy.debug_allowed());
    assert_eq!(policy.single_socket(), theirs_policy.single_socket_required());
    assert_eq!(policy.ciphertext_hiding(), theirs_policy.ciphertext_hiding());

    assert_eq!(ours.author_key_en(), theirs.key_info.author_key_en());
    assert_eq!(ours.mask_chip_key(), theirs.key_info.mask_chip_key());
    assert_eq!(ours.signing_key().map_or(SIGNED_BY_NONE, signing_key), theirs.key_info.signing_key());

    assert!(same_tcb(ours.reported_tcb(product), theirs.reported_tcb));
    assert!(same_tcb(ours.current_tcb(product), theirs.current_tcb));
    assert!(same_tcb(ours.committed_tcb(product), theirs.committed_tcb));
    assert!(same_tcb(ours.launch_tcb(product), theirs.launch_tcb));

    let signature = ours.signature();
    let (r, s) = signature.split_at(48);
    assert!(r.iter().rev().eq(theirs.signature.r().iter().take(48)));
    assert!(s.iter().rev().eq(theirs.signature.s().iter().take(48)));
}

#[test]
fn both_read_genuine_reports_alike() {
    for genuine in genuine::all() {
        assert_same_fields(&genuine.report, genuine.product);
    }
}

/// Where an attempt is altered at random.
#[derive(Debug, Clone)]
enum Alteration {
    /// Before the chip signs.
    Signed(Index, u8),
    /// After: a bit of the report, the VEK, the issuer, the root.
    Report(Index),
    Vek(Index),
    Issuer(Index),
    Ark(Index),
}

fn alteration() -> impl Strategy<Value = Alteration> {
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Alteration::Signed(at, value)),
        1 => any::<Index>().prop_map(Alteration::Report),
        1 => any::<Index>().prop_map(Alteration::Vek),
        1 => any::<Index>().prop_map(Alteration::Issuer),
        1 => any::<Index>().prop_map(Alteration::Ark),
    ]
}

/// The verdict of this broker on altered bytes: its anchor is the ARK that is presented, as it is `sev`'s.
fn accepts(attempt: &Attempt, evidence: &Evidence) -> bool {
    use keybroker_snp::{
        authority::TrustAnchor,
        chain::{Chain, Intermediate},
        crl::Crl,
        vek::Vek,
        verify::Endorsements,
    };
    let endorsements = || -> Option<Endorsements> {
        let anchors = [std::sync::Arc::new(TrustAnchor::new(&evidence.ark).ok()?)];
        let intermediate = Intermediate::verify(&evidence.issuer, &anchors).ok()?;
        let chain = Chain::verify(Vek::parse(&evidence.vek).ok()?, &[intermediate.into()]).ok()?;
        let crl = Crl::verify(&attempt.crl_der(), &anchors).ok()?;
        Some(Endorsements {
            chain: chain.into(),
            crl: crl.into(),
            crl_grace: SignedDuration::ZERO,
            further_crls: Vec::new(),
        })
    };
    endorsements().is_some_and(|endorsements| attempt.verify_report(&evidence.report, &endorsements).is_ok())
}

/// Offsets that [`looser`] is about.
fn reserved(offset: usize, version: u32) -> bool {
    let cpuid = if version == 2 { 0x188 } else { 0x18B };
    let vectors = if version == 5 { 0x208 } else { 0x1F8 };
    (0x4C..0x50).contains(&offset)
        || (cpuid..0x1A0).contains(&offset)
        || [0x1EB, 0x1EF].contains(&offset)
        || (0x182..0x186).contains(&offset)
        || [0x38, 0x1E0, 0x1F0].iter().any(|tcb| (tcb + 2..tcb + 7).contains(&offset))
        || offset >= vectors
}

proptest! {
    #[test]
    fn sev_accepts_every_report_that_this_broker_accepts(
        product in prop::sample::select(vec![Milan, Genoa, Turin]),
        version in prop::sample::select(vec![2_u32, 3, 5]),
        alteration in alteration(),
    ) {
        let mut attempt = Attempt::vcek(product).fields(|fields| fields.version = version);
        if let Alteration::Signed(at, value) = &alteration {
            let offset = at.index(Report::SIGNED_LEN);
            prop_assume!(!reserved(offset, version));
            attempt.signed_bytes = vec![(offset, *value)];
        }
        let mut evidence = evidence(&attempt);
        let flip = |bytes: &mut Vec<u8>, at: &Index| *bytes = flipped(bytes, at.index(bytes.len() * 8));
        match &alteration {
            Alteration::Signed(..) => {}
            Alteration::Report(at) => flip(&mut evidence.report, at),
            Alteration::Vek(at) => flip(&mut evidence.vek, at),
            Alteration::Issuer(at) => flip(&mut evidence.issuer, at),
            Alteration::Ark(at) => flip(&mut evidence.ark, at),
        }
        prop_assert!(!accepts(&attempt, &evidence) || evidence.sev_accepts());
    }

    /// Version 4 is read as version 3 by both.
    #[test]
    fn both_read_simulated_reports_alike(
        product in prop::sample::select(vec![Milan, Genoa, Turin]),
        version in 2_u32..=5,
        random in fields(),
    ) {
        let sound = Attempt::vcek(product);
        let attempt = sound.clone().fields(|fields| {
            // From these `sev` takes the layout of a TCB version.
            let (simulated, cpuid, chip_id) = (fields.product, fields.cpuid, fields.chip_id);
            *fields = random;
            (fields.product, fields.version) = (simulated, version);
            (fields.cpuid, fields.chip_id) = (cpuid, chip_id);
        });
        assert_same_fields(&attempt.report_bytes(), product);
    }
}

#[test]
fn altered_genuine_certificates_are_refused_by_both() {
    let Some(directory) = vectors_directory() else {
        return keybroker_testing::genuine::skip("altered VCEKs");
    };
    for name in ["NEG-trustee-vcek-invalid-legacy", "NEG-trustee-vcek-invalid-new"] {
        let read = |file: &str| std::fs::read(directory.join(name).join(file)).unwrap();
        let altered = Genuine { vek: read("vcek.der"), report: read("report.bin"), ..genuine::sev_sample() };
        assert!(altered.chain().is_err());
        assert!(!genuine_evidence(&altered).sev_accepts());
    }
}
