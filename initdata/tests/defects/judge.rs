use keybroker_initdata::{
    Disk, Document,
    luks::{DiskRefused, Header, judge},
    volume_key::VolumeKeyDigest,
};

use crate::headers::{JSON, luks1, luks2};

const DOCUMENT: &str = include_str!("../data/document.toml");

/// The two disks of the document, and a header for each.
fn disks() -> [(Disk, Header); 2] {
    let document = Document::parse(DOCUMENT).unwrap();
    let [first, second] = document.keybroker().disks.as_slice() else { panic!("two disks") };
    [
        (first.clone(), Header::parse(&luks2(JSON.trim_end().as_bytes())).unwrap()),
        (second.clone(), Header::parse(&luks1()).unwrap()),
    ]
}

#[test]
fn the_disk_of_a_document_is_taken() {
    for (disk, header) in disks() {
        assert_eq!(judge(&header, &disk).unwrap().copy_len(), header.copy_len());
    }
}

#[test]
fn every_other_disk_is_refused() {
    type Edit = fn(&mut Disk);
    let rows: &[(Edit, DiskRefused)] = &[
        (|disk| disk.segment.cipher = "aes-cbc-essiv:sha256".to_owned(), DiskRefused::Cipher),
        (|disk| disk.segment.key_bits = 256, DiskRefused::KeyLength),
        (|disk| disk.segment.sector_size = 4096, DiskRefused::SectorSize),
        (|disk| disk.segment.offset += 512, DiskRefused::Offset),
        (|disk| disk.segment.integrity = Some("hmac(sha256)".to_owned()), DiskRefused::Integrity),
        (|disk| disk.segment.flags = vec!["allow-discards".to_owned()], DiskRefused::Flags),
    ];
    for (disk, header) in disks() {
        for (edit, refused) in rows {
            let mut other = disk.clone();
            edit(&mut other);
            assert_eq!(judge(&header, &other), Err(refused.clone()));
        }
    }
    let [(first, one), (second, two)] = disks();
    assert_eq!(judge(&one, &second), Err(DiskRefused::LuksVersion));
    assert_eq!(judge(&two, &first), Err(DiskRefused::LuksVersion));
}

#[test]
fn every_part_of_the_volume_keys_digest_counts() {
    let [(first, one), (second, two)] = disks();
    for part in 0..4 {
        let mut other = first.clone();
        let VolumeKeyDigest::Luks2 { hash, iterations, salt, digest } = &mut other.volume_key else {
            panic!("LUKS2")
        };
        match part {
            0 => hash.push('x'),
            1 => *iterations += 1,
            2 => salt[31] ^= 1,
            _ => digest[31] ^= 1,
        }
        assert_eq!(judge(&one, &other), Err(DiskRefused::VolumeKey));

        let mut other = second.clone();
        let VolumeKeyDigest::Luks1 { hash, iterations, salt, digest } = &mut other.volume_key else {
            panic!("LUKS1")
        };
        match part {
            0 => hash.push('x'),
            1 => *iterations += 1,
            2 => salt[31] ^= 1,
            _ => digest[19] ^= 1,
        }
        assert_eq!(judge(&two, &other), Err(DiskRefused::VolumeKey));
    }
}

/// A refusal of the header is one of the disk.
#[test]
fn a_refused_header_says_why() {
    let refused = DiskRefused::from(Header::parse(b"not LUKS").unwrap_err());
    assert_eq!(refused.to_string(), "the disk has no LUKS header");
}
