#!/usr/bin/env bash
# sev 6.2.1: a report in JSON, as sev 6.3 and later write it, is read without an error and loses its mitigation vectors.
#
# A report of version 5 has LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR at 1F8h, and the chip signs them. The serde form of
# AttestationReport has had them since 6.3. Up to 6.2.1 the structure passes over members that it does not know, and
# write_bytes writes zeros for them: the signature of a genuine report of Turin then fails, and nothing says why. A guest
# with the newer release and a verifier with the older one are such a pair. Given the bytes themselves, 6.2.1 refuses.
#
# Seen with sev 8.0.0 and 6.2.1, on 29 November 2026:
#
#   8.0.0 writes: "launch_mit_vector":63,"current_mit_vector":63
#   6.2.1 reads that: no error
#   6.2.1 writes back: vectors 0 and 0, 0 other bytes changed
#   6.2.1 reads the bytes: Skipped bytes were expected to be zeroed.
#
# Ends with 1 if any of this is otherwise. Builds in a temporary directory, and needs Rust.
set -euo pipefail

script=$(realpath "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "sev-drops"
version = "0.1.0"
edition = "2021"

[workspace]

[dependencies]
newer = { package = "sev", version = "=8.0.0", default-features = false, features = ["snp", "serde"] }
older = { package = "sev", version = "=6.2.1", default-features = false, features = ["snp"] }
serde_json = "1"
TOML
cat >"$work/src/main.rs" <<'RUST'
use newer::parser::ByteParser;

fn main() {
    // A Turin's report of version 5, as AMD's ABI lays it out.
    let mut report = vec![0u8; 1184];
    let fields: [(usize, &[u8]); 8] = [
        (0x000, &[5]),                       // VERSION
        (0x00A, &[3]),                       // POLICY
        (0x034, &[1]),                       // SIGNATURE_ALGO
        (0x180, &[1, 1, 1, 4, 0, 0, 0, 81]), // REPORTED_TCB
        (0x188, &[0x1A, 2, 1]),              // CPUID
        (0x1A0, &[7; 8]),                    // CHIP_ID
        (0x1F8, &[63]),                      // LAUNCH_MIT_VECTOR
        (0x200, &[63]),                      // CURRENT_MIT_VECTOR
    ];
    for (at, bytes) in fields {
        report[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let written = newer::firmware::guest::AttestationReport::from_bytes(&report).unwrap();
    let json = serde_json::to_string(&written).unwrap();
    let at = json.find("\"launch_mit_vector\"").unwrap();
    println!("8.0.0 writes: {}", json[at..].split(",\"signature\"").next().unwrap());
    let read: older::firmware::guest::AttestationReport = match serde_json::from_str(&json) {
        Ok(read) => read,
        Err(error) => return println!("6.2.1 reads that: {error}"),
    };
    println!("6.2.1 reads that: no error");
    let mut back = Vec::new();
    read.write_bytes(&mut back).unwrap();
    let vector = |at| u64::from_le_bytes(back[at..at + 8].try_into().unwrap());
    let others = (0..1184).filter(|at| !(0x1F8..0x208).contains(at) && report[*at] != back[*at]).count();
    println!("6.2.1 writes back: vectors {} and {}, {others} other bytes changed", vector(0x1F8), vector(0x200));
    match older::firmware::guest::AttestationReport::from_bytes(&report) {
        Ok(_) => println!("6.2.1 reads the bytes: no error"),
        Err(error) => println!("6.2.1 reads the bytes: {error}"),
    }
}
RUST
seen=$(CARGO_TARGET_DIR="$work/target" cargo run --quiet --manifest-path "$work/Cargo.toml")
echo "$seen"
expected=$(sed -n 's/^#   //p' "$script")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
