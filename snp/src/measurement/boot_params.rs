//! The page of boot parameters, as libkrun fills it for a confidential guest (Linux, `struct boot_params`).

use super::{PAGE_SIZE, PageBytes, vmsa::put};

/// Memory from here on is for devices, up to 4 GiB. The rest of the RAM lies above.
const DEVICES: u64 = 0xD000_0000;
const FOUR_GIB: u64 = 0x1_0000_0000;
/// The high memory begins here. Below the extended BIOS data area, RAM is low memory.
const HIGH_MEMORY: u64 = 0x10_0000;
const EXTENDED_BIOS_DATA: u64 = 0x9_FC00;
/// Where the command line would lie. The kernel of libkrunfw-sev has its own built in, and takes no other.
const COMMAND_LINE: (u32, u32) = (0x2_0000, 0x200);
/// E820_TYPE_RAM.
const RAM: u32 = 1;

/// The page for a guest of `vcpus` vCPUs and `ram` bytes of RAM, whose initrd has this address and size.
pub(super) fn page(vcpus: u8, ram: u64, initrd: (u32, u32)) -> PageBytes {
    let mut page = [0; PAGE_SIZE];
    let e820 = e820(ram);
    put(&mut page, 0x1E8, &[u8::try_from(e820.len()).unwrap_or(u8::MAX)]);
    put(&mut page, 0x1F4, &u32::from(vcpus).to_le_bytes()); // syssize: qboot reads the number of vCPUs here
    put(&mut page, 0x1FE, &0xAA55_u16.to_le_bytes()); // boot_flag
    put(&mut page, 0x202, b"HdrS"); // header
    put(&mut page, 0x210, &[0xFF]); // type_of_loader
    put(&mut page, 0x218, &initrd.0.to_le_bytes()); // ramdisk_image
    put(&mut page, 0x21C, &initrd.1.to_le_bytes()); // ramdisk_size
    put(&mut page, 0x228, &COMMAND_LINE.0.to_le_bytes()); // cmd_line_ptr
    put(&mut page, 0x230, &0x0100_0000_u32.to_le_bytes()); // kernel_alignment
    put(&mut page, 0x238, &COMMAND_LINE.1.to_le_bytes()); // cmdline_size
    for (index, (address, size)) in e820.into_iter().enumerate() {
        let at = 0x2D0 + index * 20;
        put(&mut page, at, &address.to_le_bytes());
        put(&mut page, at + 8, &size.to_le_bytes());
        put(&mut page, at + 16, &RAM.to_le_bytes());
    }
    page
}

/// The regions of RAM, address and size. libkrun counts one byte too many in a region that RAM ends in.
///
/// libkrunfw's own tool counts that byte for exactly 3328 MiB too, where RAM ends with the gap for devices
/// and libkrun does not. libkrun launches the guest, so this is libkrun's count.
fn e820(ram: u64) -> Vec<(u64, u64)> {
    let mut regions = vec![(0, EXTENDED_BIOS_DATA)];
    if ram < DEVICES {
        regions.push((HIGH_MEMORY, ram.saturating_sub(HIGH_MEMORY) + 1));
    } else {
        regions.push((HIGH_MEMORY, DEVICES - HIGH_MEMORY));
    }
    if ram > DEVICES {
        regions.push((FOUR_GIB, ram - DEVICES + 1));
    }
    regions
}
