# The first process of a machine: gives it folders of its own, then holds its namespaces until standard input ends.
# Arguments: the machine's folder, its name, "root" or "user", host folders that must stay visible, each "bind PATH",
# or, for a folder below the machine's own /etc that shows the host's, each "etc NAME".
set -eu
folder=$1 name=$2 privilege=$3
shift 3
IFS=' ' read -r pid _ < /proc/self/stat
hostname "$name"
cd "$folder/root"

# A user namespace may not drop the flags of mounts it inherited, so there this can fail; the kernel's own
# permission checks keep the host's files safe instead.
read_only() { mount -o remount,bind,ro "$1" 2> /dev/null || [ "$privilege" = user ]; }

mount -t tmpfs -o mode=755,size=256m run "$folder/root/run"
mount -t tmpfs -o mode=1777,size=1g tmp "$folder/root/tmp"
for kind; do
  case $kind in
    etc) next=etc ;;
    bind) next=bind ;;
    *)
      if [ "$next" = etc ]; then from=/etc/$kind to=$folder/root/etc/$kind; else from=$kind to=$folder/root$kind; fi
      mkdir -p "$to"
      mount --rbind "$from" "$to"
      read_only "$to"
      ;;
  esac
done
# Some of the folders to cover may contain this one: from here on only relative paths reach it.
for own in etc run tmp var/lib var/log var/tmp usr/local/bin usr/local/sbin opt; do
  [ -d "/$own" ] || continue
  mount -c --rbind "./$own" "/$own"
done
[ -L /var/run ] || mount -c --rbind ./run /var/run
cd /
read_only /
mount -t proc proc /proc
mount -t sysfs -o ro sysfs /sys 2> /dev/null || true

# As Debian sets it; and no waiting for duplicate address detection on links that only the lab can reach.
for where in all default; do
  echo 2 > /proc/sys/net/ipv4/conf/$where/rp_filter
  echo 1 > /proc/sys/net/ipv4/conf/$where/arp_notify
  echo 0 > /proc/sys/net/ipv6/conf/$where/disable_ipv6
  echo 0 > /proc/sys/net/ipv6/conf/$where/accept_dad
  echo 0 > /proc/sys/net/ipv6/conf/$where/accept_ra
  echo 1 > /proc/sys/net/ipv6/conf/$where/ndisc_notify
done
echo 0 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv6/conf/all/forwarding
ip link set lo up
echo "ready $pid"
exec > /dev/null 2>&1
set +e
while read -r _; do :; done
exit 0
