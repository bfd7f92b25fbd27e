# How the Debian packages are made: for cli/debian/build and guest/debian/build, which source it.
#
# dpkg-deb alone makes them, so that they need nothing but Debian's own tools, and the same inputs give the same
# bytes: SOURCE_DATE_EPOCH, or the time of the last commit, is the time of every file. DEB_COMPRESSION=none is for
# tests, which have no time to compress.

# Every list is in one order, whatever language its maker speaks.
export LC_ALL=C

# begin NAME DIRECTORY: a package of this name, whose control files are in DIRECTORY.
begin() {
    package=$1 debian=$2
    workspace=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$workspace/Cargo.toml")
    epoch=${SOURCE_DATE_EPOCH:-$(git -C "$workspace" log -1 --format=%ct 2>/dev/null || echo 0)}
    doc=usr/share/doc/$package
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    chmod 755 "$tree"
}

# put MODE FILE PATH: one file.
put() { install -D -m "$1" "$2" "$tree/$3"; }

# program FILE PATH: a program, without its symbols.
program() {
    put 755 "$1" "$2"
    strip --remove-section=.comment --remove-section=.note "$tree/$2"
}

# squeeze FILE PATH: the file, compressed without its name and time.
squeeze() {
    install -d "$tree/$(dirname "$2")"
    gzip -9n <"$1" >"$tree/$2"
    chmod 644 "$tree/$2"
}

# substitute FILE PATH [NAME=VALUE...]: the file with every @NAME@ replaced.
substitute() {
    local text pair
    text=$(cat "$1")
    for pair in "${@:3}"; do text=${text//"@${pair%%=*}@"/"${pair#*=}"}; done
    printf '%s\n' "$text" >"$tree/$2"
    chmod 644 "$tree/$2"
}

# libraries BINARY: the packages of the C library and of libgcc that a program asks for; nothing if it is static.
libraries() {
    local dynamic newest
    dynamic=$(objdump -p "$1")
    newest=$(sed -n 's/.* GLIBC_\([0-9.]*\)$/\1/p' <<<"$dynamic" | sort -V | tail -n 1)
    [ -z "$newest" ] || printf 'libc6 (>= %s), ' "$newest"
    if grep -q 'NEEDED .*libgcc_s' <<<"$dynamic"; then printf 'libgcc-s1 (>= 3.0), '; fi
}

# size: the package's size when installed, in KiB, whatever the file system: as dpkg-gencontrol counts it.
size() {
    find "$tree" -path "$tree/DEBIAN" -prune -o -type f -printf '%s\n' -o -printf '1\n' |
        awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }'
}

# finish OUT: documents, control files, checksums, and the package.
finish() {
    local out=$1 script date
    put 644 "$debian/copyright" "$doc/copyright"
    put 644 "$debian/README.Debian" "$doc/README.Debian"
    [ ! -e "$debian/lintian-overrides" ] || put 644 "$debian/lintian-overrides" "usr/share/lintian/overrides/$package"
    # The package's own changelog in Debian's form names the project's, which has the news.
    squeeze "$workspace/CHANGELOG.md" "$doc/NEWS.md.gz"
    date=$(TZ=UTC date --date="@$epoch" -R)
    printf '%s (%s) unstable; urgency=medium\n\n  * What changed is in /usr/share/doc/%s/NEWS.md.gz.\n\n -- %s  %s\n' \
        "$package" "$version" "$package" "$(sed -n 's/^Maintainer: //p' "$debian/control")" "$date" >"$tree/changelog"
    squeeze "$tree/changelog" "$doc/changelog.gz"
    rm "$tree/changelog"

    install -d "$tree/DEBIAN"
    for script in preinst postinst prerm postrm; do
        [ ! -e "$debian/$script" ] || put 755 "$debian/$script" "DEBIAN/$script"
    done
    (cd "$tree" && find etc -type f -printf '/%p\n' 2>/dev/null | sort) >"$tree/DEBIAN/conffiles" || true
    [ -s "$tree/DEBIAN/conffiles" ] || rm "$tree/DEBIAN/conffiles"
    (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
    chmod 644 "$tree"/DEBIAN/md5sums
    [ ! -e "$tree/DEBIAN/conffiles" ] || chmod 644 "$tree/DEBIAN/conffiles"
    substitute "$debian/control" DEBIAN/control "VERSION=$version" "ARCHITECTURE=$(dpkg --print-architecture)" \
        "SIZE=$(size)" "LIBRARIES=$(libraries "$tree/usr/bin/$package")"

    export SOURCE_DATE_EPOCH=$epoch
    find "$tree" -type d -exec chmod 755 {} +
    find "$tree" -exec touch --no-dereference --date="@$epoch" {} +
    dpkg-deb --root-owner-group -Z"${DEB_COMPRESSION:-xz}" --build "$tree" "$out" >/dev/null
}
