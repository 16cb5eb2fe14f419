package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// The opcodes of frames (RFC 6455, section 5.2).
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA

	fin       = 0x80
	masked    = 0x80
	maxBuffer = 2 << 20 // a batch has 1 MiB and a row at most
)

// mask is every client frame's key. What it is does not matter to a server, which has to apply it all the same.
var mask = [4]byte{0x5a, 0xc3, 0x1e, 0x97}

// appendFrame appends a frame that holds a whole message. A client's are masked.
func appendFrame(dst []byte, op byte, payload []byte, fromClient bool) []byte {
	var flag byte
	if fromClient {
		flag = masked
	}
	dst = append(dst, fin|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, flag|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, flag|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, flag|127), uint64(n))
	}
	if !fromClient {
		return append(dst, payload...)
	}
	dst = append(dst, mask[:]...)
	from := len(dst)
	dst = append(dst, payload...)
	unmask(dst[from:], mask)
	return dst
}

func unmask(b []byte, key [4]byte) {
	for i := range b {
		b[i] ^= key[i&3]
	}
}

// framer takes frames from a connection through a buffer that grows only where a frame needs it.
type framer struct {
	conn net.Conn
	buf  []byte
	r, w int // what is read and not yet taken
}

// next takes a frame. Its payload is valid until the next call.
func (f *framer) next() (op byte, payload []byte, err error) {
	for {
		head, size, key := f.header()
		if head > 0 && f.w-f.r >= head+size {
			payload = f.buf[f.r+head : f.r+head+size]
			op = f.buf[f.r]
			if key != nil {
				unmask(payload, [4]byte(key))
			}
			f.r += head + size
			if op&0xf0 != fin {
				return 0, nil, fmt.Errorf("a frame begins with %#x", op)
			}
			return op & 0x0f, payload, nil
		}
		if size < 0 || size > maxBuffer {
			return 0, nil, fmt.Errorf("a frame of %d bytes", size)
		}
		if err := f.fill(head + size); err != nil {
			return 0, nil, err
		}
	}
}

// header reads the header of the frame at f.r: its length, 0 if it is not all there, the payload's length and the mask.
func (f *framer) header() (head, size int, key []byte) {
	b := f.buf[f.r:f.w]
	if len(b) < 2 {
		return 0, 0, nil
	}
	head, size = 2, int(b[1]&0x7f)
	switch size {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	if b[1]&masked != 0 {
		head += 4
	}
	if len(b) < head {
		return 0, 0, nil
	}
	switch size {
	case 126:
		size = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		size = int(binary.BigEndian.Uint64(b[2:]))
	}
	if b[1]&masked != 0 {
		key = b[head-4 : head]
	}
	return head, size, key
}

// fill reads more, with room for a frame of need bytes.
func (f *framer) fill(need int) error {
	if f.r == f.w {
		f.r, f.w = 0, 0
	}
	if f.r > 0 && (f.w == len(f.buf) || need > len(f.buf)-f.r) {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if need = max(need, f.w+1); need > len(f.buf) {
		f.buf = append(f.buf, make([]byte, need-len(f.buf))...)
	}
	n, err := f.conn.Read(f.buf[f.w:])
	f.w += n
	if n > 0 {
		return nil
	}
	return err
}

var errHeadTooLong = errors.New("the head of an HTTP message is too long")

// head takes the head of an HTTP message: all up to an empty line.
func (f *framer) head() ([]byte, error) {
	for {
		if end := bytes.Index(f.buf[f.r:f.w], []byte("\r\n\r\n")); end >= 0 {
			head := f.buf[f.r : f.r+end+2]
			f.r += end + 4
			return head, nil
		}
		if f.w-f.r > 8<<10 {
			return nil, errHeadTooLong
		}
		if err := f.fill(f.w - f.r + 256); err != nil {
			return nil, err
		}
	}
}
