package nats

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// names are how a hub's things are called in NATS.
type names struct {
	stream string
	root   string // begins all subjects of the hub
	bucket string // begins the names of the hub's key-value buckets
}

func namesOf(prefix, hub string) names {
	token := hubToken(hub)
	return names{stream: prefix + "-" + token, root: prefix + "." + token + ".", bucket: bucketOf(prefix + "-" + token)}
}

// bucketOf makes a name that a bucket may have, in which less may stand than in a stream's.
func bucketOf(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return r > 0x7e || r != '_' && !plain(byte(r)) }) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// in begins the subjects that the stream of an epoch takes, and out those that it republishes to. As the epoch is part of both, a node
// that does not know yet that the stream was made anew neither publishes into it nor takes its messages for those of the old one.
func (n names) in(epoch string) string  { return n.root + "in." + epoch + "." }
func (n names) out(epoch string) string { return n.root + "out." + epoch + "." }

// live begins the subjects of messages that no stream keeps.
func (n names) live() string { return n.root + "live." }

// alive is where nodes say that they are there, and sync where each answers.
func (n names) alive() string { return n.root + "node.alive" }
func (n names) sync() string  { return n.root + "node.sync" }
