package neuroquantumws_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// frameOf is a client's frame with any head and any way to write its length: 0 is the shortest.
func frameOf(head byte, payload string, lengthBytes int) []byte {
	if lengthBytes == 0 {
		return wstest.Frame(head, payload)
	}
	buf := []byte{head}
	if lengthBytes == 2 {
		buf = binary.BigEndian.AppendUint16(append(buf, 0x80|126), uint16(len(payload)))
	} else {
		buf = binary.BigEndian.AppendUint64(append(buf, 0x80|127), uint64(len(payload)))
	}
	return append(append(buf, 0, 0, 0, 0), payload...)
}

// fragments cuts a text message into frames behind every n bytes.
func fragments(text string, n int) (frames [][]byte) {
	op := byte(wstest.OpText)
	for len(text) > n {
		frames = append(frames, wstest.Frame(op, text[:n]))
		op, text = wstest.OpContinuation, text[n:]
	}
	return append(frames, wstest.Frame(wstest.Fin|op, text))
}

// Sections 5.2 and 5.5: what no frame may be. The connection is closed with 1002 and nobody else notices.
func TestFramesAgainstTheRFC(t *testing.T) {
	s := serve(t, "")
	witness := s.dial()
	cases := map[string][]byte{
		"a length in 2 bytes that fits 7 bits":   frameOf(wstest.Fin|wstest.OpText, `{"type":"ping"}`, 2),
		"a length in 8 bytes that fits 7 bits":   frameOf(wstest.Fin|wstest.OpText, `{"type":"ping"}`, 8),
		"a length in 8 bytes that fits 2":        frameOf(wstest.Fin|wstest.OpText, `{"type":"ping","x":"`+strings.Repeat("x", 200)+`"}`, 8),
		"a control frame of 126 bytes":           frameOf(wstest.Fin|wstest.OpPing, strings.Repeat("x", 126), 0),
		"a pong of 126 bytes":                    frameOf(wstest.Fin|wstest.OpPong, strings.Repeat("x", 126), 0),
		"a close of 126 bytes":                   frameOf(wstest.Fin|wstest.OpClose, "\x03\xe8"+strings.Repeat("x", 124), 0),
		"a fragmented pong":                      wstest.Frame(wstest.OpPong, "x"),
		"a fragmented close":                     wstest.Frame(wstest.OpClose, "\x03\xe8"),
		"a continuation of a message that ended": append(wstest.Frame(wstest.Fin|wstest.OpText, `{"type":"pong"}`), wstest.Frame(wstest.Fin|wstest.OpContinuation, "x")...),
		"binary amid text":                       append(wstest.Frame(wstest.OpText, "x"), wstest.Frame(wstest.Fin|wstest.OpBinary, "x")...),
	}
	for _, bit := range []byte{0x40, 0x20, 0x10} {
		cases[fmt.Sprintf("reserved bit %x", bit)] = wstest.Frame(wstest.Fin|bit|wstest.OpText, `{"type":"ping"}`)
		cases[fmt.Sprintf("reserved bit %x on a ping", bit)] = wstest.Frame(wstest.Fin|bit|wstest.OpPing, "")
		cases[fmt.Sprintf("reserved bit %x on a continuation", bit)] = append(wstest.Frame(wstest.OpText, `{"type":`), wstest.Frame(wstest.Fin|bit|wstest.OpContinuation, `"ping"}`)...)
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		cases[fmt.Sprintf("opcode %x", op)] = wstest.Frame(wstest.Fin|op, "x")
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		cases[fmt.Sprint("close code ", code)] = wstest.Frame(wstest.Fin|wstest.OpClose, string(binary.BigEndian.AppendUint16(nil, code)))
	}
	for name, bytes := range cases {
		t.Run(name, func(t *testing.T) {
			raw := s.in(t).raw()
			raw.Bytes(bytes)
			if code := raw.CloseCode(); code != 1002 {
				t.Errorf("closed with %d", code)
			}
			raw.Close()
			witness.Ping()
		})
	}
	// Lengths that no message can have: closed at once, not when so much has come.
	for name, head := range map[string][]byte{
		"2^63":     {wstest.Fin | wstest.OpText, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"2^64-1":   {wstest.Fin | wstest.OpText, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"unmasked": {wstest.Fin | wstest.OpText, 5, 'h', 'e', 'l', 'l', 'o'},
	} {
		raw := s.raw()
		raw.Bytes(head)
		if code := raw.CloseCode(); code != 1002 {
			t.Errorf("%s: closed with %d", name, code)
		}
	}
	raw := s.raw()
	raw.Bytes([]byte{wstest.Fin | wstest.OpText, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	if code := raw.CloseCode(); code != 1009 {
		t.Errorf("2^63-1: closed with %d", code)
	}
}

// Section 7.4: closes that are good are answered with their own code.
func TestGoodCloses(t *testing.T) {
	s := serve(t, "")
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		raw := s.raw()
		raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+"grüß dich"))
		if got := raw.CloseCode(); got != code {
			t.Errorf("%d is answered with %d", code, got)
		}
		raw.Gone()
	}
	raw := s.raw()
	raw.Bytes(wstest.Frame(wstest.OpText, `{"type":`)) // amid a message
	raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpClose, "\x03\xe8"))
	if got := raw.CloseCode(); got != 1000 {
		t.Errorf("closed with %d", got)
	}
	raw.Gone()
}

// Section 8.1: text is UTF-8 as a whole message; frames may cut it anywhere.
func TestUTF8OverFragments(t *testing.T) {
	s := serve(t, "")
	const word = "aé€😀" // 1, 2, 3 and 4 bytes
	message := `{"type":"publish","channel":"u","data":"` + word + word + `","id":1}`
	for n := 1; n <= 12; n++ {
		raw := s.raw()
		for i, frame := range fragments(message, n) {
			raw.Bytes(frame)
			if i%40 == 3 {
				raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpPing, fmt.Sprint(i)))
			}
		}
		if m := raw.Next(); m.Type() != "published" {
			t.Errorf("cut behind every %d bytes: %v", n, m)
		}
		raw.Close()
	}
	for name, bad := range map[string]string{
		"cut short": "\xf0\x9f\x98", "a lone continuation": "\x80", "overlong": "\xf0\x80\x80\x80", "a surrogate": "\xed\xb0\x80",
		"beyond Unicode": "\xf4\x90\x80\x80", "five bytes": "\xf8\x88\x80\x80\x80", "0xff": "\xff",
	} {
		for n := 1; n <= 5; n++ {
			raw := s.raw()
			for _, frame := range fragments(`{"type":"message","data":"`+bad+`"}`, n) {
				raw.Bytes(frame)
			}
			if code := raw.CloseCode(); code != 1007 {
				t.Errorf("%s, cut behind every %d bytes: closed with %d", name, n, code)
			}
			raw.Close()
		}
	}
}

// Section 5.4: control frames may stand between the fragments of a message, and fragments may be empty.
func TestControlFramesAmidFragments(t *testing.T) {
	s := serve(t, "")
	raw := s.raw()
	for range 2 {
		raw.Bytes(wstest.Frame(wstest.OpText, ""))
		for _, part := range []string{`{"ty`, "", `pe":"pi`, `ng"`} {
			payload := strings.Repeat("p", 125)
			raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpPing, payload))
			if op, got, err := raw.ReadFrame(); op != wstest.OpPong || string(got) != payload || err != nil {
				t.Fatalf("got %x %q %v", op, got, err)
			}
			raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpPong, "unasked"))
			raw.Bytes(wstest.Frame(wstest.OpContinuation, part))
		}
		raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpContinuation, "}"))
		if m := raw.Next(); m.Type() != "pong" {
			t.Errorf("got %v", m)
		}
	}
}

// Compression is asked for and not given: there is nothing to inflate, and frames that say they are compressed are wrong.
func TestNoCompression(t *testing.T) {
	s := serve(t, "")
	raw := wstest.DialRaw(t, s.address, wstest.Handshake(s.address, "/ws", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 0)
	if extensions := raw.Response.Header.Get("Sec-WebSocket-Extensions"); raw.Response.StatusCode != http.StatusSwitchingProtocols || extensions != "" {
		t.Fatalf("%s with the extensions %q", raw.Response.Status, extensions)
	}
	raw.Bytes(wstest.Frame(wstest.Fin|0x40|wstest.OpText, strings.Repeat("\x00", 100)))
	if code := raw.CloseCode(); code != 1002 {
		t.Errorf("closed with %d", code)
	}
}
