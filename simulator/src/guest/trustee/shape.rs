//! A report as the `sev` crate writes it: the serde form of its structure.

use super::json::{numbers, object};
use crate::report::REPORT_LEN;

/// The form of a report in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// `sev` 1.2 to 4.0: every byte, the reserved ones too, with each TCB in Milan's order.
    A,
    /// `sev` 6.0 to 6.2.
    B,
    /// `sev` 6.3 to 8.0: with mitigation vectors.
    C,
}

impl Shape {
    /// Every shape, oldest first.
    pub const ALL: [Shape; 3] = [Self::A, Self::B, Self::C];

    /// The JSON text of a report. `None` if the shape cannot say a byte of it: then the crate either has no
    /// place for it, or the guest fails.
    pub fn write(self, report: &[u8; REPORT_LEN]) -> Option<String> {
        let report = Report(report);
        if self == Self::A {
            return Some(report.shape_a());
        }
        let mitigations = report.mitigations();
        let silent = (RESERVED.iter().all(|(from, to)| report.is_zero(*from, *to)))
            && (report.version() > 2 || report.is_zero(0x188, 0x18B))
            && (mitigations && self == Self::C || report.is_zero(0x1F8, 0x208));
        silent.then(|| report.shape_b_or_c(self == Self::C)).flatten()
    }
}

/// The bytes that have a place in shape A alone.
const RESERVED: [(usize, usize); 6] =
    [(0x04C, 0x050), (0x18B, 0x1A0), (0x1EB, 0x1EC), (0x1EF, 0x1F0), (0x208, 0x2A0), (0x330, 0x4A0)];

type Member = (&'static str, String);

/// A reader of the ABI's offsets.
struct Report<'a>(&'a [u8; REPORT_LEN]);

impl Report<'_> {
    fn bytes(&self, at: usize, length: usize) -> &[u8] {
        self.0.get(at..at + length).unwrap_or_default()
    }

    fn number(&self, at: usize, length: usize) -> u64 {
        self.bytes(at, length).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn is_zero(&self, from: usize, to: usize) -> bool {
        self.bytes(from, to - from).iter().all(|byte| *byte == 0)
    }

    fn version(&self) -> u64 {
        self.number(0, 4)
    }

    /// Whether the version has mitigation vectors.
    fn mitigations(&self) -> bool {
        self.version() >= 5
    }

    /// Whether the crate takes each TCB for Turin's. `None` if it cannot tell, and the guest fails: version 2
    /// does not name the CPU, and a masked chip id does not either.
    fn turin(&self) -> Option<bool> {
        if self.version() > 2 {
            return Some(self.number(0x188, 1) >= 0x1A);
        }
        (!self.is_zero(0x1A0, 0x1E0)).then(|| self.is_zero(0x1A8, 0x1E0))
    }

    fn u8(&self, name: &'static str, at: usize) -> Member {
        (name, self.number(at, 1).to_string())
    }

    fn u32(&self, name: &'static str, at: usize) -> Member {
        (name, self.number(at, 4).to_string())
    }

    fn u64(&self, name: &'static str, at: usize) -> Member {
        (name, self.number(at, 8).to_string())
    }

    fn array(&self, name: &'static str, at: usize, length: usize) -> Member {
        (name, numbers(self.bytes(at, length)))
    }

    fn head(&self, current_tcb: String) -> Vec<Member> {
        vec![
            self.u32("version", 0x000),
            self.u32("guest_svn", 0x004),
            self.u64("policy", 0x008),
            self.array("family_id", 0x010, 16),
            self.array("image_id", 0x020, 16),
            self.u32("vmpl", 0x030),
            self.u32("sig_algo", 0x034),
            ("current_tcb", current_tcb),
            self.u64("plat_info", 0x040),
        ]
    }

    fn middle(&self) -> Vec<Member> {
        vec![
            self.array("report_data", 0x050, 64),
            self.array("measurement", 0x090, 48),
            self.array("host_data", 0x0C0, 32),
            self.array("id_key_digest", 0x0E0, 48),
            self.array("author_key_digest", 0x110, 48),
            self.array("report_id", 0x140, 32),
            self.array("report_id_ma", 0x160, 32),
        ]
    }

    fn shape_a(&self) -> String {
        let tcb = |at| {
            object([
                self.u8("bootloader", at),
                self.u8("tee", at + 1),
                self.array("_reserved", at + 2, 4),
                self.u8("snp", at + 6),
                self.u8("microcode", at + 7),
            ])
        };
        let mut members = self.head(tcb(0x038));
        members.extend([self.u32("_author_key_en", 0x048), self.u32("_reserved_0", 0x04C)]);
        members.extend(self.middle());
        members.extend([
            ("reported_tcb", tcb(0x180)),
            self.array("_reserved_1", 0x188, 24),
            self.array("chip_id", 0x1A0, 64),
            ("committed_tcb", tcb(0x1E0)),
            self.u8("current_build", 0x1E8),
            self.u8("current_minor", 0x1E9),
            self.u8("current_major", 0x1EA),
            self.u8("_reserved_2", 0x1EB),
            self.u8("committed_build", 0x1EC),
            self.u8("committed_minor", 0x1ED),
            self.u8("committed_major", 0x1EE),
            self.u8("_reserved_3", 0x1EF),
            ("launch_tcb", tcb(0x1F0)),
            self.array("_reserved_4", 0x1F8, 168),
        ]);
        let [r, s] = self.signature();
        members.push(("signature", object([r, s, self.array("_reserved", 0x330, 368)])));
        object(members)
    }

    /// Shapes B and C differ in the mitigation vectors alone.
    fn shape_b_or_c(&self, with_mitigations: bool) -> Option<String> {
        let turin = self.turin()?;
        let tcb = |at| self.tcb(at, turin);
        let firmware =
            |at| object([self.u8("major", at + 2), self.u8("minor", at + 1), self.u8("build", at)]);
        let known =
            |known: bool, (name, value): Member| (name, if known { value } else { "null".to_owned() });
        let names_cpu = self.version() > 2;
        let mut members = self.head(tcb(0x038)?);
        members.push(self.u32("key_info", 0x048));
        members.extend(self.middle());
        members.extend([
            ("reported_tcb", tcb(0x180)?),
            known(names_cpu, self.u8("cpuid_fam_id", 0x188)),
            known(names_cpu, self.u8("cpuid_mod_id", 0x189)),
            known(names_cpu, self.u8("cpuid_step", 0x18A)),
            self.array("chip_id", 0x1A0, 64),
            ("committed_tcb", tcb(0x1E0)?),
            ("current", firmware(0x1E8)),
            ("committed", firmware(0x1EC)),
            ("launch_tcb", tcb(0x1F0)?),
        ]);
        if with_mitigations {
            members.push(known(self.mitigations(), self.u64("launch_mit_vector", 0x1F8)));
            members.push(known(self.mitigations(), self.u64("current_mit_vector", 0x200)));
        }
        members.push(("signature", object(self.signature())));
        Some(object(members))
    }

    /// A TCB by its components. `None` if the reserved bytes between them are not zero.
    fn tcb(&self, at: usize, turin: bool) -> Option<String> {
        let (fmc, components, reserved) = if turin {
            (self.number(at, 1).to_string(), [at + 1, at + 2, at + 3], (at + 4, at + 7))
        } else {
            ("null".to_owned(), [at, at + 1, at + 6], (at + 2, at + 6))
        };
        let [boot_loader, tee, snp] = components;
        self.is_zero(reserved.0, reserved.1).then(|| {
            object([
                ("fmc", fmc),
                self.u8("bootloader", boot_loader),
                self.u8("tee", tee),
                self.u8("snp", snp),
                self.u8("microcode", at + 7),
            ])
        })
    }

    fn signature(&self) -> [Member; 2] {
        [self.array("r", 0x2A0, 72), self.array("s", 0x2E8, 72)]
    }
}
