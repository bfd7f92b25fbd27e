#!/usr/bin/env bash
# dracut 059: it ignores the exit status of a module's install(), and builds the initrd all the same.
#
# An install() that returns 1 gives an initrd and exit status 0. dracut prints no error, and lists the module
# as included. So a module that an initrd must not lack has to end the build itself, with exit.
#
# Seen with Debian's dracut-core 059-4, on 29 November 2026:
#
#   install() returns 1: dracut ends with 0, 0 errors printed, an initrd that lists the module
#   install() exits with 1: dracut ends with 1, 0 errors printed, no initrd
#
# Ends with 1 if any of this is otherwise. Unpacks into a temporary directory, and needs Debian 12.
set -euo pipefail

script=$(realpath "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -qq -o APT::Sandbox::User=root download \
    dracut-core=059-4 libkmod2=30+20221128-1 cpio=2.13+dfsg-7.1
for package in *.deb; do
    dpkg-deb -x "$package" root
done
root=$work/root

# Prints how dracut ends for a module named $1, with $2 as the body of its install().
build() {
    local name=$1 status=0 errors initrd="no initrd"
    mkdir "$root/usr/lib/dracut/modules.d/99$name"
    echo "install() { $2; }" >"$root/usr/lib/dracut/modules.d/99$name/module-setup.sh"
    LD_LIBRARY_PATH=$root/lib/x86_64-linux-gnu PATH=$root/bin:$PATH dracutbasedir=$root/usr/lib/dracut \
        bash root/usr/bin/dracut --conf /dev/null --confdir none --tmpdir "$work" --no-kernel --no-compress \
        --no-early-microcode --modules "$name" "$name.img" 6.1.0 >"$name.log" 2>&1 || status=$?
    # dracut names the module before it calls install().
    grep -q "Including module: $name " "$name.log" || { cat "$name.log" >&2; return 1; }
    errors=$(grep -Eic 'error|fail|warn' "$name.log" || true)
    if [ -e "$name.img" ]; then
        initrd="an initrd"
        root/bin/cpio --quiet -i --to-stdout usr/lib/dracut/modules.txt <"$name.img" | grep -qx "$name" &&
            initrd="an initrd that lists the module"
    fi
    echo "dracut ends with $status, $errors errors printed, $initrd"
}

mkdir none
seen="install() returns 1: $(build returns 'return 1')
install() exits with 1: $(build exits 'exit 1')"
echo "$seen"
expected=$(sed -n 's/^#   //p' "$script")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
