package handshake

import (
	"net/netip"
)

// ipv6Prefix is the part of an IPv6 address that one customer of a provider is given: of the rest they choose at will.
const ipv6Prefix = 64

// LimitKey is what connections from an address are counted under.
func LimitKey(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, ipv6Prefix).Masked().String()
}
