//! An image of OVMF: its sections are bounded whatever it says, and every launch of it is measured.
#![no_main]

use keybroker_snp::measurement::{
    direct_boot::DirectBoot,
    ovmf::Ovmf,
    qemu::{Launch, Vmm, measure},
    vcpu::GuestFeatures,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(ovmf) = Ovmf::parse(bytes) else { return };
    assert!(ovmf.sections().len() <= 64);
    assert!(ovmf.sections().iter().map(|section| u64::from(section.size)).sum::<u64>() <= 64 << 20);
    let kernel = DirectBoot::new(b"kernel", None, "quiet");
    for boot in [None, Some(kernel)] {
        let (vmm, features) = (Vmm::Qemu, GuestFeatures::SNP);
        let launch = Launch { vmm, ovmf: &ovmf, boot, vcpus: 2, signature: 0, features };
        assert_eq!(measure(&launch).is_ok(), boot.is_none() || ovmf.takes_kernel_hashes());
    }
});
