use keybroker_initdata::{
    luks::{Header, HeaderError, metadata_len},
    volume_key::VolumeKeyDigest,
};

use crate::{
    headers::{luks1, put},
    refusal,
};

#[test]
fn a_header_is_read() {
    let header = Header::parse(&luks1()).unwrap();
    let digest = VolumeKeyDigest::Luks1 {
        hash: "sha256".to_owned(),
        iterations: 2000,
        salt: [3; 32],
        digest: [4; 20],
    };
    assert_eq!(header.volume_key(), &digest);
    let segment = header.segment();
    assert_eq!((segment.cipher.as_str(), segment.key_bits), ("aes-xts-plain64", 512));
    assert_eq!((segment.sector_size, segment.offset), (512, 2_097_152));
    // The eighth keyslot's material ends here.
    assert_eq!(header.copy_len(), (8 + 7 * 504 + 500) * 512);
    assert_eq!(header.uuid(), "0199c5c2-0000-7000-8000-000000000000");
    assert_eq!(metadata_len(&luks1()), Ok(592));
}

#[test]
fn its_end() {
    let header = luks1();
    for length in [0, 5, 7, 8, 591] {
        assert_eq!(refusal(&header[..length]), HeaderError::Truncated);
    }
}

#[test]
fn its_fields() {
    let slot = |number: usize, field: usize| 208 + number * 48 + field;
    let rows: &[(usize, &[u8], HeaderError)] = &[
        (0, b"luks", HeaderError::NotLuks),
        (4, b"\xde\xad", HeaderError::Reencryption),
        (6, &[0, 3], HeaderError::Version(3)),
        (8, b"cipher_null\0", HeaderError::NullCipher),
        (40, b"ecb(cipher_null)\0", HeaderError::NullCipher),
        (8, &[b'a'; 32], HeaderError::Field("cipher-name")),
        (8, b"\0", HeaderError::Field("cipher-name")),
        (8, b"aes\0x", HeaderError::Field("cipher-name")),
        (40, b"xts plain64", HeaderError::Field("cipher-mode")),
        (72, b"sha256\n", HeaderError::Field("hash-spec")),
        (104, &4000_u32.to_be_bytes(), HeaderError::DataInHeader),
        (108, &0_u32.to_be_bytes(), HeaderError::Field("key-bytes")),
        (108, &u32::MAX.to_be_bytes(), HeaderError::Field("key-bytes")),
        (108, &65_u32.to_be_bytes(), HeaderError::KeyMaterial),
        (168, &[b'0'; 40], HeaderError::Field("uuid")),
        (164, &0_u32.to_be_bytes(), HeaderError::Field("mk-digest-iter")),
        (slot(0, 0), &0xDEAD_u32.to_be_bytes(), HeaderError::NoKeyslot),
        (slot(7, 0), &1_u32.to_be_bytes(), HeaderError::Field("the state of a keyslot")),
        (slot(7, 40), &8_u32.to_be_bytes(), HeaderError::KeyMaterial),
        (slot(0, 40), &1_u32.to_be_bytes(), HeaderError::KeyMaterial),
        (slot(7, 40), &u32::MAX.to_be_bytes(), HeaderError::TooLong),
        (slot(7, 44), &0_u32.to_be_bytes(), HeaderError::Field("the stripes of a keyslot")),
        (slot(7, 44), &4001_u32.to_be_bytes(), HeaderError::Field("the stripes of a keyslot")),
    ];
    for (offset, bytes, error) in rows {
        let mut header = luks1();
        put(&mut header, *offset, bytes);
        assert_eq!(&refusal(&header), error, "{bytes:02x?} at {offset}");
    }
}
