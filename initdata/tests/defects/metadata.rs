use keybroker_initdata::{
    luks::{Header, HeaderError, JsonDefect},
    volume_key::VolumeKeyDigest,
};

use crate::{
    headers::{JSON, luks2},
    refusal,
};

/// A header whose JSON has its first `from` replaced.
fn edited(from: &str, to: &str) -> Vec<u8> {
    assert!(JSON.contains(from), "the JSON has no {from:?}");
    luks2(JSON.trim_end().replacen(from, to, 1).as_bytes())
}

fn all(rows: &[(&str, &str, HeaderError)]) {
    for (from, to, error) in rows {
        assert_eq!(&refusal(&edited(from, to)), error, "{from:?} → {to:?}");
    }
}

#[test]
fn what_a_header_says() {
    let header = Header::parse(&edited("0", "0")).unwrap();
    let digest = VolumeKeyDigest::Luks2 {
        hash: "sha256".to_owned(),
        iterations: 1000,
        salt: vec![1; 32],
        digest: vec![2; 32],
    };
    assert_eq!(header.volume_key(), &digest);
    let segment = header.segment();
    assert_eq!((segment.cipher.as_str(), segment.key_bits), ("aes-xts-plain64", 512));
    assert_eq!((segment.sector_size, segment.offset), (512, 16_777_216));
    assert_eq!((segment.integrity.as_deref(), segment.flags.len()), (None, 0));

    let integrity = r#""sector_size":512,"integrity":{"type":"hmac(sha256)","journal_encryption":"none","journal_integrity":"none"}"#;
    let header = Header::parse(&edited("\"sector_size\":512", integrity)).unwrap();
    assert_eq!(header.segment().integrity.as_deref(), Some("hmac(sha256)"));

    let flags = r#""config":{"flags":["no-journal","allow-discards"],"requirements":{"mandatory":[]},"#;
    let header = Header::parse(&edited("\"config\":{", flags)).unwrap();
    assert_eq!(header.segment().flags, ["allow-discards", "no-journal"]);
}

#[test]
fn json_that_two_readers_take_differently() {
    let json = HeaderError::Json;
    all(&[
        ("\"config\":{", "\"config\":{},\"config\":{", json(JsonDefect::DuplicateName)),
        ("\"type\":\"crypt\"", "\"type\":\"linear\",\"type\":\"crypt\"", json(JsonDefect::DuplicateName)),
        ("\"type\":\"crypt\"", "\"typ\\u0065\":\"x\",\"type\":\"crypt\"", json(JsonDefect::DuplicateName)),
        ("\"nothing\":null", "\"number\":null", json(JsonDefect::DuplicateName)),
        ("\"tokens\":{", "\"tokens\\u0000\":{", json(JsonDefect::ControlCharacter)),
        ("\"type\":\"crypt\"", "\"type\":\"crypt\\u0000x\"", json(JsonDefect::ControlCharacter)),
        ("\"example\"", "\"exa\\nmple\"", json(JsonDefect::ControlCharacter)),
        ("\"config\":{", "/* */\"config\":{", json(JsonDefect::Syntax)),
        ("\"config\":{", "'config':{", json(JsonDefect::Syntax)),
        ("\"yes\":true", "\"yes\":true,", json(JsonDefect::Syntax)),
        ("\"yes\":true", "\"yes\":NaN", json(JsonDefect::Syntax)),
    ]);
    let text = JSON.trim_end();
    assert_eq!(refusal(&luks2(format!("{text}\0{{}}").as_bytes())), json(JsonDefect::Trailing));
    assert_eq!(refusal(&luks2(format!("{text}{{}}").as_bytes())), json(JsonDefect::Syntax));
    assert_eq!(refusal(&luks2(format!(" {text}").as_bytes())), json(JsonDefect::Syntax));
    assert_eq!(refusal(&luks2(b"")), json(JsonDefect::Syntax));
    assert_eq!(refusal(&luks2(b"[]")), json(JsonDefect::Syntax));
    assert_eq!(refusal(&luks2(&[b' '; 12288])), json(JsonDefect::Trailing));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    assert_eq!(refusal(&luks2(deep.as_bytes())), json(JsonDefect::Syntax));
}

#[test]
fn numbers_of_the_wrong_form() {
    all(&[
        ("\"offset\":\"16777216\"", "\"offset\":16777216", HeaderError::WrongType("offset")),
        ("\"16777216\"", "\"016777216\"", HeaderError::Value("offset")),
        ("\"16777216\"", "\"0x1000000\"", HeaderError::Value("offset")),
        ("\"16777216\"", "\"+16777216\"", HeaderError::Value("offset")),
        ("\"16777216\"", "\" 16777216\"", HeaderError::Value("offset")),
        ("\"16777216\"", "\"\"", HeaderError::Value("offset")),
        ("\"16777216\"", "\"18446744073709551616\"", HeaderError::Value("offset")),
        ("\"sector_size\":512", "\"sector_size\":\"512\"", HeaderError::WrongType("sector_size")),
        ("\"sector_size\":512", "\"sector_size\":512.0", HeaderError::WrongType("sector_size")),
        ("\"sector_size\":512", "\"sector_size\":-512", HeaderError::WrongType("sector_size")),
        ("\"sector_size\":512", "\"sector_size\":513", HeaderError::Value("sector_size")),
        ("\"key_size\":64", "\"key_size\":\"64\"", HeaderError::WrongType("key_size")),
        (
            "\"segments\":[\"0\"],\"hash\":\"sha256\",\"iterations\":1000",
            "\"segments\":[\"0\"],\"hash\":\"sha256\",\"iterations\":\"1000\"",
            HeaderError::WrongType("iterations"),
        ),
    ]);
}

#[test]
fn members_that_are_missing() {
    for name in ["keyslots", "tokens", "segments", "digests", "config"] {
        let member = format!("\"{name}\":{{");
        all(&[(member.as_str(), "\"other\":{", HeaderError::Missing(name))]);
    }
    all(&[
        ("\"tokens\":{", "\"tokens\":[],\"other\":{", HeaderError::WrongType("tokens")),
        ("\"json_size\"", "\"other\"", HeaderError::Missing("json_size")),
        ("\"keyslots_size\"", "\"other\"", HeaderError::Missing("keyslots_size")),
        ("\"iv_tweak\"", "\"integrity\":{},\"other\"", HeaderError::SegmentMember),
        ("\"iv_tweak\":\"0\",", "", HeaderError::Missing("iv_tweak")),
        ("\"area\"", "\"other\"", HeaderError::Missing("area")),
        (
            "\"salt\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\",\"digest\"",
            "\"digest\"",
            HeaderError::Missing("salt"),
        ),
    ]);
}

#[test]
fn the_null_cipher() {
    let segment = "\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\"";
    let keyslot = "\"size\":\"258048\",\"encryption\":\"aes-xts-plain64\"";
    for null in ["cipher_null", "cipher_null-ecb", "capi:ecb(cipher_null)-plain", "CIPHER_NULL-ecb"] {
        let edit = |place: &str| place.replace("aes-xts-plain64", null);
        all(&[
            (segment, edit(segment).as_str(), HeaderError::NullCipher),
            (keyslot, edit(keyslot).as_str(), HeaderError::NullCipherInKeyslot),
        ]);
    }
    // In a keyslot that nobody would use, too.
    let last = JSON.rfind(keyslot).unwrap();
    let json = format!("{}{}", &JSON[..last], JSON[last..].replacen("aes-xts-plain64", "cipher_null-ecb", 1));
    assert_eq!(refusal(&luks2(json.trim_end().as_bytes())), HeaderError::NullCipherInKeyslot);
}

#[test]
fn a_reencryption() {
    let required = |name: &str| format!("\"config\":{{\"requirements\":{{\"mandatory\":[\"{name}\"]}},");
    for name in ["online-reencrypt", "online-reencrypt-v2", "offline-reencrypt"] {
        all(&[("\"config\":{", required(name).as_str(), HeaderError::Reencryption)]);
    }
    let segment = "\"0\":{\"type\":\"crypt\"";
    let backup = "\"1\":{\"type\":\"crypt\",\"flags\":[\"backup-final\"]},\"0\":{\"type\":\"crypt\"";
    all(&[
        ("\"type\":\"luks2\"", "\"type\":\"reencrypt\"", HeaderError::Reencryption),
        (segment, backup, HeaderError::Reencryption),
        (segment, "\"0\":{\"flags\":[\"in-reencryption\"],\"type\":\"crypt\"", HeaderError::Reencryption),
    ]);
}

#[test]
fn requirements_and_flags() {
    let config = "\"config\":{";
    let with = |member: &str| format!("\"config\":{{{member},");
    let rows = [
        ("\"requirements\":{\"mandatory\":[\"opal\"]}", HeaderError::UnknownRequirement),
        ("\"requirements\":{\"mandatory\":[],\"optional\":[]}", HeaderError::UnknownRequirement),
        ("\"requirements\":{\"mandatory\":\"opal\"}", HeaderError::WrongType("mandatory")),
        ("\"requirements\":[\"opal\"]", HeaderError::WrongType("requirements")),
        ("\"flags\":[\"later\"]", HeaderError::UnknownFlag),
        ("\"flags\":\"no-journal\"", HeaderError::WrongType("flags")),
        ("\"flags\":[1]", HeaderError::WrongType("flags")),
    ];
    for (member, error) in rows {
        all(&[(config, with(member).as_str(), error)]);
    }
}

#[test]
fn sizes() {
    all(&[
        ("\"12288\"", "\"28672\"", HeaderError::Value("json_size")),
        ("\"16744448\"", "\"16744449\"", HeaderError::TooLong),
        ("\"16744448\"", "\"18446744073709551615\"", HeaderError::TooLong),
        ("\"16777216\"", "\"16776704\"", HeaderError::DataInHeader),
    ]);
}

#[test]
fn segments() {
    let segment = "\"0\":{\"type\":\"crypt\"";
    all(&[
        ("\"segments\":{", "\"segments\":{},\"other\":{", HeaderError::NoSegment),
        (segment, "\"1\":{\"type\":\"crypt\"", HeaderError::NoSegment),
        (segment, "\"1\":{\"type\":\"linear\"},\"0\":{\"type\":\"crypt\"", HeaderError::MoreThanOneSegment),
        ("\"segments\":{", "\"segments\":{\"0\":[]},\"other\":{", HeaderError::WrongType("segments")),
        (segment, "\"0\":{\"type\":\"linear\"", HeaderError::SegmentType),
        (segment, "\"0\":{\"type\":\"hw-opal\"", HeaderError::SegmentType),
        (segment, "\"0\":{\"later\":1,\"type\":\"crypt\"", HeaderError::SegmentMember),
        ("\"dynamic\"", "\"1048576\"", HeaderError::SegmentSize),
        ("\"iv_tweak\":\"0\"", "\"iv_tweak\":\"8\"", HeaderError::SegmentTweak),
        (
            "\"encryption\":\"aes-xts-plain64\",\"sector_size\"",
            "\"encryption\":\"aes xts\",\"sector_size\"",
            HeaderError::Value("segments"),
        ),
    ]);
    let integrity = |text: &str| format!("\"sector_size\":512,\"integrity\":{text}");
    let rows = [
        ("{}", HeaderError::Missing("journal_encryption")),
        ("[]", HeaderError::WrongType("integrity")),
        (
            r#"{"type":"hmac(sha256)","journal_encryption":"aes","journal_integrity":"none"}"#,
            HeaderError::Value("journal_encryption"),
        ),
        (
            r#"{"type":"hmac(sha256)","journal_encryption":"none","journal_integrity":"x"}"#,
            HeaderError::Value("journal_integrity"),
        ),
        (
            r#"{"type":"none","journal_encryption":"none","journal_integrity":"none"}"#,
            HeaderError::Value("segments"),
        ),
        (r#"{"type":"hmac(sha256)","later":1}"#, HeaderError::SegmentMember),
    ];
    for (text, error) in rows {
        all(&[("\"sector_size\":512", integrity(text).as_str(), error)]);
    }
}

#[test]
fn digests() {
    let digest = "\"0\":{\"type\":\"pbkdf2\"";
    let value = "\"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"";
    let iterations =
        "\"iterations\":1000,\"salt\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\",\"digest\"";
    let edit = |from: &str, to: &str| iterations.replace(from, to);
    all(&[
        ("\"digests\":{", "\"digests\":{},\"other\":{", HeaderError::NoDigest),
        (digest, "\"1\":{},\"0\":{\"type\":\"pbkdf2\"", HeaderError::MoreThanOneDigest),
        ("\"digests\":{", "\"digests\":{\"0\":1},\"other\":{", HeaderError::WrongType("digests")),
        (digest, "\"0\":{\"type\":\"argon2id\"", HeaderError::Digest),
        ("\"segments\":[\"0\"]", "\"segments\":[]", HeaderError::DigestOfNoSegment),
        ("\"segments\":[\"0\"]", "\"segments\":[\"1\"]", HeaderError::DigestOfNoSegment),
        ("\"segments\":[\"0\"]", "\"segments\":[\"0\",\"1\"]", HeaderError::DigestOfNoSegment),
        ("\"segments\":[\"0\"]", "\"segments\":[0]", HeaderError::WrongType("segments")),
        ("[\"0\",\"1\"]", "[\"0\"]", HeaderError::DigestOfOtherKeyslots),
        ("[\"0\",\"1\"]", "[\"0\",\"1\",\"2\"]", HeaderError::DigestOfOtherKeyslots),
        ("[\"0\",\"1\"]", "[\"0\",\"1\",\"1\"]", HeaderError::DigestOfOtherKeyslots),
        (value, "\"AgI\"", HeaderError::Value("digest")),
        (value, "\"AgIC\"", HeaderError::Digest),
        (iterations, edit("1000", "0").as_str(), HeaderError::Digest),
        (iterations, edit("1000", "4294967296").as_str(), HeaderError::Value("iterations")),
        (
            iterations,
            edit("\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"", "\"AQEB\"").as_str(),
            HeaderError::Digest,
        ),
        (
            "\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\",\"digest\"",
            "\"hash\":\"\",\"iterations\":1000,\"salt\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\",\"digest\"",
            HeaderError::Digest,
        ),
    ]);
}

#[test]
fn keyslots() {
    let first = "\"0\":{\"type\":\"luks2\"";
    all(&[
        (first, "\"00\":{\"type\":\"luks2\"", HeaderError::Value("keyslots")),
        (first, "\"0\":{\"type\":\"luks3\"", HeaderError::KeyslotType),
        ("\"type\":\"raw\"", "\"type\":\"journal\"", HeaderError::KeyslotType),
        ("\"key_size\":64", "\"key_size\":32", HeaderError::KeyLengths),
        (
            "\"encryption\":\"aes-xts-plain64\",\"key_size\"",
            "\"encryption\":\"\",\"key_size\"",
            HeaderError::Value("encryption"),
        ),
        ("\"32768\"", "\"32256\"", HeaderError::KeyMaterial),
        ("\"290816\"", "\"290304\"", HeaderError::KeyMaterial),
        ("\"290816\"", "\"16777216\"", HeaderError::KeyMaterial),
        ("\"290816\"", "\"18446744073709551615\"", HeaderError::KeyMaterial),
        ("\"size\":\"258048\"", "\"size\":\"0\"", HeaderError::KeyMaterial),
        ("\"keyslots\":{", "\"keyslots\":{},\"other\":{", HeaderError::NoKeyslot),
        ("\"keyslots\":{", "\"keyslots\":{\"0\":1},\"other\":{", HeaderError::WrongType("keyslots")),
    ]);
    let many: Vec<String> = (1..33).map(|number| format!("\"{number}\":{{}}")).collect();
    for name in ["keyslots", "tokens"] {
        let (from, to) = (format!("\"{name}\":{{"), format!("\"{name}\":{{{},", many.join(",")));
        let json = JSON.replacen(&from, &to, 1).replacen("\"1\":{}", "\"40\":{}", 1);
        assert_eq!(refusal(&luks2(json.trim_end().as_bytes())), HeaderError::TooMany);
    }
    let both = JSON.replace("\"key_size\":64,\"af\"", "\"key_size\":8,\"af\"");
    assert_eq!(refusal(&luks2(both.trim_end().as_bytes())), HeaderError::Value("segments"));
}
