#!/usr/bin/env bash
# sev 8.0.0: the launch measurement of a kernel's command line with white space at an end, and of EC2, is not the guest's.
#
# QEMU hashes the text of -append to the letter, and the NUL behind it (build_kernel_loader_hashes). sev trims the text
# first. A command line that a program reads from a file ends with a line feed, and so do some in configuration files.
#
# EC2 starts its guests with 0x600 in RDX, which is KVM's own value at a reset. sev-snp-measure 0.0.13 has it since EC2's
# engineers compared it with an instance (its pull request 60, April 2026); sev still has the 0 of earlier instances. So a
# verifier that is built on sev refuses every instance of EC2 that was started since.
#
# Seen with sev 8.0.0 and sev-snp-measure 0.0.13, on 29 November 2026:
#
#   "quiet": the same measurement
#   "quiet\n": two measurements, and sev's is that of "quiet"
#   EC2: two measurements, and sev's is that with 0 in RDX
#
# Ends with 1 if any of this is otherwise. Builds in a temporary directory, and needs Rust and python3.
set -euo pipefail

script=$(realpath "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install sev-snp-measure==0.0.13
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "sev-measures"
version = "0.1.0"
edition = "2021"

[workspace]

[dependencies]
sev = { version = "=8.0.0", default-features = false, features = ["snp", "crypto_nossl"] }
TOML
cat >"$work/src/main.rs" <<'RUST'
use sev::measurement::{snp::*, vcpu_types::CpuType, vmsa::{GuestFeatures, VMMType}};

/// sev-measures OVMF VMM [KERNEL APPEND]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let digest = snp_calc_launch_digest(SnpMeasurementArgs {
        vcpus: 2,
        vcpu_type: CpuType::EpycMilan,
        ovmf_file: (&arguments[0]).into(),
        guest_features: GuestFeatures(1),
        kernel_file: arguments.get(2).map(Into::into),
        initrd_file: None,
        append: arguments.get(3).map(String::as_str),
        ovmf_hash_str: None,
        vmm_type: Some(if arguments[1] == "ec2" { VMMType::EC2 } else { VMMType::QEMU }),
    });
    println!("{}", digest.unwrap().get_hex_ld());
}
RUST
# The end of an image that takes a kernel's hashes, as sev's own tests have it.
CARGO_TARGET_DIR="$work/target" cargo build --quiet --manifest-path "$work/Cargo.toml"
manifest=$(cargo metadata --quiet --format-version 1 --manifest-path "$work/Cargo.toml" |
    python3 -c 'import json, sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "sev"))')
ovmf=$(dirname "$manifest")/tests/measurement/ovmf_AmdSev_suffix.bin
echo kernel >"$work/kernel"

sev() { "$work/target/debug/sev-measures" "$ovmf" "$@"; }
other() { # VMM [KERNEL APPEND]
    "$work/venv/bin/sev-snp-measure" --mode snp --vcpus 2 --vcpu-type EPYC-Milan --ovmf "$ovmf" --vmm-type "$1" \
        ${2:+--kernel "$2" --append "$3"}
}
# same A B: whether two measurements are one.
same() { [ "$1" = "$2" ] && echo "the same measurement" || echo "two measurements"; }

quiet=$(sev QEMU "$work/kernel" quiet)
line=$(sev QEMU "$work/kernel" $'quiet\n')
echo '"quiet": '"$(same "$quiet" "$(other QEMU "$work/kernel" quiet)")" >"$work/seen"
of_line=$(same "$line" "$(other QEMU "$work/kernel" $'quiet\n')")
[ "$line" = "$quiet" ] && of_line+=", and sev's is that of \"quiet\""
echo '"quiet\n": '"$of_line" >>"$work/seen"

ec2=$(sev ec2)
of_ec2=$(same "$ec2" "$(other ec2)")
sed -i 's/rdx = 0x600/rdx = 0/' "$work"/venv/lib/python3*/site-packages/sevsnpmeasure/vmsa.py
[ "$ec2" = "$(other ec2)" ] && of_ec2+=", and sev's is that with 0 in RDX"
echo "EC2: $of_ec2" >>"$work/seen"

cat "$work/seen"
expected=$(sed -n 's/^#   //p' "$script")
[ "$(cat "$work/seen")" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
