#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mmdebstrap's customize hook: customize.sh ROOT OUT SIZE NAME:SUITE:PACKAGE...
# Adds the kernels' modules to ROOT, settles what a first boot would, writes OUT/root.img,
# OUT/busybox, and for each kernel OUT/NAME/{vmlinuz,version,modules/}.
set -euo pipefail
root=$1 out=$2 size=$3
shift 3
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG

# unpack_modules VERSION DIRECTORY MODULE...: with what they depend on, numbered in loading order.
unpack_modules() {
    local version=$1 directory=$2 count=10 path paths
    shift 2
    mkdir -p "$directory"
    # The guest's own modprobe: a host need not have one. An assignment, so that its failure ends
    # the build.
    paths=$(chroot "$root" modprobe -S "$version" -a --show-depends "$@" |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }')
    for path in $paths; do
        case $path in
        *.xz) xz -dc "$root$path" ;;
        *.zst) zstd -dcq "$root$path" ;;
        *) cat "$root$path" ;;
        esac >"$directory/$count-$(basename "${path%%.ko*}").ko"
        count=$((count + 1))
    done
}

# A kernel's packages depend on initramfs tools and more that a guest does not need: unpack only.
fetch_kernel() {
    local name=$1 suite=$2 meta=$3 apt image version packages
    apt=(-o "APT::Default-Release=$suite" -o APT::Sandbox::User=root)
    image=$(apt-cache "${apt[@]}" depends "$meta" |
        sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -1)
    version=${image#linux-image-}
    packages=("linux-base-$version" "linux-binary-$version" "linux-modules-$version")
    apt-cache "${apt[@]}" show "${packages[@]}" >/dev/null 2>&1 || packages=("$image")
    echo "I: kernel $name: $version" >&2
    mkdir -p "$out/$name/debs"
    (cd "$out/$name/debs" && apt-get "${apt[@]}" -q download "${packages[@]}")
    for deb in "$out/$name"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
    rm -r "$out/$name/debs"
    for vmlinuz in "$root/usr/lib/modules/$version/vmlinuz" "$root/boot/vmlinuz-$version"; do
        if [ -f "$vmlinuz" ]; then mv "$vmlinuz" "$out/$name/vmlinuz"; fi
    done
    chroot "$root" depmod "$version"
    # What the initrd has to load before it sees the root: a virtio disk, or memory (NVDIMM).
    unpack_modules "$version" "$out/$name/modules/vda" virtio_blk
    unpack_modules "$version" "$out/$name/modules/pmem0" nfit nd_pmem
    echo "$version" >"$out/$name/version"
}

mkdir "$out/busybox.deb"
(cd "$out/busybox.deb" && apt-get -o APT::Sandbox::User=root -q download busybox-static)
dpkg-deb --fsys-tarfile "$out"/busybox.deb/*.deb | tar -xO ./usr/bin/busybox >"$out/busybox"
chmod 755 "$out/busybox"
rm -r "$out/busybox.deb"

for kernel; do
    IFS=: read -r name suite meta <<<"$kernel"
    fetch_kernel "$name" "$suite" "$meta"
done
rm -rf "$root"/boot/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

cd "$root/etc"
: >fstab
rm -f resolv.conf && : >resolv.conf
echo guest >hostname
echo '127.0.0.1 localhost' >hosts
echo 6167656e746367006775657374000001 >machine-id
mkdir -p systemd/journald.conf.d systemd/system/multi-user.target.wants
printf '[Journal]\nStorage=volatile\n' >systemd/journald.conf.d/guest.conf
ln -sf /usr/lib/systemd/system/multi-user.target systemd/system/default.target
ln -sf ../agentcg-guest.service systemd/system/multi-user.target.wants/
# systemd looks for new units here without a reload, if the directory was there when it started.
mkdir -p "$root/usr/local/lib/systemd/system"
# Nobody logs in on a console, nothing is to be updated or cleaned in a throw-away guest, and
# whatever needs the modules, file systems and devices below loads them by itself.
for unit in getty.target getty@.service serial-getty@.service systemd-firstboot.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer ldconfig.service \
    systemd-hwdb-update.service systemd-journal-catalog-update.service \
    systemd-update-done.service systemd-machine-id-commit.service systemd-random-seed.service \
    systemd-update-utmp.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
    modprobe@.service kmod-static-nodes.service systemd-modules-load.service \
    systemd-tmpfiles-setup-dev-early.service systemd-tmpfiles-setup-dev.service \
    systemd-sysusers.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount tmp.mount run-lock.mount \
    systemd-hostnamed.socket systemd-journal-flush.service systemd-logind.service \
    systemd-user-sessions.service; do
    ln -sf /dev/null "systemd/system/$unit"
done

echo "I: writing the disk image" >&2
truncate -s "$size" "$out/root.img"
# /proc and /sys are mounted on the tree; a second view of it is without them.
plain=$(mktemp -d)
trap 'umount "$plain"; rmdir "$plain"' EXIT
mount --bind "$root" "$plain"
mke2fs -q -F -t ext4 -O ^has_journal,^metadata_csum -E lazy_itable_init=1,nodiscard -m 0 \
    -L agentcg-guest -d "$plain" "$out/root.img"
