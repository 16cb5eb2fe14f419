package api

import (
	"encoding/json"
	"errors"
	"strings"
)

// PrefixOf is what stands before the * in the one pattern of a path matcher; empty where that does not say it.
func PrefixOf(matcher json.RawMessage) string {
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

// ParsePrefix gives the segments of a path, none for an empty one.
func ParsePrefix(path string) ([]string, error) {
	path = strings.TrimSuffix(path, "/")
	if path == "" {
		return nil, nil
	}
	segments, ok := Segments(path)
	switch {
	case !ok:
		return nil, errors.New("it is wrongly encoded")
	case path[0] != '/' || strings.ContainsAny(path, "*{"):
		return nil, errors.New("use a path, such as /rt")
	}
	return segments, nil
}

// CutPrefix gives the segments behind those of a prefix. Caddy's path matcher knows no case, and neither does this.
func CutPrefix(segments, prefix []string) (rest []string, ok bool) {
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
