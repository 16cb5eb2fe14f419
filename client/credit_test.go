package client

import (
	"testing"
	"time"
)

// Grants are sent in bursts, and in the long run at the rate that was set.
func TestCredits(t *testing.T) {
	c := credits{every: creditEvery}
	start := time.Unix(1000, 0)
	sent := 0
	for now := start; now.Before(start.Add(10 * time.Second)); now = now.Add(time.Millisecond) {
		for c.wait(now) == 0 {
			sent++
		}
		if wait := c.wait(now); wait <= 0 || wait > creditEvery {
			t.Fatalf("behind %d it waits for %v", sent, wait)
		}
	}
	if want := int(10*time.Second/creditEvery) + creditBurst; sent < want-1 || sent > want+1 {
		t.Errorf("%d were sent in 10 s, want %d", sent, want)
	}
}
