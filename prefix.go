package neuroquantumws

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/neuroquantumdb/neuroquantum-ws/api"
)

// prefixOf is what stands before the * in the one pattern of a path matcher; empty where that does not say it.
func prefixOf(matcher json.RawMessage) string {
	var patterns []string
	if json.Unmarshal(matcher, &patterns) != nil || len(patterns) != 1 {
		return ""
	}
	prefix, ok := strings.CutSuffix(patterns[0], "*")
	if !ok || strings.ContainsAny(prefix, "*{%") {
		return ""
	}
	return strings.TrimSuffix(prefix, "/")
}

// parsePrefix gives the segments of a path, none for an empty one.
func parsePrefix(path string) ([]string, error) {
	path = strings.TrimSuffix(path, "/")
	if path == "" {
		return nil, nil
	}
	segments, ok := api.Segments(path)
	switch {
	case !ok:
		return nil, errors.New("it is wrongly encoded")
	case path[0] != '/' || strings.ContainsAny(path, "*{"):
		return nil, errors.New("use a path, such as /rt")
	}
	return segments, nil
}

// cutPrefix gives the segments behind those of a prefix. Caddy's path matcher knows no case, and neither does this.
func cutPrefix(segments, prefix []string) (rest []string, ok bool) {
	if len(segments) < len(prefix) {
		return nil, false
	}
	for i, segment := range prefix {
		if !strings.EqualFold(segment, segments[i]) {
			return nil, false
		}
	}
	return segments[len(prefix):], true
}
