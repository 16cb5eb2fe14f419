//go:build !race

package sqlite

// underRace reports whether the race detector slows everything down.
const underRace = false
