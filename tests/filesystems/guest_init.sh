#!/bin/sh
# First program of a guest kernel, whose root is the host's root, read only. The kernel passes its settings as variables:
# node, address and interface of the guest; server, shared and mount_options of the NFS mount; local, a folder of the host that
# stays writable; python and agent, which then runs commands.
set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
modules=/usr/lib/uml/modules/$(uname -r)
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
insmod "$modules/kernel/fs/overlayfs/overlay.ko"
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/shm dev/pts lib/modules
mount -t tmpfs tmpfs dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs run
ln -s "$modules" "lib/modules/$(uname -r)"
mount -t hostfs hostfs -o "$local" "./$local"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$node" >etc/hosts
hostname "$node"
ip link set lo up
ip address add "$address/24" dev "$interface"
ip link set "$interface" up
chroot . modprobe nfsv4
mkdir -p "./$shared"
# -i: without mount.nfs, which would need a daemon of its own.
mount -i -t nfs4 "$server:/shared" "./$shared" -o "$mount_options,addr=$server,clientaddr=$address"
exec chroot . "$python" "$agent" "$address"
