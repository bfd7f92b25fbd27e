#!/usr/bin/env bash
# sev-snp-measure 0.0.13: an OVMF that cannot be launched with SNP gets a measurement, and nothing is said.
#
# Debian 12 has OVMF in two sizes, and keeps the smaller for old guests alone. The larger has no metadata for SEV:
# QEMU exits with it ("Failed to locate SEV metadata header"), and the crate sev refuses it. sev-snp-measure reads an
# image without metadata as one without sections, and prints a digest that no guest will ever report.
#
# Seen with sev-snp-measure 0.0.13 and Debian's ovmf 2022.11-6+deb12u2, on 29 November 2026:
#
#   OVMF_CODE.fd: 5 sections, a measurement
#   OVMF_CODE_4M.fd: 0 sections, a measurement
#
# Ends with 1 if any of this is otherwise. Unpacks into a temporary directory, and needs Debian 12 and python3.
set -euo pipefail

script=$(realpath "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install sev-snp-measure==0.0.13
cd "$work"
apt-get -qq -o APT::Sandbox::User=root download ovmf=2022.11-6+deb12u2
dpkg-deb -x ovmf_*.deb root

# Prints the number of sections that an image of OVMF asks for, and whether it gets a measurement.
measured() {
    local image=root/usr/share/OVMF/$1 sections
    sections=$(venv/bin/python -c '
import sys
from sevsnpmeasure.ovmf import OVMF
print(len(OVMF(sys.argv[1]).metadata_items()))' "$image")
    if venv/bin/sev-snp-measure --mode snp --vcpus 1 --vcpu-type EPYC-v4 --ovmf "$image" >digest 2>errors; then
        grep -qxE '[0-9a-f]{96}' digest && echo "$1: $sections sections, a measurement"
    else
        echo "$1: $sections sections, $(cat errors)"
    fi
}

seen="$(measured OVMF_CODE.fd)
$(measured OVMF_CODE_4M.fd)"
echo "$seen"
expected=$(sed -n 's/^#   //p' "$script")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
