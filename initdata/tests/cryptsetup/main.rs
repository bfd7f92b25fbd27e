//! Headers that cryptsetup writes, read here and by cryptsetup itself.
//!
//! cryptsetup needs no device-mapper for what it does to headers, and none to encrypt a file anew.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/headers.rs"]
#[allow(dead_code, reason = "a disk of cryptsetup needs no header of ours")]
mod headers;

mod disk;

use disk::{Disk, FAST};
use headers::seal;
use keybroker_initdata::{
    Document,
    luks::{CopyDefect, DiskRefused, Header, HeaderError, WhichCopy, judge, metadata_len},
};
use serde_json::Value;

/// Ends a test where there is no cryptsetup. The line goes around the test harness.
macro_rules! disk {
    ($($arguments:expr),*) => {
        match Disk::format(&[$($arguments),*]) {
            Some(disk) => disk,
            None => return,
        }
    };
}

/// A document's disk that is `header`'s.
fn described(header: &Header) -> keybroker_initdata::Disk {
    let document = Document::parse(include_str!("../data/document.toml")).unwrap();
    let mut disk = document.keybroker().disks[0].clone();
    disk.volume_key = header.volume_key().clone();
    disk.segment = header.segment().clone();
    disk
}

/// Compares what is read here with what cryptsetup says.
fn compare(disk: &Disk) {
    let header = disk.parse().unwrap();
    let metadata: Value =
        serde_json::from_str(&disk.run(&["luksDump", "--dump-json-metadata", "disk"])).unwrap();
    let digest = metadata["digests"].as_object().unwrap().values().next().unwrap();
    let base64 = |bytes| data_encoding::BASE64.encode(bytes);
    assert_eq!(digest["hash"], header.volume_key().hash());
    assert_eq!(digest["iterations"], header.volume_key().iterations());
    assert_eq!(digest["salt"], base64(header.volume_key().salt()));
    assert_eq!(digest["digest"], base64(header.volume_key().digest()));
    let (is, segment) = (header.segment(), &metadata["segments"]["0"]);
    assert_eq!(segment["encryption"], is.cipher.as_str());
    assert_eq!(segment["sector_size"], is.sector_size);
    assert_eq!(segment["offset"], is.offset.to_string());
    let keyslot = metadata["keyslots"].as_object().unwrap().values().next().unwrap();
    assert_eq!(keyslot["key_size"], is.key_bits / 8);
}

#[test]
fn luks2_headers_are_read_as_cryptsetup_reads_them() {
    let forms: [&[&str]; 5] = [
        &[],
        &["--key-size", "256", "--sector-size", "512"],
        &["--cipher", "aes-cbc-essiv:sha256", "--hash", "sha512"],
        &["--luks2-metadata-size", "64k", "--luks2-keyslots-size", "4m"],
        &["--offset", "16384"],
    ];
    for form in forms {
        let mut arguments = vec!["--type", "luks2"];
        arguments.extend(form);
        let Some(disk) = Disk::format(&arguments) else { return };
        compare(&disk);
    }
}

/// cryptsetup gives all the room before the data to key material, and wants it in a copy.
#[test]
fn a_header_of_more_than_16_mib_is_refused() {
    let disk = disk!("--type", "luks2", "--offset", "65536");
    assert_eq!(disk.parse(), Err(HeaderError::TooLong));
}

#[test]
fn luks1_headers_are_read_as_cryptsetup_reads_them() {
    for key_bits in ["512", "256"] {
        let disk = disk!("--type", "luks1", "--key-size", key_bits, "--hash", "sha512");
        let header = disk.parse().unwrap();
        let dump = disk.run(&["luksDump", "disk"]);
        let after = |name: &str| {
            let from = dump.find(name).unwrap() + name.len();
            let lines = dump[from..].lines().take_while(|line| !line.contains(':'));
            lines.flat_map(str::split_whitespace).collect::<String>()
        };
        let hex = |bytes| data_encoding::HEXLOWER.encode(bytes);
        assert_eq!(after("MK digest:"), hex(header.volume_key().digest()));
        assert_eq!(after("MK salt:"), hex(header.volume_key().salt()));
        assert_eq!(after("MK iterations:"), header.volume_key().iterations().to_string());
        assert_eq!(after("Hash spec:"), header.volume_key().hash());
        assert_eq!(after("MK bits:"), header.segment().key_bits.to_string());
        let offset: u64 = after("Payload offset:").parse().unwrap();
        assert_eq!(offset * 512, header.segment().offset);
        assert_eq!(format!("{}-{}", after("Cipher name:"), after("Cipher mode:")), header.segment().cipher);

        // cryptsetup's own conversion says the same in JSON.
        let before = header.volume_key().digest().to_vec();
        disk.run(&["convert", "--type", "luks2", "disk"]);
        compare(&disk);
        assert_eq!(disk.parse().unwrap().volume_key().digest(), before);
    }
}

#[test]
fn a_key_a_token_and_a_label_leave_the_digest_as_it_is() {
    for form in ["luks1", "luks2"] {
        let disk = disk!("--type", form);
        let before = disk.parse().unwrap();
        let registered = described(&before);
        disk.write("more", "another passphrase");
        let add = ["luksAddKey", "--key-file", "key", "--new-keyfile", "more", "disk"];
        disk.run(&[add.as_slice(), &FAST].concat());
        if form == "luks2" {
            disk.write("token", r#"{"type":"example","keyslots":["0"]}"#);
            disk.run(&["token", "import", "--json-file", "token", "disk"]);
            disk.run(&["config", "--label", "root", "disk"]);
        }
        disk.run(&["luksUUID", "--uuid", "0199c5c2-0000-4000-8000-000000000000", "disk"]);
        let written = disk.parse().unwrap();
        assert_eq!(written.volume_key(), before.volume_key());
        assert!(judge(&written, &registered).is_ok());

        // The first key goes, and the second still opens the disk.
        disk.run(&["luksKillSlot", "--key-file", "more", "disk", "0"]);
        assert!(judge(&disk.parse().unwrap(), &registered).is_ok());
        disk.run(&["open", "--test-passphrase", "--key-file", "more", "disk"]);
    }
}

#[test]
fn another_disk_is_refused() {
    let (one, other) = (disk!("--type", "luks2"), disk!("--type", "luks2"));
    let registered = described(&one.parse().unwrap());
    assert_eq!(judge(&other.parse().unwrap(), &registered), Err(DiskRefused::VolumeKey));
    let older = disk!("--type", "luks1");
    assert_eq!(judge(&older.parse().unwrap(), &registered), Err(DiskRefused::LuksVersion));
}

#[test]
fn a_reencryption_changes_the_digest() {
    let disk = disk!("--type", "luks2");
    let registered = described(&disk.parse().unwrap());
    let reencrypt = [&["reencrypt", "--key-file", "key", "disk"], FAST.as_slice()].concat();
    disk.run(&[&reencrypt, ["--init-only"].as_slice()].concat());
    assert_eq!(disk.parse(), Err(HeaderError::Reencryption));
    disk.run(&[&reencrypt, ["--resume-only", "--force-offline-reencrypt"].as_slice()].concat());
    assert_eq!(judge(&disk.parse().unwrap(), &registered), Err(DiskRefused::VolumeKey));
    compare(&disk);
}

/// cryptsetup's older way marks the header first, and then fails here for want of device-mapper.
#[test]
fn a_reencryption_of_luks1_under_way() {
    let disk = disk!("--type", "luks1");
    let reencrypt = ["reencrypt", "--key-file", "key", "disk", "--pbkdf-force-iterations", "1000"];
    assert!(disk.try_run(&reencrypt).is_err());
    assert_eq!(disk.parse(), Err(HeaderError::Reencryption));
}

#[test]
fn a_key_for_something_else_is_refused() {
    let disk = disk!("--type", "luks2");
    disk.run(&[&["luksAddKey", "--unbound", "--key-size", "512", "disk", "key"], FAST.as_slice()].concat());
    assert_eq!(disk.parse(), Err(HeaderError::MoreThanOneDigest));
}

/// cryptsetup repairs a copy on its own when it only shows a header.
#[test]
fn a_damaged_copy_is_refused_until_cryptsetup_has_repaired_it() {
    let disk = disk!("--type", "luks2");
    let header = disk.parse().unwrap();
    let copy_len = metadata_len(&disk.read()).unwrap() / 2;
    for (copy, begin) in [(WhichCopy::First, 0), (WhichCopy::Second, copy_len)] {
        let mut bytes = disk.read();
        bytes[begin + 5000] ^= 1;
        disk.write("disk", &bytes);
        let damaged = HeaderError::Damaged { copy, defect: CopyDefect::Checksum };
        assert_eq!(disk.parse(), Err(damaged));
        disk.run(&["luksDump", "disk"]);
        assert_eq!(disk.parse(), Ok(header.clone()));
    }
}

/// cryptsetup takes the copy with the higher number, whichever that is.
#[test]
fn the_older_copy_of_two_is_never_judged_for_the_newer_one() {
    let disk = disk!("--type", "luks2");
    let older = disk.read();
    disk.run(&["config", "--label", "newer", "disk"]);
    let mut newer = disk.read();
    let copy_len = metadata_len(&newer).unwrap() / 2;
    newer[..copy_len].copy_from_slice(&older[..copy_len]);
    disk.write("disk", &newer);
    assert!(matches!(disk.parse(), Err(HeaderError::CopiesDisagree(_))));
    assert!(disk.run(&["luksDump", "disk"]).contains("newer"));
}

/// cryptsetup reads the null cipher without a word: a header that is altered for it, with checksums that
/// hold.
#[test]
fn the_null_cipher_is_refused() {
    let disk = disk!("--type", "luks2");
    let sound = disk.read();
    let rows =
        [("\"iv_tweak\":\"0\",", HeaderError::NullCipher), ("258048\",", HeaderError::NullCipherInKeyslot)];
    for (before, error) in rows {
        let mut bytes = sound.clone();
        let cipher = format!("{before}\"encryption\":\"aes-xts-plain64\"");
        let null = format!("{before}\"encryption\":\"cipher_null-ecb\"");
        assert_eq!(cipher.len(), null.len());
        for begin in 0..bytes.len().min(0x8000) - cipher.len() {
            if bytes[begin..].starts_with(cipher.as_bytes()) {
                bytes[begin..begin + null.len()].copy_from_slice(null.as_bytes());
            }
        }
        seal(&mut bytes[..0x8000]);
        disk.write("disk", &bytes);
        assert!(disk.run(&["luksDump", "disk"]).contains("cipher_null-ecb"));
        assert_eq!(disk.parse(), Err(error));
    }

    let disk = disk!("--type", "luks1");
    let mut bytes = disk.read();
    bytes[8..20].copy_from_slice(b"cipher_null\0");
    bytes[40..52].copy_from_slice(b"ecb\0\0\0\0\0\0\0\0\0");
    disk.write("disk", &bytes);
    assert!(disk.run(&["luksDump", "disk"]).contains("cipher_null"));
    assert_eq!(disk.parse(), Err(HeaderError::NullCipher));
}

/// The copy that a guest makes is as long as cryptsetup needs one, and the disk behind it serves data alone.
#[test]
fn a_copy_of_the_header_opens_the_disk() {
    for form in ["luks1", "luks2"] {
        let disk = disk!("--type", form);
        let device = disk.read();
        let header = disk.parse().unwrap();
        let length = usize::try_from(header.copy_len()).unwrap();
        assert!(metadata_len(&device).unwrap() <= length);
        disk.write("header", &device[..length]);
        let mut without = device.clone();
        without[..length].fill(0);
        disk.write("disk", &without);
        disk.run(&["open", "--test-passphrase", "--key-file", "key", "--header", "header", "disk"]);
    }
}

/// Whether the headers that the other tests are made of are headers to cryptsetup, too.
#[test]
fn the_fixtures_are_headers() {
    let disk = disk!("--type", "luks2");
    for header in [headers::luks1(), headers::luks2(headers::JSON.trim_end().as_bytes())] {
        let mut bytes = disk.read();
        bytes[..0x8000].fill(0);
        bytes[..header.len()].copy_from_slice(&header);
        disk.write("disk", &bytes);
        assert!(disk.run(&["luksDump", "disk"]).contains("0199c5c2-0000-7000-8000-000000000000"));
    }
}
