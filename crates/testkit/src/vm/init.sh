#!/bin/busybox sh
# The first process of the virtual machine: loads modules, mounts the host's files with a writable layer in memory over
# /tmp and /var/tmp, and hands over to the command that the host wrote down. The word after "netloom=" names the host's run folder.
PATH=/bin
for applet in mkdir mount insmod cat sed ls switch_root reboot; do /bin/busybox ln -s /bin/busybox /bin/$applet; done
failed() { echo "netloom-failed: $*" > /dev/ttyS0; reboot -f; }
mkdir -p /proc /dev /sys /host /new
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*; do insmod "$module" || failed "cannot load $module"; done
# Seen by a user without rights, root's set-user-id programs belong to nobody, and would make root nobody.
mount -t virtiofs -o ro,nosuid host /host || failed "cannot mount the host's files"
mount -t tmpfs -o size=70% layer /new || failed "cannot mount memory"
root=/host
# Only over these: a layer over everything would open files in a way that is refused to a user who does not own them.
for each in tmp var/tmp; do
  mkdir -p /new/$each/upper /new/$each/work
  mount -t overlay -o lowerdir=$root/$each,upperdir=/new/$each/upper,workdir=/new/$each/work each $root/$each ||
    failed "cannot make $each writable"
done
mount -t tmpfs -o mode=755 run $root/run
for each in proc dev sys; do mount --move /$each $root/$each; done
mkdir -p $root/dev/pts $root/dev/shm
for each in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do /bin/busybox ln -s /proc/self/${each#*:} $root/dev/${each%:*}; done
mount -t devpts devpts $root/dev/pts
mount -t tmpfs -o mode=1777 shm $root/dev/shm
folder=$(sed 's/.*netloom=\([^ ]*\).*/\1/' $root/proc/cmdline)
exec switch_root $root /bin/sh "$folder/guest.sh"
failed "cannot hand over"
