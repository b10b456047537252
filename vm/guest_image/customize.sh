#!/bin/sh
# mmdebstrap customize hook: $1 = the root of the image, $2 = the work directory. Runs as (name-space) root.
set -eu
root=$1 work=$2
in_root() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

cp -rT --no-preserve=ownership "$work/rootfs" "$root"

# --- kernel -------------------------------------------------------------------------------------------------------------
# The host boots the kernel file directly, so its package is not installed, only unpacked: an upgrade in the guest must never take
# away the modules of the kernel that runs.
mkdir "$root/tmp/k"
cd "$root/tmp/k"
pkg=$(APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-cache depends --important "linux-image-cloud-$ARCH" | sed -n 's/^ *Depends: //p' | head -n 1)
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get download "$pkg" >&2
dpkg-deb -x "$pkg"_*.deb x
kver=${pkg#linux-image-}
moddir=$(echo x/usr/lib/modules/* x/lib/modules/* | tr ' ' '\n' | grep -F "$kver" | head -n 1)
mkdir -p "$root/usr/lib/modules"
mv "$moddir" "$root/usr/lib/modules/$kver"
# Unpacked modules load several times faster than .xz on an emulated CPU.
# The host's apt decompresses them, and its depmod reads them if it has one: the image may be of an emulated architecture.
cat_file() { APT_CONFIG=$MMDEBSTRAP_APT_CONFIG /usr/lib/apt/apt-helper cat-file "$1"; }
find "$root/usr/lib/modules/$kver" -name '*.ko.xz' > list
while read -r f; do cat_file "$f" > "${f%.xz}" && rm "$f"; done < list
# Nor do they keep their signatures: to check one takes an emulated CPU 70 to 200 ms, 40 modules are loaded until Docker runs,
# and this kernel loads unsigned ones as well. Perl is what mmdebstrap is written in. The format is linux/module_signature.h's.
find "$root/usr/lib/modules/$kver" -name '*.ko' -exec perl -e '
    for my $module (@ARGV) {
        open(my $file, "+<:raw", $module) or die "$module: $!\n";
        next unless seek($file, -40, 2) and read($file, my $end, 40) == 40;
        next unless substr($end, 12) eq "~Module signature appended~\n";
        truncate($file, (-s $file) - 40 - unpack("N", substr($end, 8, 4))) or die "$module: $!\n";
    }' {} +

# --- a module of our own: file events of the host's folders (its source says what it does) ---------------------------------
# What builds it is only unpacked, and taken away again. Without the module the guest tells watchers less exactly, so that
# this may fail: a mirror that is in the middle of an update, a kernel that has changed.
build_module() {
    source=/usr/src/colima-like-file-events
    mkdir t
    cd t
    # The headers by name: what they depend on is the kernel itself and what makes an initrd.
    release=${kver%%-*}
    tools=$(APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -s install --no-install-recommends gcc make "linux-kbuild-$release" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
    [ -n "$tools" ] || return 1
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get download $tools "linux-headers-$kver" "linux-headers-$release-common" >&2 || return 1
    for deb in *.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -t | while read -r name; do
            [ -e "$root/$name" ] || [ -L "$root/$name" ] || echo "$name"
        done >> ../unpacked
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink || return 1
    done
    in_root ldconfig && in_root make -s -C "/usr/src/linux-headers-$kver" M=$source modules >&2 || return 1
    in_root sh -c "strip --strip-debug $source/*.ko" || return 1
    mkdir -p "$root/usr/lib/modules/$kver/extra"
    mv "$root$source"/*.ko "$root/usr/lib/modules/$kver/extra/"
}
# An emulated compiler would take many minutes.
if [ "$(dpkg --print-architecture)" != "$ARCH" ]; then
    echo "no module for file events in an image of another architecture: programs that watch files are told less exactly" >&2
elif ! build_module; then echo "the module for file events cannot be built: programs that watch files are told less exactly" >&2
fi
cd "$root"
if [ -e tmp/k/unpacked ]; then
    grep -v '/$' tmp/k/unpacked | tr '\n' '\0' | xargs -0 rm -f
    grep '/$' tmp/k/unpacked | sort -ru | tr '\n' '\0' | xargs -0 rmdir --ignore-fail-on-non-empty || :
    in_root ldconfig
fi
find usr/src/colima-like-file-events -type f ! -name '*.c' ! -name Kbuild -delete
cd "$root/tmp/k"
# The host's depmod, if it has one: the image may be of an emulated architecture.
if command -v depmod > /dev/null; then depmod -b "$root/usr" "$kver"; else in_root depmod "$kver"; fi

# The uncompressed kernel inside a bzImage (payload fields of the x86 boot protocol) boots by PVH; decompressing it costs an
# emulated CPU seconds. The payload ends with its own length, 4 bytes.
u32() { od -An -tu4 -j"$2" -N4 "$1" | tr -d ' '; }
vmlinuz=$(echo x/boot/vmlinuz-*)
kernel=$vmlinuz
if [ "$ARCH" = amd64 ]; then
    sects=$(od -An -tu1 -j497 -N1 "$vmlinuz" | tr -d ' ')
    from=$(( (sects + 1) * 512 + $(u32 "$vmlinuz" 584) ))
    len=$(u32 "$vmlinuz" 588)
    tail -c +$((from + 1)) "$vmlinuz" | head -c $((len - 4)) > payload.zst
    if cat_file "$root/tmp/k/payload.zst" > vmlinux &&
        [ "$(head -c 4 vmlinux | od -An -tx1 | tr -d ' ')" = 7f454c46 ]; then kernel=vmlinux; fi
elif gzip -t "$vmlinuz" 2>/dev/null; then
    gzip -dc "$vmlinuz" > Image
    kernel=Image
fi
cp "$kernel" "$root/boot/kernel"

# --- initrd: one driver and one mount ---------------------------------------------------------------------------------
mkdir -p i/bin i/dev i/root i/proc i/sys
cp "$root/bin/busybox" i/bin/busybox
find "$root/usr/lib/modules/$kver" -name virtio_blk.ko -exec cp {} i/ \;
cp "$work/rootfs/usr/lib/colima-like/initrd-init" i/init
chmod 755 i/init
in_root sh -c 'cd /tmp/k/i && find . | busybox cpio -o -H newc' > "$root/boot/initrd"

cd "$root"
rm -rf "$root/tmp/k"

# --- systemd ------------------------------------------------------------------------------------------------------------
mask() { for u; do ln -sfn /dev/null "$root/etc/systemd/system/$u"; done; }
# Nothing of this may listen, wait, or run behind a container's back. There is no udev: `late` loads the drivers instead.
mask ssh.service ssh.socket sshd-unix-local.socket \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service logrotate.timer \
    systemd-tmpfiles-clean.timer \
    systemd-firstboot.service systemd-machine-id-commit.service systemd-remount-fs.service systemd-random-seed.service \
    systemd-update-done.service systemd-sysusers.service systemd-hwdb-update.service systemd-update-utmp.service \
    systemd-journal-flush.service systemd-journal-catalog-update.service systemd-pcrmachine.service systemd-pcrphase.service \
    systemd-logind.service systemd-user-sessions.service systemd-ask-password-console.path systemd-ask-password-wall.path \
    getty.target getty-static.service console-getty.service serial-getty@.service autovt@.service getty@.service \
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
    systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    systemd-modules-load.service kmod-static-nodes.service systemd-sysctl.service systemd-tmpfiles-setup.service ldconfig.service \
    dev-mqueue.mount run-lock.mount tmp.mount systemd-journald-audit.socket systemd-hostnamed.socket systemd-creds.socket \
    systemd-udevd.service systemd-udev-trigger.service systemd-tmpfiles-setup-dev-early.service systemd-tmpfiles-setup-dev.service
# Generators find work for this VM in none of these: no fstab, no gettys, no partitions, no sysv scripts, no vsock.
mkdir -p "$root/etc/systemd/system-generators"
for g in "$root"/usr/lib/systemd/system-generators/*; do ln -sfn /dev/null "$root/etc/systemd/system-generators/${g##*/}"; done
wants=$root/etc/systemd/system/multi-user.target.wants
rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/sockets.target.wants
mkdir -p "$wants" "$root/etc/systemd/system/sockets.target.wants"
ln -sfn /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
ln -sfn /usr/lib/systemd/system/colima-like-vsock.socket "$root/etc/systemd/system/sockets.target.wants/"
for u in colima-like-ssh@0 colima-like-agent colima-like-net colima-like-power colima-like-late colima-like-shares; do
    ln -sfn "/usr/lib/systemd/system/$(echo $u | sed 's/@.*/@/').service" "$wants/$u.service"
done
ln -sfn /usr/lib/systemd/system/colima-like-data.service "$wants/"
if [ "$VARIANT" = docker ]; then
    ln -sfn /etc/systemd/system/docker.socket "$root/etc/systemd/system/sockets.target.wants/"
    ln -sfn /etc/systemd/system/docker.service "$wants/"
    ln -sfn /etc/systemd/system/containerd.service "$wants/"
    # By this name daemon.json has it, here as in guests that have runc only. The agent calls it (agent/oci_runtime.hpp).
    ln -sfn colima-like-agent "$root/usr/lib/colima-like/crun"
    : > "$root/usr/lib/colima-like/crun-read-only"
fi

# --- programs of other architectures: those that the CPU runs by itself are not registered ---------------------------------
case $ARCH in arm64) own='aarch64\|arm' ;; *) own='x86_64\|i386' ;; esac
sed -i "/^:qemu-\($own\):/d" "$root/usr/lib/binfmt.d/colima-like.conf"

# --- what one reaches for when something is wrong ---------------------------------------------------------------------------
# busybox has it; a package that is installed later takes the name over. `nslookup` and `ss` are scripts of ours.
for t in ip less netstat; do [ -e "$root/usr/bin/$t" ] || ln -s busybox "$root/usr/bin/$t"; done
for t in nslookup ss; do install -m 755 "$work/rootfs/usr/lib/colima-like/$t" "$root/usr/bin/$t"; rm "$root/usr/lib/colima-like/$t"; done

# --- the rest -----------------------------------------------------------------------------------------------------------
rm -f "$root"/etc/ssh/ssh_host_*_key*
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n10.0.2.2 host.docker.internal\n' > "$root/etc/hosts"
in_root passwd -d root >&2
in_root usermod -p '*' root
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/log/* "$root"/usr/share/doc-base

docker_version=
[ "$VARIANT" = plain ] || docker_version=$(in_root dpkg-query -W -f '${Version}' docker.io)
cat > "$root/boot/manifest.txt" <<MANIFEST
suite=$SUITE
variant=$VARIANT
arch=$ARCH
kernel_version=$kver
docker_version=$docker_version
cmdline=root=/dev/vda rw panic=1 lsm= audit=0 nowatchdog systemd.show_status=error rcupdate.rcu_expedited=1 cgroup_favordynmods=1
MANIFEST
