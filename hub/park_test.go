package hub

import (
	"testing"

	"pgregory.net/rapid"
)

// TestFramesAreFollowed: however the bytes are cut into reads, a frame's end is known for what it is, and nothing else is.
func TestFramesAreFollowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []byte
		ends := map[int]bool{0: true}
		for range rapid.IntRange(1, 6).Draw(t, "frames") {
			size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(65_500, 65_600)).Draw(t, "size")
			masked := byte(0x80)
			if rapid.Bool().Draw(t, "unmasked") {
				masked = 0 // an error, but one that the library answers
			}
			switch {
			case size < 126:
				all = append(all, 0x81, masked|byte(size))
			case size < 1<<16:
				all = append(all, 0x81, masked|126, byte(size>>8), byte(size))
			default:
				all = append(all, 0x81, masked|127, 0, 0, 0, 0, 0, byte(size>>16), byte(size>>8), byte(size))
			}
			if masked != 0 {
				all = append(all, 1, 2, 3, 4)
			}
			for i := range size {
				all = append(all, byte(i))
			}
			ends[len(all)] = true
		}
		var f frames
		for at := 0; at < len(all); {
			if f.between() != ends[at] {
				t.Fatalf("behind byte %d: between frames is %v", at, f.between())
			}
			n := min(len(all)-at, rapid.OneOf(rapid.IntRange(1, 4), rapid.IntRange(1, 70_000)).Draw(t, "read"))
			f.feed(all[at : at+n])
			at += n
		}
		if !f.between() {
			t.Fatal("the last frame has no end")
		}
	})
}
