package session

import "github.com/google/uuid"

// newReference is a short random name by which a client's report and a log line find each other.
func newReference() string { return uuid.NewString()[:8] }
