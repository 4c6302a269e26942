# The first process of a lab: holds its network namespace (the switches live there) and its process namespace.
# Ends, and with it everything in the lab, when the process that made the lab closes its end of standard input,
# which the kernel does for it even when it is killed.
set -eu
folder=$1 keep=$2
IFS=' ' read -r pid _ < /proc/self/stat
cd /
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
ip link set lo up
echo "ready $pid"
exec > /dev/null 2>&1
set +e
while read -r _; do :; done
kill -9 -1
if [ "$keep" = no ]; then rm -rf -- "$folder" || rm -rf -- "$folder"; fi
exit 0
