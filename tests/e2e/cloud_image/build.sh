#!/bin/sh
# Makes a disk image as distributions publish them: GRUB, Debian's cloud kernel, cloud-init, sshd on a network, logind.
# Of the files of colima-like there are none in it. It brings Docker along, since that it gets installed in a guest
# without is what the group plain_guest shows.
#   OUT=FILE.qcow2 MIRROR=URL sh build.sh
# As root or, with user name spaces, as anybody. Nothing is mounted: the file system is made from a directory, and the boot
# loader is put in place by hand.
set -eu
umask 022
: "${OUT:?}" "${MIRROR:=http://deb.debian.org/debian}"
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/colima-like-cloud-image.XXXXXXXXXX")
chmod 711 "$work"
if [ "$(id -u)" = 0 ]; then mode=root as_root=; else mode=unshare as_root='mmdebstrap --unshare-helper'; fi
trap '$as_root rm -rf "$work/root"; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

cat > "$work/customize.sh" <<'CUSTOMIZE'
set -eu
root=$1
in_root() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
mkdir -p "$root/boot/grub"
cp "$root"/boot/vmlinuz-* "$root/boot/vmlinuz"
cp "$root"/boot/initrd.img-* "$root/boot/initrd"
in_root grub-mkimage -O i386-pc -p '(hd0,gpt2)/boot/grub' -o /boot/core.img biosdisk part_gpt ext2 normal linux serial terminal
cp "$root/usr/lib/grub/i386-pc/boot.img" "$root/boot/boot.img"
cat > "$root/boot/grub/grub.cfg" <<'GRUB'
serial --unit=0 --speed=115200
terminal_output serial
linux /boot/vmlinuz root=LABEL=cloud-root ro console=ttyS0 mitigations=off no_timer_check
initrd /boot/initrd
boot
GRUB
echo 'LABEL=cloud-root / ext4 defaults 0 1' > "$root/etc/fstab"
# As in the images of distributions: no keys, no machine of its own, nobody who may log in.
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"
in_root passwd -l root
in_root systemctl enable systemd-networkd.service systemd-resolved.service
CUSTOMIZE

packages=systemd,systemd-sysv,systemd-resolved,udev,dbus,libpam-systemd,kmod,procps,iproute2,linux-image-cloud-amd64,initramfs-tools
packages=$packages,cloud-init,cloud-guest-utils,python3,openssh-server,grub-pc-bin,grub-common
packages=$packages,docker.io,docker-cli,dnsmasq-base,iptables,ca-certificates
cat > "$work/excludes" <<'DPKG'
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
DPKG
setsid mmdebstrap --mode=$mode --variant=apt --format=directory --architectures=amd64 \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg --include=$packages \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --dpkgopt="$work/excludes" \
    --customize-hook="sh $work/customize.sh \"\$1\"" trixie "$work/root" "$MIRROR" >&2

cp "$work/root/boot/boot.img" "$work/root/boot/core.img" "$work/"
root_size=$((3 * 1024 * 1024 * 1024))
cat > "$work/mkfs.sh" <<'MKFS'
set -eu
PATH=$PATH:/usr/sbin:/sbin
truncate -s "$2" "$3"
mke2fs -q -t ext4 -b 4096 -m 0 -L cloud-root -E lazy_itable_init=0,lazy_journal_init=0 -d "$1" "$3" >&2
MKFS
touch "$work/root.raw"; chmod 666 "$work/root.raw"
$as_root sh "$work/mkfs.sh" "$work/root" $root_size "$work/root.raw"
python3 "$here/disk.py" "$work/disk.raw" "$work/boot.img" "$work/core.img" "$work/root.raw"
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$OUT.new"
mv "$OUT.new" "$OUT"
