//! The parser of OVMF's images, and which of them it refuses.

use keybroker_snp::measurement::{
    direct_boot::DirectBoot,
    explain::LIKELY_FEATURES,
    ovmf::{Ovmf, OvmfError, Section, SectionKind},
    qemu::{Launch, LaunchError, MOST_VCPUS, Vmm, measure},
    vcpu::{GuestFeatures, HOST_SIGNATURES, MODELS, VcpuModel, parse_signature, signature},
};
use keybroker_testing::ovmf::{HASH_TABLE, METADATA, OvmfImage, RESET_VECTOR, place, section};
use proptest::prelude::*;

fn refused(image: &OvmfImage) -> OvmfError {
    Ovmf::parse(&image.bytes()).unwrap_err()
}

fn with(change: impl FnOnce(&mut OvmfImage)) -> OvmfImage {
    let mut image = OvmfImage::default();
    change(&mut image);
    image
}

/// A launch of an image, without a kernel.
fn launch<'a>(ovmf: &'a Ovmf<'a>, vcpus: u32) -> Launch<'a> {
    let features = GuestFeatures::SNP;
    Launch { vmm: Vmm::Qemu, ovmf, boot: None, vcpus, signature: MODELS[0].signature, features }
}

#[test]
fn the_sections_are_those_of_the_metadata_in_their_order() {
    let image = OvmfImage::default().bytes();
    let ovmf = Ovmf::parse(&image).unwrap();
    use SectionKind::{CallingArea, Cpuid, KernelHashes, Memory, Secrets};
    let expected = [
        (Memory, 0x80_0000, 0x9000),
        (Memory, 0x80_A000, 0x3000),
        (Secrets, 0x80_D000, 0x1000),
        (Cpuid, 0x80_E000, 0x1000),
        (CallingArea, 0x80_F000, 0x1000),
        (KernelHashes, 0x81_0000, 0x1000),
        (Memory, 0x81_1000, 0xF000),
    ]
    .map(|(kind, address, size)| Section { kind, address, size });
    assert_eq!(ovmf.sections(), expected);
    assert!(ovmf.takes_kernel_hashes());
}

#[test]
fn an_image_takes_hashes_if_it_has_the_page_and_names_the_place() {
    let without_place = OvmfImage::default().with_entry(HASH_TABLE, place(0, 0));
    let without_entry = OvmfImage::default().without_entry(HASH_TABLE);
    let without_page = with(|image| image.sections.retain(|section| section.2 != section::KERNEL_HASHES));
    for image in [without_place, without_entry, without_page] {
        let image = image.bytes();
        let ovmf = Ovmf::parse(&image).unwrap();
        assert!(!ovmf.takes_kernel_hashes());
        assert!(measure(&launch(&ovmf, 1)).is_ok());
        let boot = Some(DirectBoot::new(b"kernel", None, ""));
        assert_eq!(measure(&Launch { boot, ..launch(&ovmf, 1) }), Err(LaunchError::NoKernelHashes));
    }
}

#[test]
fn an_image_that_qemu_would_not_launch_is_refused_by_name() {
    let image = OvmfImage::default;
    let bytes = image().bytes();
    assert_eq!(Ovmf::parse(&[]).unwrap_err(), OvmfError::Size(0));
    assert_eq!(Ovmf::parse(&bytes[1..]).unwrap_err(), OvmfError::Size(3 * 4096 - 1));
    let large = vec![0; 16 * 1024 * 1024 + 4096];
    assert_eq!(Ovmf::parse(&large).unwrap_err(), OvmfError::Size(large.len()));
    assert_eq!(Ovmf::parse(&large[4096..]).unwrap_err(), OvmfError::NoTable);
    // The end is cut off, by whole pages.
    assert_eq!(Ovmf::parse(&bytes[..2 * 4096]).unwrap_err(), OvmfError::NoTable);

    assert_eq!(refused(&image().without_entry(RESET_VECTOR)), OvmfError::Missing("the reset vector"));
    assert_eq!(
        refused(&image().with_entry(RESET_VECTOR, vec![0; 4])),
        OvmfError::Missing("the reset vector")
    );
    assert_eq!(
        refused(&image().with_entry(RESET_VECTOR, vec![1; 3])),
        OvmfError::Missing("the reset vector")
    );
    assert_eq!(refused(&image().without_entry(METADATA)), OvmfError::Missing("SEV's metadata"));
    assert_eq!(refused(&image().with_entry(METADATA, vec![])), OvmfError::Missing("SEV's metadata"));
    for (name, words) in [
        (RESET_VECTOR, "the reset vector"),
        (METADATA, "SEV's metadata"),
        (HASH_TABLE, "the kernel's hashes"),
    ] {
        let twice = with(|image| image.entries.push((name, vec![1; 8])));
        assert_eq!(refused(&twice), OvmfError::Twice(words));
    }

    // The first entry says that it begins before the table does.
    let mut damaged = bytes.clone();
    let table: usize = image().entries.iter().map(|entry| entry.1.len() + 18).sum();
    let size = damaged.len() - 32 - 18 - table + 4;
    assert_eq!(damaged[size..size + 2], [22, 0]);
    for value in [23, 17, 0] {
        damaged[size] = value;
        assert_eq!(Ovmf::parse(&damaged).unwrap_err(), OvmfError::Table);
    }
}

#[test]
fn damaged_metadata_are_refused_by_name() {
    let image = OvmfImage::default;
    for from_end in [0_u32, 15, 3 * 4096 + 1, u32::MAX] {
        let metadata = image().with_entry(METADATA, from_end.to_le_bytes().to_vec());
        assert_eq!(refused(&metadata), OvmfError::Metadata, "{from_end}");
    }
    let at = 3 * 4096 - 0x800;
    let changed = |offset: usize, value: u32| {
        let mut bytes = image().bytes();
        bytes[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
        Ovmf::parse(&bytes).unwrap_err()
    };
    assert_eq!(changed(0, 0), OvmfError::Metadata);
    // The size has room for one section less, for no header, and for more than there is.
    for size in [16 + 6 * 12, 15, 0x801, u32::MAX] {
        assert_eq!(changed(4, size), OvmfError::Metadata, "{size}");
    }
    assert_eq!(changed(8, 2), OvmfError::Version(2));
    assert_eq!(changed(12, 8), OvmfError::Metadata);
    assert_eq!(changed(12, 65), OvmfError::Sections(65));
    assert_eq!(changed(12, u32::MAX), OvmfError::Sections(u32::MAX));
    assert_eq!(changed(16 + 8, 5), OvmfError::Kind(5));
    assert_eq!(changed(16 + 8, 0x101), OvmfError::Kind(0x101));
}

#[test]
fn a_section_without_a_place_is_refused() {
    let image_at = 0xFFFF_D000_u32;
    for (address, size, kind) in [
        (0x80_0001, 0x1000, section::MEMORY),
        (0x80_0000, 0x1001, section::MEMORY),
        (0x80_0000, 0, section::MEMORY),
        (0x80_0000, 0x2000, section::SECRETS),
        (0x80_0000, 0x2000, section::CPUID),
        (0x80_0000, 0x2000, section::KERNEL_HASHES),
        (image_at - 0x1000, 0x2000, section::MEMORY),
        (image_at, 0x1000, section::MEMORY),
        (0xFFFF_F000, 0xFFFF_F000, section::MEMORY),
    ] {
        let sections = vec![(address, size, kind)];
        let refused = refused(&with(|image| image.sections = sections));
        assert_eq!(refused, OvmfError::Place { address, size });
    }
    let last = with(|image| image.sections = vec![(image_at - 0x1000, 0x1000, section::MEMORY)]);
    assert!(Ovmf::parse(&last.bytes()).is_ok());

    for second in [0x80_0000, 0x80_1000, 0x7F_F000] {
        let sections = vec![(0x80_0000, 0x2000, section::MEMORY), (second, 0x2000, section::MEMORY)];
        assert_eq!(refused(&with(|image| image.sections = sections)), OvmfError::Overlap(0x80_0000, second));
    }
    let beside = vec![(0x80_2000, 0x1000, section::MEMORY), (0x80_0000, 0x2000, section::MEMORY)];
    assert!(Ovmf::parse(&with(|image| image.sections = beside).bytes()).is_ok());

    let half = 32 * 1024 * 1024;
    let halves = [(0, half, section::MEMORY), (half, half, section::MEMORY)];
    assert!(Ovmf::parse(&with(|image| image.sections = halves.to_vec()).bytes()).is_ok());
    let more = with(|image| {
        image.sections = [halves.as_slice(), &[(2 * half, 0x1000, section::MEMORY)]].concat();
    });
    assert_eq!(refused(&more), OvmfError::TooMuch);
}

#[test]
fn the_hashes_have_room_in_their_page() {
    let hash_table = |address, size| OvmfImage::default().with_entry(HASH_TABLE, place(address, size));
    for (address, size) in [(0x81_0000, 175), (0x81_0F51, 0x400), (0x81_0FFF, 0x400), (u32::MAX, u32::MAX)] {
        assert_eq!(refused(&hash_table(address, size)), OvmfError::HashTable { address, size });
    }
    for (address, size) in [(0x81_0000, 176), (0x81_0F50, 176)] {
        assert!(Ovmf::parse(&hash_table(address, size).bytes()).unwrap().takes_kernel_hashes());
    }
    assert_eq!(refused(&OvmfImage::default().with_entry(HASH_TABLE, vec![0; 7])), OvmfError::Table);
}

#[test]
fn the_number_of_vcpus_is_bounded_and_a_command_line_has_no_nul() {
    let image = OvmfImage::default().bytes();
    let ovmf = Ovmf::parse(&image).unwrap();
    for vcpus in [0, MOST_VCPUS + 1, u32::MAX] {
        assert_eq!(measure(&launch(&ovmf, vcpus)), Err(LaunchError::Vcpus(vcpus)));
    }
    assert!(measure(&launch(&ovmf, MOST_VCPUS)).is_ok());
    let boot = Some(DirectBoot::new(b"kernel", None, "quiet\0"));
    assert_eq!(measure(&Launch { boot, ..launch(&ovmf, 1) }), Err(LaunchError::CommandLine));
}

#[test]
fn a_model_is_named_as_qemu_names_it_or_by_its_short_name() {
    for model in MODELS {
        assert_eq!(VcpuModel::parse(model.name), Some(*model));
        assert_eq!(VcpuModel::parse(&model.name.to_lowercase()), Some(*model));
        assert_eq!(VcpuModel::of_signature(model.signature).unwrap().signature, model.signature);
    }
    let named = |name: &str| VcpuModel::parse(name).map(|model| model.name);
    assert_eq!(named("milan"), Some("EPYC-Milan"));
    assert_eq!(named("Genoa-v2"), Some("EPYC-Genoa-v2"));
    for name in ["", "v4", "-v4", "EPYC-", "EPYC-Milan-v9", "Skylake", "milan ", "0xA00F11"] {
        assert_eq!(named(name), None, "{name}");
    }
    assert_eq!(parse_signature("turin"), Some(0x00B0_0F00));
    assert_eq!(parse_signature("0x00A00F11"), Some(0x00A0_0F11));
    for text in ["", "0x", "0x1_0", "0x+1", "0x100000000", "A00F11", "10489617", "-1"] {
        assert_eq!(parse_signature(text), None, "{text}");
    }
    assert_eq!(signature(25, 1, 1), Some(0x00A0_0F11));
    // No chip has the signature of a model, but those that QEMU took one from.
    assert!(HOST_SIGNATURES.iter().all(|chip| VcpuModel::of_signature(*chip).is_none()));
    assert_eq!(GuestFeatures::default(), LIKELY_FEATURES[0]);
    assert_eq!(GuestFeatures(0x21).to_string(), "0x21");
}

proptest! {
    /// Whatever bytes an image has, it is read or refused, and its sections are bounded.
    #[test]
    fn no_image_makes_the_parser_panic(
        changes in prop::collection::vec((0_usize..0x900, any::<u8>()), 0..12),
        cut in 0_usize..4,
        pages in 1_usize..4,
    ) {
        let mut bytes = OvmfImage { pages, ..OvmfImage::default() }.bytes();
        let end = bytes.len();
        for (from_end, value) in changes {
            bytes[end - 1 - from_end] = value;
        }
        bytes.drain(..(cut * 1365).min(end));
        if let Ok(ovmf) = Ovmf::parse(&bytes) {
            prop_assert!(ovmf.sections().len() <= 64);
            prop_assert!(measure(&launch(&ovmf, 2)).is_ok());
        }
    }

    /// Every byte of what a guest is launched from counts, wherever it is.
    #[test]
    fn every_byte_counts(
        at in 0_usize..3 * 4096 - 0x800,
        bit in 0_u8..8,
        kernel in any::<[u8; 4]>(),
        line in "[ -~]{0,20}",
    ) {
        let image = OvmfImage::default().bytes();
        let ovmf = Ovmf::parse(&image).unwrap();
        let with = |ovmf, kernel: &[u8], initrd, line| {
            let boot = Some(DirectBoot::new(kernel, initrd, line));
            measure(&Launch { boot, ovmf, ..launch(ovmf, 2) }).unwrap()
        };
        let base = with(&ovmf, &kernel, Some(&kernel), &line);
        let mut changed = image.clone();
        changed[at] ^= 1 << bit;
        let changed = Ovmf::parse(&changed).unwrap();
        prop_assert_ne!(base, with(&changed, &kernel, Some(&kernel), &line));
        let other = [kernel.as_slice(), &[bit]].concat();
        prop_assert_ne!(base, with(&ovmf, &other, Some(&kernel), &line));
        prop_assert_ne!(base, with(&ovmf, &kernel, Some(&other), &line));
        prop_assert_ne!(base, with(&ovmf, &kernel, None, &line));
        prop_assert_ne!(base, with(&ovmf, &kernel, Some(&kernel), &format!("{line} ")));
    }
}
