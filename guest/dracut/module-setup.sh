#!/bin/bash
# Puts the guest into an initrd of dracut, where a unit of systemd runs it.

# called by dracut
check() {
    # Not set up on this machine: its initrd is none of ours.
    [[ -e ${dracutsysrootdir-}/etc/keybroker/guest.conf ]] || return 255
    require_binaries keybroker-guest cryptsetup || return 1
}

# called by dracut
depends() {
    echo crypt dm network rootfs-block systemd-initrd
}

# called by dracut
installkernel() {
    # Disks and networks of machines with SEV-SNP, evidence, document. dracut passes over what a kernel lacks.
    hostonly='' instmods dm_crypt xts ecb algif_skcipher virtio_pci virtio_blk virtio_scsi nvme hv_storvsc
    hostonly='' instmods af_packet virtio_net ena gve hv_netvsc
    hostonly='' instmods sev-guest tsm configfs tpm_crb qemu_fw_cfg
}

# called by dracut
install() {
    local lib=/usr/lib/keybroker-guest name units=(keybroker-guest.service) wanted=(keybroker-guest.service)

    # dracut goes on after a module that fails. This ends the build.
    "${dracutsysrootdir-}$lib/check-build" dracut "${dracutsysrootdir-}" || exit 1

    inst_multiple keybroker-guest cryptsetup modprobe sh sleep
    # libcryptsetup hashes with threads, and glibc loads this library when the first one ends.
    inst_libdir_file 'libgcc_s.so*'
    for name in command-line check-boot unlock power-off; do
        inst_simple "$lib/$name"
    done
    inst_simple /etc/keybroker/guest.conf
    inst_multiple -o /etc/keybroker/initdata.toml

    # The network comes up for the guest, whatever the command line says of it: here for dracut's own scripts and
    # for NetworkManager, below for systemd-networkd.
    mkdir -p "$initdir/etc/cmdline.d"
    echo 'rd.neednet=1 ip=dhcp' >"$initdir/etc/cmdline.d/90-keybroker.conf"
    if dracut_module_included systemd-networkd; then
        inst_simple "$moddir/keybroker.network" /etc/systemd/network/99-keybroker.network
    fi

    # Where crypttab names the guest's socket, systemd-cryptsetup opens the disks with keys from it.
    if grep -qs '/run/keybroker/keys' "${dracutsysrootdir-}/etc/crypttab"; then
        crypttab_of_guest >>"$initdir/etc/crypttab" || exit 1
        wanted=(keybroker-guest-{keys,opened}.service)
        units=("${wanted[@]}" keybroker-guest-keys.socket keybroker-guest-{power-off,not-opened@}.service
            systemd-cryptsetup@.service.d/keybroker.conf)
        inst_simple "$lib/opened"
        inst_multiple "$systemdutildir/systemd-cryptsetup" \
            "$systemdutildir/system-generators/systemd-cryptsetup-generator"
    fi
    for name in "${units[@]}"; do
        inst_simple "$systemdsystemunitdir/$name"
    done
    "$SYSTEMCTL" -q --root "$initdir" add-requires initrd-root-device.target "${wanted[@]}"
}

# The lines of crypttab for this initrd. Each must take the judged copy of the header, and must never ask a person.
crypttab_of_guest() {
    local name device key options line=0

    while read -r name device key options; do
        line=$((line + 1))
        [[ $name != \#* && $key == /run/keybroker/keys ]] || continue
        if [[ ,$options, != *,header=/run/keybroker/"$name".header,* ||
            ,$options, != *,headless=@(yes|true|1),* && ,$options, != *,headless,* ]]; then
            dfatal "keybroker-guest: no initrd is built: line $line of crypttab, for $name, must have the options" \
                "header=/run/keybroker/$name.header,headless=yes"
            return 1
        fi
        echo "$name $device $key $options"
    done <"${dracutsysrootdir-}/etc/crypttab"
}
