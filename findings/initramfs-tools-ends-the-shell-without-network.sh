#!/usr/bin/env bash
# initramfs-tools 0.142: configure_networking ends the shell that calls it, if no network comes up.
#
# After its last try the function sources the answer of ipconfig, /run/net-DEVICE.conf, and does not check
# that the file is there. A POSIX shell ends if a file that it sources is missing, so `||` after the call
# catches nothing. A boot script that has work to do without a network must call the function in a subshell.
#
# This script calls the function with an ipconfig that always fails. Seen with Debian's
# initramfs-tools-core 0.142+deb12u3, dash 0.5.12-2 and busybox 1:1.35.0-4+deb12u1+b1, on 29 November 2026:
#
#   dash: 10 tries, no file, the shell ended with 2
#   dash, in a subshell: 10 tries, no file, the call returned 2, the caller went on, the shell ended with 0
#   busybox: 10 tries, no file, the shell ended with 2
#   busybox, in a subshell: 10 tries, no file, the call returned 2, the caller went on, the shell ended with 0
#
# Ends with 1 if any of this is otherwise. Unpacks into a temporary directory, and needs Debian 12.
set -euo pipefail

if compgen -G '/run/net-*.conf' >/dev/null; then
    echo "this cannot be shown on a machine that has a /run/net-*.conf" >&2
    exit 1
fi
script=$(realpath "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -qq -o APT::Sandbox::User=root download \
    initramfs-tools-core=0.142+deb12u3 dash=0.5.12-2 busybox=1:1.35.0-4+deb12u1+b1
for package in *.deb; do
    dpkg-deb -x "$package" root
done

mkdir bin
printf '#!/bin/sh\necho run >>tries\nexit 1\n' >bin/ipconfig
chmod +x bin/ipconfig

# Prints how a shell ends that runs $1. The device is lo, which every machine has.
call() {
    local said status=0 file=""
    : >tries
    said=$(PATH=$work/bin:$PATH "${@:2}" -c "
        . root/usr/share/initramfs-tools/scripts/functions
        quiet=y starttime=\$(_uptime) DEVICE=lo IP=dhcp
        $1 || printf 'the call returned %s, ' \$?
        printf 'the caller went on, '" 2>errors) || status=$?
    # The shell must have ended for want of this file, and for no other reason.
    if grep -q '/run/net-lo.conf' errors; then file="no file, "; else cat errors >&2; fi
    echo "$(wc -l <tries) tries, $file${said}the shell ended with $status"
}

seen="dash: $(call configure_networking root/bin/dash)
dash, in a subshell: $(call '(configure_networking)' root/bin/dash)
busybox: $(call configure_networking root/bin/busybox sh)
busybox, in a subshell: $(call '(configure_networking)' root/bin/busybox sh)"
echo "$seen"
expected=$(sed -n 's/^#   //p' "$script")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
