package neuroquantumws

import "github.com/neuroquantumdb/neuroquantum-ws/hub"

// HubOf gives the living hub of a name, nil where there is none.
func HubOf(name string) *hub.Hub {
	if p := pooledHubOf(name); p != nil {
		return p.hub
	}
	return nil
}
