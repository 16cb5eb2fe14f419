package flow

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
)

func TestCredit(t *testing.T) {
	c := NewCredit(2)
	for range 2 {
		if !c.TryTake() {
			t.Error("fewer than two batches")
		}
	}
	if c.TryTake() {
		t.Error("more than two batches")
	}
	c.Add(0)
	c.Add(-5)
	if c.Available() != 0 || NewCredit(-1).Available() != 0 {
		t.Error("credit from nothing")
	}
	for range 3 {
		c.Add(math.MaxInt64)
	}
	if c.Available() != MaxCredit || NewCredit(math.MaxInt64).Available() != MaxCredit {
		t.Errorf("%d batches", c.Available())
	}
}

func TestCreditUnlimited(t *testing.T) {
	var c *Credit
	c.Add(1)
	if !c.Unlimited() || !c.TryTake() || c.Take(context.Background()) != nil || c.Available() != MaxCredit || NewCredit(0).Unlimited() {
		t.Error("a nil Credit is limited")
	}
}

func TestCreditTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCredit(0)
		ctx, cancel := context.WithCancel(context.Background())
		var got sync.WaitGroup
		taken := make(chan struct{}, 10)
		for range 10 {
			got.Go(func() {
				if c.Take(ctx) == nil {
					taken <- struct{}{}
				}
			})
		}
		for i, n := range []int64{1, 3, 2} {
			c.Add(n)
			synctest.Wait()
			if want := []int{1, 4, 6}[i]; len(taken) != want {
				t.Errorf("%d takes, want %d", len(taken), want)
			}
		}
		cancel()
		got.Wait()
		if len(taken) != 6 {
			t.Errorf("%d takes", len(taken))
		}
		if err := c.Take(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		c.Add(1)
		if err := c.Take(ctx); err != nil {
			t.Errorf("credit that is there: %v", err)
		}
	})
}
