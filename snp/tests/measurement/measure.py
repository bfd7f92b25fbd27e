"""Launch measurements, computed by sev-snp-measure (PyPI): `run measure` runs this.

Reads one JSON object a line, writes one a line: {"measured": hex}, {"refused": why}, or {"unknown": what the tool
has no word for}.

    {"launch": {"vmm": ..., "ovmf": path, "kernel": path or null, "initrd": path or null, "append": text or null,
                "vcpus": n, "model": name or number, "features": n}}
    {"ovmf": path}                               the digest of an image's pages
    {"signature": [family, model, stepping]}     eight digits
    {"krun": {"vcpus": n, "ram_mib": n, "fpu": bool}}   of the blobs of `blob`
"""

import contextlib
import ctypes
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from sevsnpmeasure import guest
from sevsnpmeasure.gctx import GCTX
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vcpu_types import CPU_SIGS, cpu_sig
from sevsnpmeasure.vmm_types import VMMType
from sevsnpmeasure.vmsa import VMSA, SevEsSaveArea, VmcbSeg

VMMS = {"Qemu": VMMType.QEMU, "QemuZeroFpu": VMMType.QEMU, "Ec2": VMMType.ec2, "Ec2ZeroRdx": VMMType.ec2,
        "Gce": VMMType.gce}
# What sev-snp-measure computed for them in earlier releases.
CHANGES = {"QemuZeroFpu": {"mxcsr": 0, "x87_fcw": 0}, "Ec2ZeroRdx": {"rdx": 0}}


@contextlib.contextmanager
def changed(registers):
    """Every VMSA has these registers."""
    original = VMSA.build_save_area

    def build(*arguments):
        area = original(*arguments)
        for name, value in registers.items():
            getattr(area, name)
            setattr(area, name, value)
        return area

    VMSA.build_save_area = staticmethod(build)
    try:
        yield
    finally:
        VMSA.build_save_area = staticmethod(original)


def launch(vmm, ovmf, kernel, initrd, append, vcpus, model, features):
    if isinstance(model, str) and model not in CPU_SIGS:
        return {"unknown": model}
    signature = CPU_SIGS.get(model, model)
    with changed(CHANGES.get(vmm, {})):
        measured = guest.calc_launch_digest(SevMode.SEV_SNP, vcpus, signature, ovmf, kernel, initrd, append, features,
                                            "", VMMS[vmm])
    return {"measured": measured.hex()}


# The places of the boot parameters are those of the C header that Linux publishes. The values, and the order of the
# pages in `krun`, are from libkrun's sources.
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


@functools.cache
def boot_params_program():
    directory = tempfile.TemporaryDirectory()
    program = Path(directory.name) / "boot_params"
    subprocess.run(["cc", "-x", "c", "-o", program, "-"], input=BOOT_PARAMS.encode(), check=True)
    return directory, program


def blob(seed, pages):
    return bytes((seed + 7 * page + index * 31 // 16) & 0xFF for page in range(pages) for index in range(4096))


def krun_vmsa(first, fpu):
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


def krun(vcpus, ram_mib, fpu):
    qboot, kernel, initrd = blob(1, 16), blob(2, 3), blob(3, 2)
    _, program = boot_params_program()
    arguments = [program, str(vcpus), str(ram_mib), str(len(initrd))]
    boot_params = subprocess.run(arguments, check=True, capture_output=True).stdout
    digest = GCTX()
    for address, pages in (0xFFFF0000, qboot), (0x1000000, kernel), (0xA00000, initrd), (0x7000, boot_params):
        digest.update_normal_pages(address, pages)
    digest.update_zero_pages(0, 0x1000)
    digest.update_secrets_page(0x5000)
    digest.update_cpuid_page(0x6000)
    digest.update_zero_pages(0x8000, 0x7000)
    for vcpu in range(vcpus):
        digest.update_vmsa_page(krun_vmsa(vcpu == 0, fpu))
    return {"measured": digest.hex_ld()}


KINDS = {
    "launch": lambda row: launch(**row),
    "ovmf": lambda row: {"measured": guest.calc_snp_ovmf_hash(row).hex()},
    "signature": lambda row: {"measured": f"{cpu_sig(*row):08x}"},
    "krun": lambda row: krun(**row),
}


def main():
    assert ctypes.sizeof(SevEsSaveArea) == 4096
    for line in sys.stdin:
        (kind, row), = json.loads(line).items()
        try:
            answer = KINDS[kind](row)
        except Exception as error:
            answer = {"refused": repr(error)}
        print(json.dumps(answer))


main()
