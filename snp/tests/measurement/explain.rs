//! A digest that does not fit is explained by the launch that has it.

use std::collections::BTreeSet;

use keybroker_snp::measurement::{
    direct_boot::{DirectBoot, NOTHING},
    explain::{Boot, Candidate, LIKELY_FEATURES, LIKELY_VCPUS, explain},
    ovmf::Ovmf,
    qemu::{Launch, Vmm, measure},
    vcpu::{GuestFeatures, HOST_SIGNATURES, MODELS},
};
use keybroker_testing::ovmf::OvmfImage;

const MILAN: u32 = 0x00A0_0F11;

fn images() -> [Vec<u8>; 3] {
    [1, 2, 3].map(|seed| OvmfImage { seed, ..OvmfImage::default() }.bytes())
}

fn boot(initrd: Option<&[u8]>, command_line: &'static str) -> Option<DirectBoot<'static>> {
    Some(DirectBoot::new(b"a kernel", initrd, command_line))
}

/// The expected launch.
fn expected<'a>(ovmf: &'a Ovmf<'a>) -> Launch<'a> {
    let boot = boot(Some(b"an initrd"), "quiet ro");
    Launch { vmm: Vmm::Qemu, ovmf, boot, vcpus: 2, signature: MILAN, features: GuestFeatures::SNP }
}

/// The launch that is found for the measurement of this one.
fn found(actual: &Launch<'_>, expected: &Launch<'_>, others: &[Ovmf<'_>]) -> Option<Candidate> {
    explain(&measure(actual).unwrap(), expected, others)
}

/// The launch itself, with this firmware of the others.
fn itself(actual: &Launch<'_>, firmware: Option<usize>) -> Candidate {
    let Launch { vmm, vcpus, signature, features, .. } = *actual;
    let boot = actual
        .boot
        .map(|boot| Boot { initrd: boot.initrd != NOTHING, command_line: boot.command_line.to_owned() });
    Candidate { firmware, vmm, boot, vcpus, signature, features }
}

#[test]
fn a_launch_that_differs_in_one_input_is_found_and_one_that_differs_in_all() {
    let images = images();
    let [ovmf, second, third] = images.each_ref().map(|image| Ovmf::parse(image).unwrap());
    let others = [second.clone(), third.clone()];
    let base = expected(&ovmf);
    let initrd: Option<&[u8]> = Some(b"an initrd");
    let rows = [
        (base, None),
        (Launch { vcpus: 1, ..base }, None),
        (Launch { vcpus: LIKELY_VCPUS, ..base }, None),
        (Launch { signature: 0x00A1_0F10, ..base }, None),
        // -cpu host on a Milan-X.
        (Launch { signature: 0x00A0_0F12, ..base }, None),
        (Launch { features: GuestFeatures(0x21), ..base }, None),
        (Launch { boot: None, ..base }, None),
        (Launch { boot: boot(None, "quiet ro"), ..base }, None),
        (Launch { boot: boot(initrd, "quiet ro\n"), ..base }, None),
        (Launch { boot: boot(initrd, ""), ..base }, None),
        (Launch { vmm: Vmm::QemuZeroFpu, ..base }, None),
        (Launch { ovmf: &second, ..base }, Some(0)),
        (Launch { ovmf: &third, ..base }, Some(1)),
        (
            Launch {
                ovmf: &third,
                vmm: Vmm::QemuZeroFpu,
                boot: boot(None, "quiet ro\n"),
                vcpus: 64,
                signature: 0x00B0_0F00,
                features: GuestFeatures(0x221),
            },
            Some(1),
        ),
    ];
    for (actual, firmware) in rows {
        assert_eq!(found(&actual, &base, &others), Some(itself(&actual, firmware)));
    }
}

#[test]
fn white_space_at_the_ends_of_the_expected_command_line_is_found_to_be_missing() {
    let images = images();
    let ovmf = Ovmf::parse(&images[0]).unwrap();
    let base = expected(&ovmf);
    for given in ["quiet ro\n", " quiet ro", "quiet ro  ", "\tquiet ro\r\n"] {
        let given = Launch { boot: boot(Some(b"an initrd"), given), ..base };
        assert_eq!(found(&base, &given, &[]), Some(itself(&base, None)));
    }
}

#[test]
fn a_guest_without_an_initrd_is_expected_to_have_none() {
    let images = images();
    let ovmf = Ovmf::parse(&images[0]).unwrap();
    let base = Launch { boot: boot(None, "quiet ro"), ..expected(&ovmf) };
    let candidate = found(&base, &base, &[]).unwrap();
    assert_eq!(candidate.boot, Some(Boot { initrd: true, command_line: "quiet ro".to_owned() }));
    let with_initrd = expected(&ovmf);
    assert_eq!(found(&with_initrd, &base, &[]), None);
}

#[test]
fn a_cloud_writes_no_model_so_the_expected_one_is_said() {
    let images = images();
    let ovmf = Ovmf::parse(&images[0]).unwrap();
    let base = Launch { vmm: Vmm::Ec2, boot: None, ..expected(&ovmf) };
    let earlier = Launch { vmm: Vmm::Ec2ZeroRdx, vcpus: 8, ..base };
    let of_turin = Launch { signature: 0x00B0_0F00, ..earlier };
    assert_eq!(found(&of_turin, &base, &[]), Some(itself(&earlier, None)));
    let gce = Launch { vmm: Vmm::Gce, ..base };
    assert_eq!(found(&gce, &base, &[]), Some(itself(&gce, None)));
}

#[test]
fn every_likely_launch_is_found_and_no_other() {
    let images = images();
    let ovmf = Ovmf::parse(&images[0]).unwrap();
    let base = Launch { boot: None, ..expected(&ovmf) };
    let models = MODELS.iter().map(|model| model.signature).chain(HOST_SIGNATURES.iter().copied());
    let models: BTreeSet<u32> = models.collect();
    let of_models = models.into_iter().map(|signature| (signature, GuestFeatures::SNP));
    for (signature, features) in of_models.chain(LIKELY_FEATURES.map(|features| (MILAN, features))) {
        let actual = Launch { vcpus: 3, signature, features, ..base };
        assert_eq!(found(&actual, &base, &[]), Some(itself(&actual, None)));
    }
    let with_kernel = expected(&ovmf);
    let unlikely = [
        Launch { vcpus: LIKELY_VCPUS + 1, ..base },
        Launch { signature: 1, ..base },
        Launch { features: GuestFeatures(0x8000), ..base },
        Launch { boot: Some(DirectBoot::new(b"another kernel", None, "")), ..base },
    ];
    for actual in unlikely {
        assert_eq!(found(&actual, &base, &[]), None);
    }
    assert_eq!(explain(&[0; 48], &with_kernel, &[]), None);
    // An expected launch is likely, whatever it is.
    let base = Launch { vcpus: 300, signature: 1, features: GuestFeatures(0x8000), ..base };
    let neighbour = Launch { vcpus: 299, ..base };
    for actual in [base, neighbour] {
        assert_eq!(found(&actual, &base, &[]), Some(itself(&actual, None)));
    }
}

#[test]
fn a_firmware_that_takes_no_hashes_explains_a_launch_without_them_alone() {
    let without = OvmfImage { sections: vec![], seed: 7, ..OvmfImage::default() }.bytes();
    let images = images();
    let ovmf = Ovmf::parse(&images[0]).unwrap();
    let other = Ovmf::parse(&without).unwrap();
    let base = expected(&ovmf);
    let actual = Launch { ovmf: &other, boot: None, ..base };
    assert_eq!(found(&actual, &base, std::slice::from_ref(&other)), Some(itself(&actual, Some(0))));
    assert_eq!(found(&actual, &base, &[]), None);
}
