// Package jsonplace tells where in a JSON text a placeholder stands, so that its value can be encoded for that place.
package jsonplace

// EndsInString tells whether JSON that is cut off ends within a string.
func EndsInString(text string) bool {
	within, escaped := false, false
	for i := range len(text) {
		switch {
		case escaped:
			escaped = false
		case within && text[i] == '\\':
			escaped = true
		case text[i] == '"':
			within = !within
		}
	}
	return within
}
