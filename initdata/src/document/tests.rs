//! One defect each, and the one error that names it.

use super::*;
use crate::broker_key::BrokerKeyError;

const DOCUMENT: &str = include_str!("../../tests/data/document.toml");

/// The document with its first `from` replaced.
fn edited(from: &str, to: &str) -> String {
    assert!(DOCUMENT.contains(from), "the document has no {from:?}");
    DOCUMENT.replacen(from, to, 1)
}

fn refusal(from: &str, to: &str) -> DocumentError {
    match Document::parse(&edited(from, to)) {
        Ok(_) => panic!("{to:?} in place of {from:?} was taken"),
        Err(error) => error,
    }
}

fn missing(part: Part, key: &'static str) -> DocumentError {
    DocumentError::Missing { part, key }
}

fn unknown(part: Part, key: &str) -> DocumentError {
    DocumentError::UnknownKey { part, key: key.to_owned() }
}

fn wrong(part: Part, key: &str) -> DocumentError {
    DocumentError::WrongType { part, key: key.to_owned() }
}

#[test]
fn a_document_is_read() {
    let document = Document::parse(DOCUMENT).unwrap();
    assert_eq!(document.text(), DOCUMENT);
    assert_eq!(document.digest(), Algorithm::Sha256.digest(DOCUMENT));

    let settings = document.keybroker();
    assert_eq!(settings.workload, "web");
    assert_eq!(settings.brokers, ["https://k.example.org", "http://10.0.2.2:8000"]);
    assert_eq!(settings.binding, Binding::HostData);
    assert!(settings.certificates.as_ref().unwrap().contains("MIIB"));
    let [root, data] = settings.disks.as_slice() else { panic!("two disks") };
    assert_eq!((root.name.as_str(), root.secret.as_str()), ("root", "passphrase"));
    assert_eq!((root.volume_key.luks(), root.volume_key.salt()), (2, [1; 32].as_slice()));
    assert_eq!((root.segment.key_bits, root.segment.offset), (512, 16_777_216));
    assert_eq!(root.segment.integrity, None);
    assert_eq!((data.volume_key.luks(), data.volume_key.digest()), (1, [4; 20].as_slice()));
    assert_eq!(data.device.path(), "/dev/disk/by-uuid/0199c5c2-0000-7000-8000-000000000000");
}

#[test]
fn a_key_counts_until_its_end() {
    let document = Document::parse(DOCUMENT).unwrap();
    let count = |now: &str| document.keybroker().keys_at(now.parse().unwrap()).count();
    assert_eq!(count("2027-11-29T00:00:00Z"), 2);
    assert_eq!(count("2027-11-29T00:00:01Z"), 1);
    assert_eq!(count("2028-11-29T00:00:01Z"), 0);
}

#[test]
fn a_document_that_was_written_says_what_it_was_told() {
    let mut settings = Document::parse(DOCUMENT).unwrap().keybroker().clone();
    settings.workload = "it'''s-\u{e9}".to_owned();
    settings.disks[0].segment.integrity = Some("hmac(sha256)".to_owned());
    settings.disks[0].segment.flags = vec!["allow-discards".to_owned(), "no-journal".to_owned()];
    for algorithm in Algorithm::ALL {
        for binding in Binding::ALL {
            settings.binding = binding;
            let document = Document::write(algorithm, &settings).unwrap();
            assert_eq!(document.keybroker(), &settings);
            assert_eq!(document.digest().algorithm(), algorithm);
            assert_eq!(Document::parse(document.text()), Ok(document));
        }
    }
}

#[test]
fn a_document_that_could_not_be_read_is_not_written() {
    let sound = Document::parse(DOCUMENT).unwrap().keybroker().clone();
    let mut settings = sound.clone();
    settings.disks.clear();
    assert_eq!(Document::write(Algorithm::Sha256, &settings), Err(DocumentError::NoDisk));
    let mut settings = sound.clone();
    settings.certificates = Some("\"\"\"\nworkload = \"other\"".to_owned());
    assert_eq!(Document::write(Algorithm::Sha256, &settings), Err(DocumentError::Certificates));
    let mut settings = sound;
    settings.disks[0].segment.integrity = Some("none".to_owned());
    assert_eq!(Document::write(Algorithm::Sha256, &settings), Err(DocumentError::Unwritable));
}

#[test]
fn the_document_itself() {
    let document = Part::Document;
    assert_eq!(Document::parse(&" ".repeat(Document::MAX_LEN + 1)), Err(DocumentError::TooLong));
    assert_eq!(Document::parse(""), Err(missing(document, "version")));
    let rows = [
        ("[data]", "[data", DocumentError::Toml { part: document, line: 4 }),
        ("algorithm", "version", DocumentError::DuplicateKey { part: document, line: 2 }),
        ("\"aa.toml\"", "\"keybroker.toml\"", DocumentError::DuplicateKey { part: document, line: 6 }),
        ("[data]", "later = 1\n[data]", unknown(document, "later")),
        ("\"0.1.0\"", "\"0.2.0\"", DocumentError::Version),
        ("\"0.1.0\"", "0.1", wrong(document, "version")),
        ("\"sha256\"", "\"SHA256\"", DocumentError::Algorithm),
        ("\"sha256\"", "256", wrong(document, "algorithm")),
        ("algorithm = \"sha256\"", "", missing(document, "algorithm")),
        ("[data]", "[other]", missing(document, "data")),
        ("[data]", "[[data]]", wrong(document, "data")),
        ("keybroker.toml", "other.toml", missing(Part::Data, "keybroker.toml")),
        ("\"another program's\"", "7", wrong(Part::Data, "aa.toml")),
    ];
    for (from, to, error) in rows {
        assert_eq!(refusal(from, to), error, "{from:?} → {to:?}");
    }
    let files: String = (0..15).map(|file| format!("file{file} = ''\n")).collect();
    assert_eq!(refusal("\"aa.toml\"", &format!("{files}\"aa.toml\"")), DocumentError::TooManyFiles);
}

#[test]
fn its_settings() {
    let settings = Part::Settings;
    let long = format!("workload = \"{}\"", "w".repeat(257));
    let nine = format!("brokers = [{}", "\"http://k\",".repeat(7));
    let rows = [
        ("workload =", "workload", DocumentError::Toml { part: settings, line: 1 }),
        ("binding", "workload", DocumentError::DuplicateKey { part: settings, line: 3 }),
        ("binding =", "later = 1\nbinding =", unknown(settings, "later")),
        ("workload = \"web\"", "", missing(settings, "workload")),
        ("workload = \"web\"", "workload = 1", wrong(settings, "workload")),
        ("workload = \"web\"", "workload = \"\"", DocumentError::Workload),
        ("workload = \"web\"", "workload = \"a/b\"", DocumentError::Workload),
        ("workload = \"web\"", "workload = \"..\"", DocumentError::Workload),
        ("workload = \"web\"", long.as_str(), DocumentError::Workload),
        ("brokers =", "brokers = []\n#", DocumentError::NoBroker),
        ("brokers =", "#", DocumentError::NoBroker),
        ("brokers =", "brokers = \"http://k\" #", wrong(settings, "brokers")),
        ("brokers =", "brokers = [1] #", wrong(settings, "brokers")),
        ("brokers = [", nine.as_str(), DocumentError::TooManyBrokers),
        ("\"host-data\"", "\"hostdata\"", DocumentError::Binding),
        ("\"host-data\"", "true", wrong(settings, "binding")),
        ("binding = \"host-data\"", "", missing(settings, "binding")),
        ("BEGIN CERTIFICATE", "BEGIN PRIVATE KEY", DocumentError::Certificates),
        ("MIIB", "MI%B", DocumentError::Certificates),
        ("certificates =", "certificates = 1\nworkload2 =", wrong(settings, "certificates")),
    ];
    for (from, to, error) in rows {
        assert_eq!(refusal(from, to), error, "{from:?} → {to:?}");
    }
}

#[test]
fn its_urls() {
    let long = format!("https://k/{}", "p".repeat(503));
    let rows = [
        ("ftp://k.example.org", DocumentError::BrokerScheme),
        ("HTTPS://k.example.org", DocumentError::BrokerScheme),
        ("file:///etc/passwd", DocumentError::BrokerScheme),
        ("k.example.org", DocumentError::BrokerScheme),
        ("https://", DocumentError::BrokerUrl),
        ("https://:8000", DocumentError::BrokerUrl),
        ("https://k.example.org:", DocumentError::BrokerUrl),
        ("https://k.example.org:99999", DocumentError::BrokerUrl),
        ("https://user:token@k.example.org", DocumentError::BrokerUrl),
        ("https://k.example.org?query", DocumentError::BrokerUrl),
        ("https://k.example.org/#fragment", DocumentError::BrokerUrl),
        ("https://k.example.org/a b", DocumentError::BrokerUrl),
        (long.as_str(), DocumentError::BrokerUrl),
    ];
    for (url, error) in rows {
        assert_eq!(refusal("https://k.example.org", url), error, "{url}");
    }
    for url in ["http://[fd00::1]:8000", "https://10.0.2.2/stage/", "http://k"] {
        assert!(Document::parse(&edited("https://k.example.org", url)).is_ok(), "{url}");
    }
}

#[test]
fn its_broker_keys() {
    let part = Part::BrokerKey;
    let keys: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("key = ")).collect();
    let [first, second] = keys.as_slice() else { panic!("two keys") };
    let third = first.replacen("BAcH", "BAcI", 1);
    let more = format!("[[broker_key]]\n{third}\nnot_after = 2027-11-29T00:00:00Z\n");
    let five = more.repeat(3) + "[[broker_key]]";
    let rows = [
        (second, *first, DocumentError::RepeatedBrokerKey),
        (first, "key = 'no text'", DocumentError::BrokerKey(BrokerKeyError::Encoding)),
        (first, "key = 'BAcH'", DocumentError::BrokerKey(BrokerKeyError::Length)),
        (first, "key = 7", wrong(part, "key")),
        (first, "", missing(part, "key")),
        (first, "key = 'BAcH'\nlater = 1", DocumentError::BrokerKey(BrokerKeyError::Length)),
        (&"not_after", "later = 1\nnot_after", unknown(part, "later")),
        (&"2027-11-29T00:00:00Z", "2027-11-29T00:00:00", DocumentError::NotAfter),
        (&"2027-11-29T00:00:00Z", "2027-11-29", DocumentError::NotAfter),
        (&"2027-11-29T00:00:00Z", "'2027-11-29T00:00:00Z'", wrong(part, "not_after")),
        (&"not_after = 2027-11-29T00:00:00Z", "", missing(part, "not_after")),
        (&"[[broker_key]]", five.as_str(), DocumentError::TooManyBrokerKeys),
        (
            &"[[broker_key]]",
            "broker_key = []\n[other]",
            DocumentError::DuplicateKey { part: Part::Settings, line: 15 },
        ),
    ];
    for (from, to, error) in rows {
        assert_eq!(refusal(from, to), error, "{from:?} → {to:?}");
    }
    let at = |text| DOCUMENT.find(text).unwrap();
    let none = format!("{}{}", &DOCUMENT[..at("[[broker_key]]")], &DOCUMENT[at("[[disk]]")..]);
    assert_eq!(Document::parse(&none), Err(DocumentError::NoBrokerKey));
    let one = none.replacen("[[disk]]", "[broker_key]\n[[disk]]", 1);
    assert_eq!(Document::parse(&one), Err(wrong(Part::Settings, "broker_key")));
}

#[test]
fn its_disks() {
    let disk = Part::Disk;
    let long = format!("\"/dev/{}\"", "v".repeat(252));
    let secret = format!("\"{}\"", "s".repeat(65));
    let rows = [
        ("name = \"root\"", "name = \"\"", DocumentError::DiskName),
        ("name = \"root\"", "name = \"control\"", DocumentError::DiskName),
        ("name = \"root\"", "name = \"..\"", DocumentError::DiskName),
        ("name = \"root\"", "name = \"-root\"", DocumentError::DiskName),
        ("name = \"root\"", "name = \"ro-ot\"", DocumentError::DiskName),
        ("name = \"root\"", "name = \"ro/ot\"", DocumentError::DiskName),
        ("name = \"root\"", "name = \"ro ot\"", DocumentError::DiskName),
        ("name = \"root\"", "name = 1", wrong(disk, "name")),
        ("name = \"root\"", "", missing(disk, "name")),
        ("name = \"root\"", "name = \"data\"", DocumentError::RepeatedDisk),
        ("name = \"root\"", "name = \"root\"\nlater = 1", unknown(disk, "later")),
        ("\"/dev/vda2\"", "\"vda2\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"/dev/\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"/dev/../etc/shadow\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"/dev//vda2\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"/etc/shadow\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"/dev/vda 2\"", DocumentError::Device),
        ("\"/dev/vda2\"", long.as_str(), DocumentError::Device),
        ("\"/dev/vda2\"", "\"ID=1\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"UUID=\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"LABEL=a/b\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"LABEL=../x\"", DocumentError::Device),
        ("\"/dev/vda2\"", "\"UUID=0199c5c2-0000-7000-8000-000000000000\"", DocumentError::RepeatedDevice),
        ("\"passphrase\"", "\"\"", DocumentError::SecretName),
        ("\"passphrase\"", "\"a b\"", DocumentError::SecretName),
        ("\"passphrase\"", secret.as_str(), DocumentError::SecretName),
        ("\"passphrase\"", "1", wrong(disk, "secret")),
        ("[disk.segment]", "[disk.other]", missing(disk, "segment")),
        ("[disk.volume_key]", "[disk.other]", missing(disk, "volume_key")),
    ];
    for (from, to, error) in rows {
        assert_eq!(refusal(from, to), error, "{from:?} → {to:?}");
    }
    for device in ["PARTUUID=01", "LABEL=root", "/dev/disk/by-id/virtio-root"] {
        let document = Document::parse(&edited("/dev/vda2", device)).unwrap();
        assert_eq!(document.keybroker().disks[0].device.to_string(), device);
    }

    let end = DOCUMENT.find("[[disk]]").unwrap();
    let none = format!("{}'''\n", &DOCUMENT[..end]);
    assert_eq!(Document::parse(&none), Err(DocumentError::NoDisk));
    let many = format!("{}{}'''\n", &DOCUMENT[..end], "[[disk]]\n".repeat(17));
    assert_eq!(Document::parse(&many), Err(DocumentError::TooManyDisks));
}

#[test]
fn its_volume_keys() {
    let part = Part::VolumeKey;
    let rows = [
        ("luks = 2", "luks = 3", DocumentError::LuksVersion),
        ("luks = 2", "luks = \"2\"", wrong(part, "luks")),
        ("luks = 2", "luks = -2", wrong(part, "luks")),
        ("luks = 2", "", missing(part, "luks")),
        ("luks = 2", "luks = 2\nlater = 1", unknown(part, "later")),
        ("luks = 2", "luks = 1", DocumentError::VolumeKey),
        ("luks = 1", "luks = 1\ntype = \"pbkdf2\"", unknown(part, "type")),
        ("type = \"pbkdf2\"", "type = \"argon2id\"", DocumentError::VolumeKey),
        ("type = \"pbkdf2\"", "", missing(part, "type")),
        ("hash = \"sha256\"", "hash = \"\"", DocumentError::VolumeKey),
        ("hash = \"sha256\"", "hash = \"sha 256\"", DocumentError::VolumeKey),
        ("iterations = 1000", "iterations = 0", DocumentError::VolumeKey),
        ("iterations = 1000", "iterations = 4294967296", wrong(part, "iterations")),
        ("iterations = 1000", "iterations = 1000.0", wrong(part, "iterations")),
        ("salt = \"AQ", "salt = \"A", DocumentError::VolumeKey),
        ("salt = \"", "salt = \"\" #", DocumentError::VolumeKey),
        ("digest = \"", "digest = \"AAAA\" #", DocumentError::VolumeKey),
        ("digest = \"", "other = \"", missing(part, "digest")),
    ];
    for (from, to, error) in rows {
        assert_eq!(refusal(from, to), error, "{from:?} → {to:?}");
    }
}

#[test]
fn its_segments() {
    let part = Part::Segment;
    let rows = [
        ("\"aes-xts-plain64\"", "\"cipher_null-ecb\"", DocumentError::NullCipher),
        ("\"aes-xts-plain64\"", "\"capi:ecb(cipher_null)-plain\"", DocumentError::NullCipher),
        ("\"aes-xts-plain64\"", "\"\"", DocumentError::Segment),
        ("\"aes-xts-plain64\"", "\"aes xts\"", DocumentError::Segment),
        ("key_bits = 512", "key_bits = 0", DocumentError::Segment),
        ("key_bits = 512", "key_bits = 513", DocumentError::Segment),
        ("key_bits = 512", "", missing(part, "key_bits")),
        ("sector_size = 512", "sector_size = 513", DocumentError::Segment),
        ("offset = 16777216", "offset = 0", DocumentError::Segment),
        ("offset = 16777216", "offset = 16777217", DocumentError::Segment),
        ("offset = 16777216", "offset = \"16777216\"", wrong(part, "offset")),
        ("integrity = \"none\"", "integrity = \"\"", DocumentError::Segment),
        ("integrity = \"none\"", "", missing(part, "integrity")),
        ("integrity = \"none\"", "integrity = \"none\"\nlater = 1", unknown(part, "later")),
        ("integrity = \"none\"", "integrity = \"none\"\nflags = [\"other\"]", DocumentError::Segment),
        (
            "integrity = \"none\"",
            "integrity = \"none\"\nflags = [\"no-journal\", \"allow-discards\"]",
            DocumentError::Segment,
        ),
    ];
    for (from, to, error) in rows {
        assert_eq!(refusal(from, to), error, "{from:?} → {to:?}");
    }
}

/// The digest of a document of other programs' files is looked for in its first lines alone.
#[test]
fn any_documents_digest_is_by_the_algorithm_above_its_data() {
    assert_eq!(digest_of(DOCUMENT), Document::parse(DOCUMENT).map(|document| document.digest()));
    let head = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n";
    let text_of_lines = "# [x]\n[data]\n\"aa.toml\" = '''\n[x]\n'''";
    for data in ["[data]", "  [ data ] # files", "[data]\r", text_of_lines] {
        let text = format!("{head}{data}\n");
        assert_eq!(digest_of(&text), Ok(Algorithm::Sha256.digest(&text)), "{data}");
    }
    // Nothing behind the header says anything of the algorithm.
    let text = format!("{head}[data]\nalgorithm = \"sha512\"\n");
    assert_eq!(digest_of(&text), Ok(Algorithm::Sha256.digest(&text)));
    let inside = "x = [\n[1]]\n[data]";
    for data in ["", "data = {}", "[data.x]", "[[data]]", "[x]\n[data]", "[\"data\"]", "[data", inside] {
        assert!(digest_of(&format!("{head}{data}\n")).is_err(), "{data}");
    }
    assert_eq!(digest_of(&format!("{head}x = 1\n[data]")), Err(unknown(Part::Document, "x")));
    let twice = format!("{head}algorithm = \"sha512\"\n[data]");
    let duplicate = DocumentError::DuplicateKey { part: Part::Document, line: 3 };
    assert_eq!(digest_of(&twice), Err(duplicate));
    for (from, to, error) in [
        ("0.1.0", "0.2.0", DocumentError::Version),
        ("sha256", "md5", DocumentError::Algorithm),
        ("version", "# version", missing(Part::Document, "version")),
        ("algorithm", "# algorithm", missing(Part::Document, "algorithm")),
    ] {
        assert_eq!(digest_of(&format!("{}[data]", head.replace(from, to))), Err(error));
    }
}
