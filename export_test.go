package neuroquantumws

import (
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// HubOf gives the living hub of a name, nil where there is none.
func HubOf(name string) *hub.Hub {
	if p := pooledHubOf(name); p != nil {
		return p.hub
	}
	return nil
}

// Metrics gives the names of all metrics with their labels.
func Metrics() map[string][]string {
	all := make(map[string][]string)
	for _, desc := range described {
		var name, labels string
		text := strings.NewReplacer("{", " ", "}", " ").Replace(desc.String())
		if at := strings.Index(text, `fqName: "`); at >= 0 {
			name, _, _ = strings.Cut(text[at+len(`fqName: "`):], `"`)
		}
		if at := strings.Index(text, "variableLabels:"); at >= 0 {
			labels = strings.TrimSpace(text[at+len("variableLabels:"):])
		}
		all[name] = strings.Split(labels, ",")
	}
	return all
}

// IssueTicket, RevokeUser and Disconnect are what the management API does with a hub.
func IssueTicket(hub string, grant access.Grant, ttl time.Duration) (string, time.Time, error) {
	return pooledHubOf(hub).issueTicket(grant, ttl)
}

func RevokeUser(hub, user string, at time.Time, after time.Duration) int {
	return pooledHubOf(hub).revokeUser(user, at, after)
}

func Disconnect(hub, connectionID string, after time.Duration) bool {
	return pooledHubOf(hub).disconnect(connectionID, after)
}
