package hub

import "encoding/binary"

// WebSocket framing (RFC 6455, section 5.2) of what the server sends: whole messages in one frame, never masked.

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA

	finBit    = 0x80
	maxHeader = 10 // of an unmasked frame
)

// putHeader writes the header of a text frame into buf, whose first maxHeader bytes are room for it and whose rest is the
// payload. It gives where in buf the frame begins.
func putHeader(buf []byte) (start int) {
	n := len(buf) - maxHeader
	switch {
	case n < 126:
		start = maxHeader - 2
		buf[start+1] = byte(n)
	case n < 1<<16:
		start = maxHeader - 4
		buf[start+1] = 126
		binary.BigEndian.PutUint16(buf[start+2:], uint16(n))
	default:
		start = 0
		buf[1] = 127
		binary.BigEndian.PutUint64(buf[2:], uint64(n))
	}
	buf[start] = finBit | opText
	return start
}

// payload is the message in a text frame of ours.
func payload(frame []byte) []byte {
	switch frame[1] {
	case 126:
		return frame[4:]
	case 127:
		return frame[10:]
	}
	return frame[2:]
}

// frame makes a text frame of a message.
func frame(msg []byte) []byte {
	buf := make([]byte, maxHeader+len(msg))
	copy(buf[maxHeader:], msg)
	return buf[putHeader(buf):]
}

// control makes a control frame. payload has at most 125 bytes.
func control(op byte, payload []byte) []byte {
	buf := make([]byte, 2, 2+len(payload))
	buf[0], buf[1] = finBit|op, byte(len(payload))
	return append(buf, payload...)
}

// maxReason is the longest reason that a close frame can hold.
const maxReason = 123

// closing makes a close frame.
func closing(code uint16, reason string) []byte {
	payload := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(reason)), code)
	return control(opClose, append(payload, reason[:min(len(reason), maxReason)]...))
}
