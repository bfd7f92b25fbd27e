use keybroker_initdata::luks::{CopyDefect, CopyField, Header, HeaderError, WhichCopy, metadata_len};

use crate::{
    headers::{COPY_LEN, JSON, luks2, put, seal},
    refusal,
};

fn damaged(copy: WhichCopy, defect: CopyDefect) -> HeaderError {
    HeaderError::Damaged { copy, defect }
}

#[test]
fn a_header_is_read() {
    let mut device = luks2(JSON.trim_end().as_bytes());
    assert_eq!(metadata_len(&device[..4096]), Ok(2 * COPY_LEN));
    let header = Header::parse(&device).unwrap();
    assert_eq!(header.copy_len(), 16 * 1024 * 1024);
    assert_eq!(header.uuid(), "0199c5c2-0000-7000-8000-000000000000");
    // Key material and data follow.
    device.extend([7; 8192]);
    assert_eq!(Header::parse(&device), Ok(header));
}

#[test]
fn its_end() {
    let header = luks2(JSON.trim_end().as_bytes());
    for length in [16, 4095, 4096, COPY_LEN, 2 * COPY_LEN - 1] {
        assert_eq!(refusal(&header[..length]), HeaderError::Truncated, "{length}");
    }
}

/// A defect of one copy under a checksum that holds, and then the checksum itself.
#[test]
fn a_damaged_copy() {
    for (which, begin) in [(WhichCopy::First, 0), (WhichCopy::Second, COPY_LEN)] {
        let rows: &[(usize, &[u8], CopyDefect)] = &[
            (0, b"SKUL\xba\xbf", CopyDefect::Magic),
            (6, &[0, 3], CopyDefect::Version),
            (8, &0x4001_u64.to_be_bytes(), CopyDefect::Length),
            (8, &0x80_0000_u64.to_be_bytes(), CopyDefect::Length),
            (8, &u64::MAX.to_be_bytes(), CopyDefect::Length),
            (256, &1_u64.to_be_bytes(), CopyDefect::Offset),
            (72, b"sha512", CopyDefect::ChecksumAlgorithm),
            (72, b"sha256\0x", CopyDefect::ChecksumAlgorithm),
        ];
        for (offset, bytes, defect) in rows {
            let mut header = luks2(JSON.trim_end().as_bytes());
            put(&mut header, begin + offset, bytes);
            seal(&mut header);
            let expected = match (which, defect) {
                // The first copy's beginning says whether there is a LUKS2 header at all.
                (WhichCopy::First, CopyDefect::Magic) => HeaderError::NotLuks,
                (WhichCopy::First, CopyDefect::Version) => HeaderError::Version(3),
                _ => damaged(which, *defect),
            };
            assert_eq!(refusal(&header), expected, "{bytes:02x?} at {offset}");
        }
        // One bit: in the fields, in the JSON, in the zeros behind it, in the checksum and behind that.
        for offset in [24, 300, 4096 + 5, COPY_LEN - 1, 448, 480, 511, 512] {
            let mut header = luks2(JSON.trim_end().as_bytes());
            header[begin + offset] ^= 1;
            assert_eq!(refusal(&header), damaged(which, CopyDefect::Checksum), "at {offset}");
        }
    }
}

#[test]
fn a_second_copy_where_the_first_says_it_is_not() {
    let mut header = luks2(JSON.trim_end().as_bytes());
    put(&mut header, 8, &0x8000_u64.to_be_bytes());
    header.resize(0x1_0000, 0);
    assert_eq!(refusal(&header), damaged(WhichCopy::First, CopyDefect::Checksum));
}

#[test]
fn copies_that_disagree() {
    let rows: &[(usize, &[u8], CopyField)] = &[
        (16, &4_u64.to_be_bytes(), CopyField::SequenceNumber),
        (24, b"label", CopyField::Label),
        (208, b"subsystem", CopyField::Label),
        (168, b"1", CopyField::Uuid),
        (4096 + 1, b" ", CopyField::Json),
    ];
    for begin in [0, COPY_LEN] {
        for (offset, bytes, field) in rows {
            let mut header = luks2(JSON.trim_end().as_bytes());
            put(&mut header, begin + offset, bytes);
            seal(&mut header);
            assert_eq!(refusal(&header), HeaderError::CopiesDisagree(*field));
        }
    }
}

/// Both salts are random, and a label is nobody's concern.
#[test]
fn copies_that_need_not_agree() {
    let mut header = luks2(JSON.trim_end().as_bytes());
    let before = Header::parse(&header).unwrap();
    put(&mut header, 104, &[7; 64]);
    put(&mut header, 24, b"label");
    put(&mut header, COPY_LEN + 24, b"label");
    seal(&mut header);
    assert_eq!(Header::parse(&header), Ok(before));
}

#[test]
fn a_uuid_that_is_none() {
    let mut header = luks2(JSON.trim_end().as_bytes());
    for begin in [0, COPY_LEN] {
        put(&mut header, begin + 168, b"\n");
    }
    seal(&mut header);
    assert_eq!(refusal(&header), HeaderError::Field("uuid"));
}
