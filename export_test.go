package neuroquantumws

import (
	"strings"

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
