#!/bin/sh
# Builds the guest image from Debian packages. Runs as root, or unprivileged through user namespaces.
#   OUT=DIR ARCH=amd64|arm64 VARIANT=docker|plain SUITE=trixie MIRROR=URL sh build.sh
# stdout: "@phase ..." lines only. Result in $OUT: root.raw kernel initrd manifest.txt. See README.md.
set -eu
umask 022
: "${OUT:?}" "${ARCH:?}" "${VARIANT:?}" "${SUITE:=trixie}" "${MIRROR:=http://deb.debian.org/debian}"
SECURITY_MIRROR=${SECURITY_MIRROR-http://deb.debian.org/debian-security}
export ARCH VARIANT SUITE
case $VARIANT in docker|plain) ;; *) echo "VARIANT must be docker or plain" >&2; exit 2 ;; esac
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)

need() { echo "$1" >&2; exit 3; }
command -v mmdebstrap >/dev/null || need "mmdebstrap is not installed: apt-get install mmdebstrap"
command -v mke2fs >/dev/null || need "mke2fs is not installed: apt-get install e2fsprogs"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r $keyring ] || need "$keyring is missing: apt-get install debian-archive-keyring"
if [ "$(id -u)" = 0 ]; then
    mode=root; as_root=
else
    mode=unshare; as_root='mmdebstrap --unshare-helper'
    command -v newuidmap >/dev/null || need "newuidmap is missing: apt-get install uidmap"
    user=$(id -un)
    for f in /etc/subuid /etc/subgid; do
        grep -qs "^\($user\|$(id -u)\):" $f || need "$user has no range in $f: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user"
    done
    why=$($as_root true 2>&1) || need "user namespaces do not work here (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0): $(echo "$why" | tail -n 1)"
fi
foreign=
if [ "$(dpkg --print-architecture)" != "$ARCH" ]; then
    foreign=yes
    case $ARCH in arm64) cpu=aarch64 ;; *) cpu=x86_64 ;; esac
    # F: the translator is opened when it is registered, so it works in the new root as well.
    grep -qs '^flags:.*F' /proc/sys/fs/binfmt_misc/qemu-$cpu ||
        need "this host does not run $ARCH programs, and so builds no $ARCH images: apt-get install qemu-user-binfmt (on Debian 12 and Ubuntu 24.04 qemu-user-static), or scripts/setup --foreign"
fi

# Every long step runs in the background: dash runs a trap only between commands, and `wait` is one that a signal ends.
child= work=
# Its own process group, because mmdebstrap ends on a signal only when apt and dpkg do.
run() { setsid "$@" & child=$!; rc=0; wait $child || rc=$?; child=; return $rc; }
finish() {
    rc=$?
    trap - EXIT; trap '' INT TERM HUP
    cd /                            # find wants to come back to where it was, and a subordinate uid may not
    if [ -n "$child" ]; then
        kill -TERM -$child 2>/dev/null || :
        for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 -$child 2>/dev/null || break; sleep 0.5; done
        kill -KILL -$child 2>/dev/null || :
    fi
    # mmdebstrap's mounts live in its own mount namespace and are gone with it.
    if [ -n "$work" ]; then $as_root find "$work/root" -xdev -mindepth 1 -delete || :; rm -rf "$work"; fi
    [ $rc = 0 ] || rm -f "$OUT/root.raw" "$OUT/kernel" "$OUT/initrd" "$OUT/manifest.txt"
    exit $rc
}
trap finish EXIT
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM

# Unprivileged: the work is done under a subordinate uid, which can enter neither $OUT nor $here (both private). So there is a
# third directory that it can enter, but nobody else can write to.
work=$(mktemp -d "${TMPDIR:-/var/tmp}/colima-like-image.XXXXXXXXXX")
chmod 711 "$work"
cp -r "$here/customize.sh" "$here/foreign.sh" "$here/rootfs" "$work/"
case $ARCH in arm64) agent=$here/agent/aarch64 ;; *) agent=$here/agent/x86_64 ;; esac
# There may be none for this architecture: the host sends it then, or does without.
[ ! -f "$agent" ] || cp "$agent" "$work/rootfs/usr/lib/colima-like/colima-like-agent"
chmod -R u=rwX,go=rX "$work/rootfs" "$work/customize.sh" "$work/foreign.sh"
# Whoever unpacked this may have lost the x bits.
find "$work/rootfs/usr/lib/colima-like" -type f ! -name sshd_config ! -name '*.conf' -exec chmod 755 {} +

packages=systemd,systemd-sysv,kmod,busybox-static,openssh-server,openssh-sftp-server,sshfs,iptables,e2fsprogs,procps,ca-certificates
[ "$VARIANT" = plain ] || packages=$packages,docker.io,docker-cli,crun,dnsmasq-base,git,xz-utils,qemu-user,qemu-user-binfmt,curl,strace
{
    echo "deb $MIRROR $SUITE main"
    echo "deb $MIRROR $SUITE-updates main"
    [ -z "$SECURITY_MIRROR" ] || echo "deb $SECURITY_MIRROR $SUITE-security main"
} > "$work/sources.list"

echo "@phase downloading and unpacking Debian packages"
how="--variant=apt --include=$packages"
hooks=customize
if [ -n "$foreign" ]; then
    how="--variant=extract --include=?essential --include=$packages"
    hooks=extract
fi
# qemu-user holds 35 architectures (465 MB); Docker images come in seven. What is registered is rootfs/usr/lib/binfmt.d.
# shellcheck disable=SC2086
run mmdebstrap --mode=$mode $how --format=directory --architectures="$ARCH" --keyring=$keyring \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-confold --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/bin/qemu-*' --dpkgopt='path-exclude=/usr/lib/binfmt.d/qemu-*' \
    $(for a in aarch64 arm x86_64 i386 riscv64 ppc64le s390x; do echo "--dpkgopt=path-include=/usr/bin/qemu-$a"; done) \
    ${foreign:+--extract-hook="sh $work/foreign.sh \"\$1\""} \
    --$hooks-hook="sh $work/customize.sh \"\$1\" $work" \
    "$SUITE" "$work/root" "$work/sources.list" >&2

echo "@phase writing the root file system"
cp "$work/root/boot/kernel" "$work/root/boot/initrd" "$work/root/boot/manifest.txt" "$OUT/"
# Journal: the disk is disposable, but a killed QEMU must leave it mountable. Tables are written now (lazy_*=0), or the guest's
# kernel would write them into the overlay. The image is made where only root of the name space can write, then copied sparsely.
cat > "$work/mkfs.sh" <<'MKFS'
set -eu
PATH=$PATH:/usr/sbin:/sbin
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/colima-like-image.XXXXXXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$1/boot"; mkdir "$1/boot"
# Now, because mmdebstrap puts the builder's in place. Without /etc/hostname the credential system.hostname counts.
ln -sfn /run/resolv.conf "$1/etc/resolv.conf"
rm -f "$1/etc/hostname"
truncate -s 8G "$dir/root.raw"
mke2fs -q -t ext4 -b 4096 -m 0 -N 524288 -J size=32 -L colima-like-root -E lazy_itable_init=0,lazy_journal_init=0 -d "$1" "$dir/root.raw" >&2
cat "$dir/root.raw"
MKFS
run sh -c "$as_root sh '$work/mkfs.sh' '$work/root'"' | dd of="$1" bs=64k iflag=fullblock conv=sparse status=none' sh "$OUT/root.raw"
[ "$(stat -c %s "$OUT/root.raw")" = 8589934592 ] || { echo "the root file system was not written whole" >&2; exit 1; }
echo "@phase done"
