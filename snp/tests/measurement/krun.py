"""Launch measurements of krun guests, computed by other means than ours: `main.rs` holds what this prints.

The page digest and the places of the VMSA's fields are sev-snp-measure's (PyPI, 0.0.13), the places of the boot
parameters are those of the C header that Linux publishes. The order of the pages and the values are from libkrun's
sources. Needs a C compiler, python3 and sev-snp-measure:

    python3 -m venv venv && venv/bin/pip install sev-snp-measure==0.0.13 && venv/bin/python krun.py
"""

import ctypes
import subprocess
import tempfile
from pathlib import Path

from sevsnpmeasure.gctx import GCTX
from sevsnpmeasure.vmsa import SevEsSaveArea, VmcbSeg

BOOT_PARAMS = r"""
#include <asm/bootparam.h>
#include <stdio.h>
#include <stdlib.h>
static struct boot_params p;
static void ram(unsigned long long at, unsigned long long size) {
    struct boot_e820_entry *e = &p.e820_table[p.e820_entries++];
    e->addr = at; e->size = size; e->type = 1;
}
int main(int argc, char **argv) {
    unsigned long long size = strtoull(argv[2], 0, 10) << 20, gap = 0xd0000000, high = 1 << 20;
    p.hdr.type_of_loader = 0xff; p.hdr.boot_flag = 0xaa55; p.hdr.header = 0x53726448;
    p.hdr.kernel_alignment = 0x1000000; p.hdr.cmd_line_ptr = 0x20000; p.hdr.cmdline_size = 0x200;
    p.hdr.ramdisk_image = 0xa00000; p.hdr.ramdisk_size = atoi(argv[3]); p.hdr.syssize = atoi(argv[1]);
    ram(0, 0x9fc00);
    if (size < gap) ram(high, size - high + 1); else ram(high, gap - high);
    if (size > gap) ram(1ULL << 32, size - gap + 1);
    return fwrite(&p, sizeof p, 1, stdout) != 1;
}
"""


def blob(seed: int, pages: int) -> bytes:
    return bytes((seed + 7 * page + index * 31 // 16) & 0xFF for page in range(pages) for index in range(4096))


def vmsa(first: bool, fpu: bool) -> bytes:
    area = SevEsSaveArea()
    for name, attributes in {"es": 0x93, "ss": 0x92, "ds": 0x93, "fs": 0x93, "gs": 0x93, "gdtr": 0, "ldtr": 0x82,
                             "idtr": 0, "tr": 0x83}.items():
        setattr(area, name, VmcbSeg(0, attributes, 0xFFFF, 0))
    area.cs = VmcbSeg(0xF000, 0x9A, 0xFFFF, 0xFFFF0000)
    area.efer, area.cr4, area.cr0, area.dr7, area.dr6 = 0x1000, 0x40, 0x10, 0x400, 0xFFFF0FF0
    area.rflags, area.g_pat, area.sev_features, area.xcr0 = 2, 0x7040600070406, 1, 1
    area.rip = 0xFFF0 if first else 0xFFF3
    if first:
        area.rsp, area.rbp, area.rsi = 0x8FF0, 0x8FF0, 0x7000
    if fpu:
        area.mxcsr, area.x87_fcw = 0x1F80, 0x37F
    return bytes(area)


def main() -> None:
    assert ctypes.sizeof(SevEsSaveArea) == 4096
    qboot, kernel, initrd = blob(1, 16), blob(2, 3), blob(3, 2)
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "boot_params"
        subprocess.run(["cc", "-x", "c", "-o", program, "-"], input=BOOT_PARAMS.encode(), check=True)
        for cpus, ram, fpu in [(1, 512, 0), (1, 512, 1), (2, 512, 0), (4, 3327, 0), (4, 3328, 0), (4, 3329, 1), (16, 8192, 0)]:
            arguments = [program, str(cpus), str(ram), str(len(initrd))]
            boot_params = subprocess.run(arguments, check=True, capture_output=True).stdout
            digest = GCTX()
            for address, pages in (0xFFFF0000, qboot), (0x1000000, kernel), (0xA00000, initrd), (0x7000, boot_params):
                digest.update_normal_pages(address, pages)
            digest.update_zero_pages(0, 0x1000)
            digest.update_secrets_page(0x5000)
            digest.update_cpuid_page(0x6000)
            digest.update_zero_pages(0x8000, 0x7000)
            for vcpu in range(cpus):
                digest.update_vmsa_page(vmsa(vcpu == 0, bool(fpu)))
            print(cpus, ram, fpu, digest.hex_ld())


main()
