#!/bin/sh
# mmdebstrap extract hook for an architecture that this host only emulates: $1 = the root with all packages extracted.
# An emulated dpkg would decompress and write everything once more, by far the longest part of such a build. So the host's own
# dpkg unpacks, and what is emulated is the packages' scripts alone. Runs as (name-space) root.
set -eu
root=$1
native=$(dpkg --print-architecture)
PATH=$PATH:/usr/sbin:/sbin

# For the first scripts; base-passwd's own looks at them again.
[ -e "$root/etc/passwd" ] || cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
[ -e "$root/etc/group" ] || cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers"
: > "$root/var/lib/dpkg/status"
# The database is written by a dpkg to which the image's packages are foreign ones; this file is all that shows it.
printf '%s\n%s\n' "$native" "$ARCH" > "$root/var/lib/dpkg/arch"
filters=$(sed -n 's/^path-/--path-/p' "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap")
# shellcheck disable=SC2046,SC2086  # lists of words without spaces; no globbing wanted, but path-exclude has '*' in it
(
    set -f
    debs=$(find "$root/var/cache/apt/archives" -name '*.deb')
    dpkg --root="$root" --force-depends --force-confold --force-unsafe-io --force-bad-path --no-triggers $filters --unpack $debs
) >&2
rm "$root/var/lib/dpkg/arch"

# Emulated, this package's script alone takes a minute: it asks about 140 certificates one by one, and names them by their hashes,
# which nothing in the image reads. So it is not run now; what else it does is below. The package's next version runs its own.
postinst=$root/var/lib/dpkg/info/ca-certificates.postinst
mv "$postinst" "$root/tmp/"
chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C \
    dpkg --force-confold --force-unsafe-io --configure -a >&2
mv "$root/tmp/ca-certificates.postinst" "$postinst"
mkdir -p "$root/etc/ssl/certs"
(
    cd "$root/usr/share/ca-certificates"
    find . -name '*.crt' | sed 's|^\./||' | LC_ALL=C sort > "$root/etc/ca-certificates.conf"
    xargs cat < "$root/etc/ca-certificates.conf" > "$root/etc/ssl/certs/ca-certificates.crt"
)
