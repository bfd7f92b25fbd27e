//! The files that buildah and a distribution leave on a machine: the disk of an image, a library, and the
//! guest's programs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keybroker_testing::krunfw::Krunfw;
use keybroker_tests::{operator::Operator, program::Ended};
use serde_json::Value;
use tempfile::TempDir;

/// An image's disk with all that krun-initrd takes beside it.
pub(crate) struct Image {
    directory: TempDir,
    pub passphrase: String,
    pub library: PathBuf,
    pub guest: PathBuf,
    cryptsetup: PathBuf,
}

impl Image {
    /// The disk of an image that buildah registered under `id`, and encrypted with `passphrase`.
    pub(crate) fn new(id: &str, passphrase: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let library = Krunfw::default().build(directory.path());
        let guest = program(directory.path(), "guest");
        let cryptsetup = program(directory.path(), "cryptsetup");
        fs::write(directory.path().join("disk.img"), disk(id)).unwrap();
        fs::write(directory.path().join("passphrase"), format!("{passphrase}\n")).unwrap();
        Self { directory, passphrase: passphrase.to_owned(), library, guest, cryptsetup }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Where the command writes.
    pub(crate) fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// The document that it wrote.
    pub(crate) fn document(&self) -> String {
        fs::read_to_string(self.out().join("initdata.toml")).unwrap()
    }

    /// Changes the disk.
    pub(crate) fn alter(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = fs::read(self.path("disk.img")).unwrap();
        change(&mut disk);
        fs::write(self.path("disk.img"), disk).unwrap();
    }

    /// Makes the guest's program so much longer, by bytes that do not compress.
    pub(crate) fn enlarge_guest(&self, bytes: usize) {
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let mut program = fs::read(&self.guest).unwrap();
        program.extend(noise.take(bytes));
        fs::write(&self.guest, program).unwrap();
    }

    /// The command, up to the question.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let options = [
            ("--image", path(self.directory.path())),
            ("--library", path(&self.library)),
            ("--out", path(&self.out())),
            ("--guest", path(&self.guest)),
            ("--cryptsetup", path(&self.cryptsetup)),
            ("--passphrase-file", self.path("passphrase")),
            ("--broker", "http://127.0.0.1:8000".to_owned()),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        std::iter::once("krun-initrd".to_owned()).chain(options).collect()
    }

    /// Runs the command.
    pub(crate) fn run(&self, operator: &Operator, further: &[&str]) -> Ended {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        operator.run(&[&arguments[..], &["--yes", "--json"], further].concat())
    }

    /// Runs the command, which succeeds, and returns what it prints.
    pub(crate) fn bind(&self, operator: &Operator, further: &[&str]) -> Value {
        let ended = self.run(operator, further);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!format!("{ended:?}").contains(&self.passphrase), "{ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    }
}

/// A static program.
fn program(directory: &Path, name: &str) -> PathBuf {
    let (source, program) = (directory.join("program.c"), directory.join(name));
    fs::write(&source, format!("const char name[] = \"{name}\"; int main(void) {{ return name[0]; }}"))
        .unwrap();
    let built = Command::new("cc").args(["-static", "-o"]).args([&program, &source]).status().unwrap();
    assert!(built.success());
    program
}

/// The disk: a LUKS1 header as cryptsetup writes it, no data, and buildah's trailer.
fn disk(id: &str) -> Vec<u8> {
    const KEY: u32 = 64;
    const STRIPES: u32 = 4000;
    let mut disk = vec![0; 2 << 20];
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"LUKS\xba\xbe\x00\x01");
    put(8, b"aes");
    put(40, b"xts-plain64");
    put(72, b"sha256");
    put(104, &4096_u32.to_be_bytes()); // the data's sector
    put(108, &KEY.to_be_bytes());
    // Digest and salt of the volume key: of this workload alone.
    let own: Vec<u8> = id.bytes().cycle().take(52).collect();
    put(112, &own);
    put(164, &1000_u32.to_be_bytes());
    put(168, b"0197c5c2-0000-4000-8000-000000000000");
    for slot in 0..8 {
        let at = 208 + slot * 48;
        put(at, &if slot == 0 { 0x00AC_71F3_u32 } else { 0x0000_DEAD }.to_be_bytes());
        put(at + 4, &1000_u32.to_be_bytes());
        put(at + 40, &(8 + slot as u32 * (KEY * STRIPES).div_ceil(512).next_multiple_of(8)).to_be_bytes());
        put(at + 44, &STRIPES.to_be_bytes());
    }
    let trailer = format!(
        r#"{{"tee":"snp","tee_data":"{{\"gen\":\"milan\"}}","workload_id":"{id}","cpus":2,"ram_mib":512,"attestation_url":"http://127.0.0.1:8000"}}"#
    );
    disk.extend(trailer.as_bytes());
    disk.extend(b"KRUN");
    disk.extend((trailer.len() as u64).to_le_bytes());
    disk
}
