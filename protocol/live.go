package protocol

// AppendQueryReady appends `query_ready`: a live query's result is all there, as it is at the revision.
func AppendQueryReady(dst []byte, streamID string, revision int64) []byte {
	dst = appendText(begin(dst, "query_ready"), "stream_id", streamID)
	return append(appendInt(dst, "revision", revision), '}')
}

// AppendQueryReset appends `query_reset`: what the client has of a live query's result is void, and a fresh one follows.
func AppendQueryReset(dst []byte, streamID string) []byte {
	return append(appendText(begin(dst, "query_reset"), "stream_id", streamID), '}')
}

// The operations of a `query_change`, and of a feed, which also tells that all rows of a table went.
const (
	OpInsert   = "insert"
	OpUpdate   = "update"
	OpDelete   = "delete"
	OpTruncate = "truncate"
)

// AppendQueryChange appends `query_change`. key and row are JSON; row is nil where op is OpDelete. streamID must need no quoting, as a
// UUID does not.
func AppendQueryChange(dst []byte, streamID string, revision int64, op string, key, row []byte) []byte {
	dst = append(dst, `{"type":"query_change","stream_id":"`...)
	dst = append(dst, streamID...)
	dst = append(dst, '"')
	dst = appendInt(dst, "revision", revision)
	dst = append(dst, `,"op":"`...)
	dst = append(dst, op...)
	dst = append(dst, `","key":`...)
	dst = append(dst, key...)
	if row != nil {
		dst = append(dst, `,"row":`...)
		dst = append(dst, row...)
	}
	return append(dst, '}')
}
