//! A report as each release of the crate `sev` writes it in JSON: the test's own reading of that crate, and
//! nothing of the broker's.

use serde_json::{Value, json};

/// A form of the report in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `sev` 1.2 to 4.0.
    A,
    /// `sev` 6.0 to 6.2.
    B,
    /// `sev` 6.3 and later.
    C,
}

impl Shape {
    pub(crate) const ALL: [Shape; 3] = [Shape::A, Shape::B, Shape::C];
}

fn number<const LEN: usize>(report: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..LEN].copy_from_slice(&report[at..at + LEN]);
    u64::from_le_bytes(bytes)
}

fn version(report: &[u8]) -> u64 {
    number::<4>(report, 0)
}

/// The report. `turin` is the layout of its TCB versions.
pub(crate) fn report(shape: Shape, turin: bool, report: &[u8]) -> Value {
    let [u8_at, u32_at, u64_at] = [number::<1>, number::<4>, number::<8>].map(|n| move |at| n(report, at));
    let bytes = |at: usize, length: usize| json!(report[at..at + length]);
    let tcb = |at: usize| match (shape, turin) {
        (Shape::A, _) => json!({
            "bootloader": u8_at(at), "tee": u8_at(at + 1), "_reserved": bytes(at + 2, 4),
            "snp": u8_at(at + 6), "microcode": u8_at(at + 7),
        }),
        (_, false) => json!({
            "fmc": null, "bootloader": u8_at(at), "tee": u8_at(at + 1),
            "snp": u8_at(at + 6), "microcode": u8_at(at + 7),
        }),
        (_, true) => json!({
            "fmc": u8_at(at), "bootloader": u8_at(at + 1), "tee": u8_at(at + 2),
            "snp": u8_at(at + 3), "microcode": u8_at(at + 7),
        }),
    };
    let firmware = |at: usize| json!({ "major": u8_at(at + 2), "minor": u8_at(at + 1), "build": u8_at(at) });
    let from = |first: u64, value: u64| if version(report) >= first { json!(value) } else { Value::Null };
    let common = json!({
        "version": u32_at(0x000), "guest_svn": u32_at(0x004), "policy": u64_at(0x008),
        "family_id": bytes(0x010, 16), "image_id": bytes(0x020, 16),
        "vmpl": u32_at(0x030), "sig_algo": u32_at(0x034),
        "current_tcb": tcb(0x038), "plat_info": u64_at(0x040),
        "report_data": bytes(0x050, 64), "measurement": bytes(0x090, 48), "host_data": bytes(0x0C0, 32),
        "id_key_digest": bytes(0x0E0, 48), "author_key_digest": bytes(0x110, 48),
        "report_id": bytes(0x140, 32), "report_id_ma": bytes(0x160, 32),
        "reported_tcb": tcb(0x180), "chip_id": bytes(0x1A0, 64),
        "committed_tcb": tcb(0x1E0), "launch_tcb": tcb(0x1F0),
    });
    let own = match shape {
        Shape::A => json!({
            "_author_key_en": u32_at(0x048), "_reserved_0": u32_at(0x04C), "_reserved_1": bytes(0x188, 24),
            "current_build": u8_at(0x1E8), "current_minor": u8_at(0x1E9), "current_major": u8_at(0x1EA),
            "_reserved_2": u8_at(0x1EB),
            "committed_build": u8_at(0x1EC), "committed_minor": u8_at(0x1ED),
            "committed_major": u8_at(0x1EE), "_reserved_3": u8_at(0x1EF),
            "_reserved_4": bytes(0x1F8, 168),
            "signature": {
                "r": bytes(0x2A0, 72), "s": bytes(0x2E8, 72), "_reserved": bytes(0x330, 368),
            },
        }),
        Shape::B | Shape::C => json!({
            "key_info": u32_at(0x048),
            "cpuid_fam_id": from(3, u8_at(0x188)), "cpuid_mod_id": from(3, u8_at(0x189)),
            "cpuid_step": from(3, u8_at(0x18A)),
            "current": firmware(0x1E8), "committed": firmware(0x1EC),
            "signature": { "r": bytes(0x2A0, 72), "s": bytes(0x2E8, 72) },
        }),
    };
    let vectors = match shape {
        Shape::A | Shape::B => json!({}),
        Shape::C => json!({
            "launch_mit_vector": from(5, u64_at(0x1F8)), "current_mit_vector": from(5, u64_at(0x200)),
        }),
    };
    let members = [common, own, vectors].into_iter().flat_map(|group| match group {
        Value::Object(members) => members,
        other => panic!("{other}"),
    });
    Value::Object(members.collect())
}

/// The evidence of a guest whose host has no certificates.
pub(crate) fn evidence(shape: Shape, turin: bool, bytes: &[u8]) -> Value {
    json!({ "attestation_report": report(shape, turin, bytes), "cert_chain": null })
}

/// `report` with zeros where `shape` has no member that could say what stands there.
pub(crate) fn sayable(shape: Shape, turin: bool, report: &[u8]) -> Vec<u8> {
    let mut said = report.to_vec();
    if shape == Shape::A {
        return said;
    }
    let mut unsaid = vec![(0x04C, 4), (0x18B, 21), (0x1EB, 1), (0x1EF, 1), (0x208, 152), (0x330, 368)];
    unsaid.extend([0x038, 0x180, 0x1E0, 0x1F0].map(|tcb| if turin { (tcb + 4, 3) } else { (tcb + 2, 4) }));
    if version(report) < 3 {
        unsaid.push((0x188, 3));
    }
    if shape == Shape::B || version(report) < 5 {
        unsaid.push((0x1F8, 16));
    }
    unsaid.into_iter().for_each(|(at, length)| said[at..at + length].fill(0));
    said
}

/// A report of `version` whose bytes differ from each other.
pub(crate) fn sample(version: u8) -> Vec<u8> {
    let mut report: Vec<u8> = (0_u32..1184).map(|index| (index * 7 % 251) as u8 | 1).collect();
    report[..4].copy_from_slice(&[version, 0, 0, 0]);
    report
}
