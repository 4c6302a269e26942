# Prints what a program could have changed on this machine, in sections that begin with a line "\1name".
set -eu
section() { printf '\1%s\n' "$1"; }
section links; ip -j link
section addresses; ip -j address
section routes4; ip -j -4 route show table all
section routes6; ip -j -6 route show table all
section rules4; ip -j -4 rule
section rules6; ip -j -6 rule
section settings
for key in ipv4/ip_forward ipv4/conf/all/rp_filter ipv4/conf/default/rp_filter ipv4/conf/all/src_valid_mark \
  ipv6/conf/all/forwarding ipv6/conf/all/disable_ipv6; do
  printf '%s = ' "$key"; cat "/proc/sys/net/$key"
done
# Of each interface that is not ours to come and go with.
for key in /proc/sys/net/ipv4/conf/eth*/{rp_filter,forwarding,src_valid_mark,accept_local,route_localnet} \
  /proc/sys/net/ipv6/conf/eth*/{forwarding,accept_ra,disable_ipv6}; do
  [ ! -e "$key" ] || { printf '%s = ' "${key#/proc/sys/net/}"; cat "$key"; }
done
section nftables; nft -s list ruleset
section hostname; hostname
roots=(/etc /run /var/lib /var/log /usr/local/bin /usr/local/sbin /opt)
for root in "${!roots[@]}"; do [ -d "${roots[$root]}" ] || unset "roots[$root]"; done
shown=()
for name; do shown+=(-path "/etc/$name" -prune -o); done
section files; find "${roots[@]}" "${shown[@]}" -printf '%M %U:%G %p %l\n' | sort
section contents; find "${roots[@]}" "${shown[@]}" -type f -exec sha256sum {} + | sort -k 2
