//! Writes a document. This file checks nothing: the caller reads the text again before anybody gets it.

use std::fmt::{Display, Write};

use data_encoding::BASE64;

use super::{
    Document,
    settings::{Disk, Settings},
};
use crate::{digest::Algorithm, volume_key::VolumeKeyDigest};

pub(super) fn document(algorithm: Algorithm, settings: &Settings) -> String {
    format!(
        "version = \"{}\"\nalgorithm = \"{}\"\n\n[data]\n\"{}\" = '''\n{}'''\n",
        Document::VERSION,
        algorithm.name(),
        Document::FILE,
        file(settings)
    )
}

fn file(settings: &Settings) -> String {
    let mut file = Lines(String::new());
    file.entry("workload", quoted(&settings.workload));
    file.entry("brokers", list(&settings.brokers));
    file.entry("binding", quoted(settings.binding.name()));
    if let Some(pem) = &settings.certificates {
        file.entry("certificates", format!("\"\"\"\n{}\"\"\"", escaped(pem)));
    }
    for trusted in &settings.broker_keys {
        file.table("\n[[broker_key]]");
        file.entry("key", quoted(&trusted.key.to_string()));
        file.entry("not_after", trusted.not_after);
    }
    for disk in &settings.disks {
        file.disk(disk);
    }
    file.0
}

struct Lines(String);

impl Lines {
    fn disk(&mut self, disk: &Disk) {
        self.table("\n[[disk]]");
        self.entry("name", quoted(&disk.name));
        self.entry("device", quoted(&disk.device.to_string()));
        self.entry("secret", quoted(&disk.secret));

        let volume_key = &disk.volume_key;
        self.table("[disk.volume_key]");
        self.entry("luks", volume_key.luks());
        if let VolumeKeyDigest::Luks2 { .. } = volume_key {
            self.entry("type", quoted(VolumeKeyDigest::LUKS2_TYPE));
        }
        self.entry("hash", quoted(volume_key.hash()));
        self.entry("iterations", volume_key.iterations());
        self.entry("salt", quoted(&BASE64.encode(volume_key.salt())));
        self.entry("digest", quoted(&BASE64.encode(volume_key.digest())));

        let segment = &disk.segment;
        self.table("[disk.segment]");
        self.entry("cipher", quoted(&segment.cipher));
        self.entry("key_bits", segment.key_bits);
        self.entry("sector_size", segment.sector_size);
        self.entry("offset", segment.offset);
        self.entry("integrity", quoted(segment.integrity.as_deref().unwrap_or("none")));
        if !segment.flags.is_empty() {
            self.entry("flags", list(&segment.flags));
        }
    }

    fn table(&mut self, name: &str) {
        self.0.push_str(name);
        self.0.push('\n');
    }

    fn entry(&mut self, key: &str, value: impl Display) {
        // Writing into a text cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| self::quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text).replace('\n', "\\n"))
}

/// The inside of a string of TOML, on several lines if it has line feeds. Nothing in it ends that string, nor
/// the literal string around the file.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') || (c.is_control() && c != '\n') {
            // Writing into a text cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}
