// Package protocol is the ground floor: the messages of the neuroquantum.v1 wire protocol, their codec, channel names and
// patterns, error codes and close codes. It imports nothing of this module, so that server and client share it.
//
// docs/protocol.md is the contract; the names here are its names.
package protocol

// Subprotocol is the WebSocket subprotocol that this package speaks: one JSON object per text frame.
const Subprotocol = "neuroquantum.v1"

// SubprotocolNDJSON is the same with several objects in a frame, a line each, in either direction.
const SubprotocolNDJSON = "neuroquantum.v1.ndjson"
