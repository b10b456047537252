#!/bin/sh
# Makes a disk image as distributions publish them: GRUB, Debian's cloud kernel, cloud-init, sshd on a network, logind.
# Of the files of colima-like there are none in it. It brings Docker along, since that it gets installed in a guest
# without is what the group plain_guest shows.
#   OUT=FILE.qcow2 ARCH=amd64|arm64 MIRROR=URL sh build.sh
# As root or, with user name spaces, as anybody. Nothing is mounted: the file system is made from a directory, and the boot
# loader is put in place by hand: on amd64 for a PC's BIOS, on arm64 for EFI.
set -eu
umask 022
: "${OUT:?}" "${ARCH:=amd64}" "${MIRROR:=http://deb.debian.org/debian}"
case $ARCH in amd64|arm64) ;; *) echo "ARCH must be amd64 or arm64" >&2; exit 2 ;; esac
export ARCH
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
if [ "$ARCH" = amd64 ]; then
    in_root grub-mkimage -O i386-pc -p '(hd0,gpt2)/boot/grub' -o /boot/core.img biosdisk part_gpt ext2 normal linux serial terminal
    cp "$root/usr/lib/grub/i386-pc/boot.img" "$root/boot/boot.img"
    cat > "$root/boot/grub/grub.cfg" <<'GRUB'
serial --unit=0 --speed=115200
terminal_output serial
linux /boot/vmlinuz root=LABEL=cloud-root ro console=ttyS0 mitigations=off no_timer_check
initrd /boot/initrd
boot
GRUB
else
    # EFI numbers disks as it finds them, so the root file system is looked for by its label. The firmware's console is the
    # serial port.
    printf 'search --no-floppy --set=root --label cloud-root\nset prefix=($root)/boot/grub\n' > "$root/boot/load.cfg"
    in_root grub-mkimage -O arm64-efi -p /boot/grub -c /boot/load.cfg -o /boot/grub.efi part_gpt ext2 fat gzio normal linux search search_label
    cat > "$root/boot/grub/grub.cfg" <<'GRUB'
linux /boot/vmlinuz root=LABEL=cloud-root ro console=ttyAMA0 mitigations=off
initrd /boot/initrd
boot
GRUB
fi
echo 'LABEL=cloud-root / ext4 defaults 0 1' > "$root/etc/fstab"
[ "$ARCH" = amd64 ] || { mkdir "$root/boot/efi"; echo 'LABEL=CLOUD-EFI /boot/efi vfat umask=0077 0 1' >> "$root/etc/fstab"; }
# As in the images of distributions: no keys, no machine of its own, nobody who may log in.
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"
in_root passwd -l root
in_root systemctl enable systemd-networkd.service systemd-resolved.service
CUSTOMIZE

case $ARCH in amd64) firmware=pc ;; *) firmware=efi-arm64 ;; esac
packages=systemd,systemd-sysv,systemd-resolved,udev,dbus,libpam-systemd,kmod,procps,iproute2,linux-image-cloud-$ARCH,initramfs-tools
packages=$packages,cloud-init,cloud-guest-utils,python3,openssh-server,grub-$firmware-bin,grub-common
packages=$packages,docker.io,docker-cli,dnsmasq-base,iptables,ca-certificates
cat > "$work/excludes" <<'DPKG'
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
DPKG
how="--variant=apt --include=$packages" hooks=customize foreign=
if [ "$(dpkg --print-architecture)" != "$ARCH" ]; then
    # As for the guest image of our own: this host's dpkg unpacks, and only the packages' scripts are emulated.
    foreign=$work/foreign.sh
    cp "$here/../../../vm/guest_image/foreign.sh" "$foreign"
    how="--variant=extract --include=?essential --include=apt,$packages" hooks=extract
fi
# shellcheck disable=SC2086
setsid mmdebstrap --mode=$mode $how --format=directory --architectures="$ARCH" \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --dpkgopt="$work/excludes" \
    ${foreign:+--extract-hook="sh $foreign \"\$1\""} --$hooks-hook="sh $work/customize.sh \"\$1\"" trixie "$work/root" "$MIRROR" >&2

if [ "$ARCH" = amd64 ]; then
    cp "$work/root/boot/boot.img" "$work/root/boot/core.img" "$work/"
    loader="bios $work/boot.img $work/core.img"
else
    # The place on an EFI system partition that firmware without memory looks at.
    mkfs.fat -C -n CLOUD-EFI "$work/efi.raw" 16384 >&2
    mmd -i "$work/efi.raw" ::/EFI ::/EFI/BOOT
    mcopy -i "$work/efi.raw" "$work/root/boot/grub.efi" ::/EFI/BOOT/BOOTAA64.EFI
    loader="efi $work/efi.raw"
fi
root_size=$((3 * 1024 * 1024 * 1024))
cat > "$work/mkfs.sh" <<'MKFS'
set -eu
PATH=$PATH:/usr/sbin:/sbin
truncate -s "$2" "$3"
mke2fs -q -t ext4 -b 4096 -m 0 -L cloud-root -E lazy_itable_init=0,lazy_journal_init=0 -d "$1" "$3" >&2
MKFS
touch "$work/root.raw"; chmod 666 "$work/root.raw"
$as_root sh "$work/mkfs.sh" "$work/root" $root_size "$work/root.raw"
# shellcheck disable=SC2086
python3 "$here/disk.py" "$work/disk.raw" "$work/root.raw" $loader
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$OUT.new"
mv "$OUT.new" "$OUT"
