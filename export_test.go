package neuroquantumws

import "github.com/neuroquantumdb/neuroquantum-ws/hub"

// HubOf gives the living hub of a name, nil where there is none.
func HubOf(name string) (found *hub.Hub) {
	hubs.Range(func(key, value any) bool {
		if key == name {
			found = value.(*pooledHub).hub
		}
		return true
	})
	return found
}
