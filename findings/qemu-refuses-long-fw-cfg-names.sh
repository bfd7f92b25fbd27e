#!/usr/bin/env bash
# QEMU 7.2: a fw_cfg name has at most 55 characters, too few for a credential that systemd defines.
#
# systemd takes its credentials from items named opt/io.systemd.credentials/NAME. For systemd's own
# passwd.plaintext-password.root that is 57 characters, and QEMU does not start. For
# passwd.hashed-password.root it is 54, and QEMU starts. So a test that offers a guest a credential this
# way must use a name that fits.
#
# Seen with Debian's qemu-system-x86 1:7.2+dfsg-7+deb12u18+b3, on 29 November 2026:
#
#   passwd.hashed-password.root, 54 characters in all: taken
#   passwd.plaintext-password.root, 57 characters in all: name too long (max. 55 char)
#   55 characters in all: taken
#   56 characters in all: name too long (max. 55 char)
#
# Ends with 1 if any of this is otherwise. Unpacks into a temporary directory, and needs Debian 12.
set -euo pipefail

script=$(realpath "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -qq -o APT::Sandbox::User=root download \
    qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 libfdt1=1.6.1-4+b1 libglib2.0-0=2.74.6-2+deb12u9 \
    libpixman-1-0=0.42.2-1 libpcre2-8-0=10.42-1+deb12u2
for package in *.deb; do
    dpkg-deb -x "$package" root
done
libraries=$work/root/lib/x86_64-linux-gnu:$work/root/usr/lib/x86_64-linux-gnu
# The machine is stopped before its first instruction, so any firmware does.
head -c 65536 /dev/zero >firmware

# Prints whether QEMU takes an item named $1. It is told to quit at once.
item() {
    if echo quit | LD_LIBRARY_PATH=$libraries root/usr/bin/qemu-system-x86_64-microvm -S -machine microvm \
        -nodefaults -display none -bios firmware -monitor stdio -fw_cfg "name=$1,string=x" \
        >output 2>errors; then
        echo "${#1} characters in all: taken"
    else
        echo "${#1} characters in all: $(sed -n '$s/.*,string=x: //p' errors)"
        grep -q ',string=x: ' errors || cat errors >&2
    fi
}

name55=opt/example/$(printf 'x%.0s' {1..43})
seen="passwd.hashed-password.root, $(item opt/io.systemd.credentials/passwd.hashed-password.root)
passwd.plaintext-password.root, $(item opt/io.systemd.credentials/passwd.plaintext-password.root)
$(item "$name55")
$(item "${name55}x")"
echo "$seen"
expected=$(sed -n 's/^#   //p' "$script")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
