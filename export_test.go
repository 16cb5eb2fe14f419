package neuroquantumws

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// HubOf gives the living hub of a name, nil where there is none.
func HubOf(name string) *hub.Hub {
	if p := pooled(name); p != nil {
		return p.hub
	}
	return nil
}

// pooled gives the living hub of a name with all that belongs to it.
func pooled(name string) (found *pooledHub) {
	hubs.Range(func(key, value any) bool {
		if key == name {
			found = value.(*pooledHub)
		}
		return true
	})
	return found
}

// IssueTicket, RevokeUser and Disconnect are what the management API does with a hub.
func IssueTicket(hub string, grant access.Grant, ttl time.Duration) (string, time.Time, error) {
	return pooled(hub).issueTicket(grant, ttl)
}

func RevokeUser(hub, user string, at time.Time, after time.Duration) int {
	return pooled(hub).revokeUser(user, at, after)
}

func Disconnect(hub, connectionID string, after time.Duration) bool {
	return pooled(hub).disconnect(connectionID, after)
}
