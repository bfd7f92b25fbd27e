//! The launch measurement of krun's guests, beside other implementations, and what libkrun could not launch.

use std::num::NonZeroU8;

use data_encoding::HEXLOWER;
use keybroker_snp::measurement::{
    LaunchDigest, PAGE_SIZE, Page,
    krun::{Firmware, Fpu, KrunError, Part, initrd_room, measure},
};
use serde_json::json;
use sev::measurement::{
    vcpu_types::CpuType,
    vmsa::{GuestFeatures, VMMType, VMSA},
};

use super::others::{Says, sev_snp_measure};

/// Some bytes, the same as those of `measure.py`.
fn blob(seed: usize, pages: usize) -> Vec<u8> {
    let page = |page: usize| (0..PAGE_SIZE).map(move |index| (seed + 7 * page + index * 31 / 16) as u8);
    (0..pages).flat_map(page).collect()
}

struct Blobs {
    qboot: Vec<u8>,
    kernel: Vec<u8>,
    kernel_address: u64,
    initrd: Vec<u8>,
}

impl Default for Blobs {
    fn default() -> Self {
        Self { qboot: blob(1, 16), kernel: blob(2, 3), kernel_address: 0x100_0000, initrd: blob(3, 2) }
    }
}

impl Blobs {
    fn measured(&self, vcpus: u8, ram_mib: u32, fpu: Fpu) -> Result<String, KrunError> {
        let firmware = Firmware {
            qboot: &self.qboot,
            kernel: &self.kernel,
            kernel_address: self.kernel_address,
            initrd: &self.initrd,
        };
        let measurement = measure(&firmware, NonZeroU8::new(vcpus).unwrap(), ram_mib, fpu)?;
        Ok(HEXLOWER.encode(&measurement))
    }

    fn refused(&self, ram_mib: u32) -> KrunError {
        self.measured(1, ram_mib, Fpu::Zero).unwrap_err()
    }
}

#[test]
fn it_is_what_another_implementation_computes() {
    let launches = [
        (1, 512, Fpu::Zero),
        (1, 512, Fpu::Initial),
        (2, 512, Fpu::Zero),
        (4, 3327, Fpu::Zero),
        (4, 3328, Fpu::Zero),
        (4, 3329, Fpu::Initial),
        (16, 8192, Fpu::Zero),
        (255, 65536, Fpu::Initial),
    ];
    let row = |(vcpus, ram_mib, fpu)| {
        let fpu = fpu == Fpu::Initial;
        json!({ "krun": { "vcpus": vcpus, "ram_mib": ram_mib, "fpu": fpu } })
    };
    for (launch, answer) in launches.into_iter().zip(sev_snp_measure(&launches.map(row))) {
        let (vcpus, ram_mib, fpu) = launch;
        let measured = Blobs::default().measured(vcpus, ram_mib, fpu).unwrap();
        assert_eq!(answer, Says::Measured(measured), "{vcpus} vCPUs, {ram_mib} MiB, {fpu:?}");
    }
}

#[test]
fn the_first_vcpu_starts_as_the_sev_crate_has_it_and_the_others_do_not() {
    let sev = VMSA::new(0xFFFF_FFF3, CpuType::EpycMilan, VMMType::KRUN, None, GuestFeatures(1));
    let sev: Vec<[u8; PAGE_SIZE]> =
        sev.pages(2).unwrap().into_iter().map(|page| page.try_into().unwrap()).collect();
    let sum = |vmsas: &[[u8; PAGE_SIZE]]| {
        // The launch of one page of each kind, and these VMSAs.
        let blobs = Blobs { qboot: blob(1, 1), kernel: blob(2, 1), initrd: blob(3, 1), ..Blobs::default() };
        let mut digest = LaunchDigest::new();
        let mut normal = |bytes: &[u8], address| {
            digest.add(Page::Normal(bytes.try_into().unwrap()), address);
        };
        normal(&blobs.qboot, 0xFFFF_0000);
        normal(&blobs.kernel, blobs.kernel_address);
        normal(&blobs.initrd, 0xA0_0000);
        normal(&boot_params(vmsas.len() as u8, 64, PAGE_SIZE as u32), 0x7000);
        digest.add(Page::Zero, 0);
        digest.add(Page::Secrets, 0x5000);
        digest.add(Page::Cpuid, 0x6000);
        for address in (0x8000..0xF000).step_by(PAGE_SIZE) {
            digest.add(Page::Zero, address);
        }
        for vmsa in vmsas {
            digest.add(Page::Vmsa(vmsa), 0);
        }
        let of_vmsas = HEXLOWER.encode(&digest.finish());
        (of_vmsas, blobs.measured(vmsas.len() as u8, 64, Fpu::Zero).unwrap())
    };
    let (of_sev, ours) = sum(&sev[..1]);
    assert_eq!(of_sev, ours);

    // sev gives the others the stack and the boot parameters of the first. libkrun gives them neither.
    let mut other = sev[1];
    for register in [0x1D8, 0x328, 0x330] {
        assert_ne!(other[register..register + 8], [0; 8]);
        other[register..register + 8].fill(0);
    }
    assert_ne!(sum(&sev), sum(&[sev[0], other]));
    let (of_corrected, ours) = sum(&[sev[0], other]);
    assert_eq!(of_corrected, ours);
}

/// The page of boot parameters for RAM below the gap, written down once more.
fn boot_params(vcpus: u8, ram_mib: u64, initrd: u32) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1E8, &[2]);
    put(0x1F4, &[vcpus]);
    put(0x1FE, &[0x55, 0xAA, 0, 0, b'H', b'd', b'r', b'S']);
    put(0x210, &[0xFF]);
    put(0x218, &0xA0_0000_u32.to_le_bytes());
    put(0x21C, &initrd.to_le_bytes());
    put(0x228, &0x2_0000_u32.to_le_bytes());
    put(0x230, &0x100_0000_u32.to_le_bytes());
    put(0x238, &0x200_u32.to_le_bytes());
    put(0x2D8, &0x9_FC00_u64.to_le_bytes());
    put(0x2E0, &[1]);
    put(0x2E4, &0x10_0000_u64.to_le_bytes());
    put(0x2EC, &((ram_mib << 20) - 0x10_0000 + 1).to_le_bytes());
    put(0x2F4, &[1]);
    page
}

#[test]
fn every_input_counts() {
    let base = Blobs::default().measured(2, 512, Fpu::Zero).unwrap();
    let changed = |change: fn(&mut Blobs)| {
        let mut blobs = Blobs::default();
        change(&mut blobs);
        blobs.measured(2, 512, Fpu::Zero).unwrap()
    };
    let mut seen = vec![
        base,
        changed(|blobs| blobs.qboot[0] ^= 1),
        changed(|blobs| *blobs.kernel.last_mut().unwrap() ^= 1),
        changed(|blobs| blobs.initrd[PAGE_SIZE] ^= 1),
        changed(|blobs| blobs.kernel_address += PAGE_SIZE as u64),
        changed(|blobs| blobs.initrd.extend([0; PAGE_SIZE])),
        Blobs::default().measured(3, 512, Fpu::Zero).unwrap(),
        Blobs::default().measured(2, 513, Fpu::Zero).unwrap(),
        Blobs::default().measured(2, 512, Fpu::Initial).unwrap(),
    ];
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

#[test]
fn what_libkrun_could_not_launch_has_no_measurement() {
    let with = |change: fn(&mut Blobs)| {
        let mut blobs = Blobs::default();
        change(&mut blobs);
        blobs
    };
    assert_eq!(with(|blobs| blobs.initrd.clear()).refused(512), KrunError::Empty(Part::Initrd));
    assert_eq!(with(|blobs| blobs.qboot.clear()).refused(512), KrunError::Empty(Part::Qboot));
    assert_eq!(
        with(|blobs| blobs.kernel.push(0)).refused(512),
        KrunError::NotWholePages { part: Part::Kernel, bytes: 3 * PAGE_SIZE + 1 }
    );
    assert_eq!(with(|blobs| blobs.qboot = blob(1, 17)).refused(512), KrunError::QbootSize(17 * PAGE_SIZE));
    assert_eq!(
        with(|blobs| blobs.kernel_address = 0x100_0800).refused(512),
        KrunError::KernelAddress(0x100_0800)
    );
    let kernel = with(|blobs| blobs.kernel_address = 0xA0_1000);
    assert_eq!(kernel.refused(512), KrunError::Overlap { initrd_end: 0xA0_2000, kernel: 0xA0_1000 });
    // RAM must reach to the end of the kernel: 0x1003000 is behind 16 MiB.
    assert_eq!(Blobs::default().refused(16), KrunError::Ram { end: 0x100_3000, ram_mib: 16 });
    assert!(Blobs::default().measured(1, 17, Fpu::Zero).is_ok());
    // More RAM is no help behind the gap for devices.
    let high = with(|blobs| blobs.kernel_address = 0xCFFF_E000);
    assert_eq!(high.refused(8192), KrunError::Ram { end: 0xD000_1000, ram_mib: 8192 });
    let last = with(|blobs| blobs.kernel_address = !0xFFF);
    assert_eq!(last.refused(8192), KrunError::Ram { end: u64::MAX, ram_mib: 8192 });
}

#[test]
fn the_initrd_has_the_room_in_front_of_the_kernel() {
    assert_eq!(initrd_room(0x100_0000), Some(6 * 1024 * 1024));
    assert_eq!(initrd_room(0xA0_0000), None);
    assert_eq!(initrd_room(0x20_0000), None);
}
