package protocol

// ID is a request's `id`: the JSON text of a string of 1 to 64 characters or of an integer from 0 to 2^53, exactly as the client
// sent it, so that the answer bears the same. Empty means that the request had none.
type ID string

// MarshalJSON gives the text as it came. It must not be called on an empty ID: fields of this type are `omitempty`.
func (id ID) MarshalJSON() ([]byte, error) { return []byte(id), nil }
