# The first process of the virtual machine once the host's files are its root.
folder=${0%/*}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
ip link set lo up
hostname netloom-vm
for port in /dev/vport*p1; do :; done
setsid sh "$folder/command.sh" < /dev/null > "$port" 2>&1
echo "netloom-exit $?" > /dev/ttyS0
busybox reboot -f
