package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// channel is what is published to, where a case has no other.
const channel = "bench/broadcast"

// began is where the stamps in messages begin.
var began = time.Now()

const (
	stampName  = `"t":"`
	stampWidth = 16
)

// data is a JSON object of a size, at least 32 bytes, that bears the time at which it is sent.
func data(size int) []byte {
	frame := fmt.Sprintf(`{%s%0*d","p":""}`, stampName, stampWidth, time.Since(began).Nanoseconds())
	fill := strings.Repeat("x", max(0, size-len(frame)))
	return []byte(frame[:len(frame)-2] + fill + frame[len(frame)-2:])
}

// sentAt reads the time at which a message was sent.
func sentAt(msg []byte) (time.Duration, error) {
	_, stamp, found := bytes.Cut(msg, []byte(stampName))
	if !found || len(stamp) < stampWidth {
		return 0, fmt.Errorf("a message without a stamp: %s", msg)
	}
	nanos, err := strconv.ParseInt(string(stamp[:stampWidth]), 10, 64)
	return time.Duration(nanos), err
}

// publishRequest is a request to publish data of a size to a channel.
func publishRequest(channel string, size int) []byte {
	return fmt.Appendf(nil, `{"type":"publish","channel":"%s","data":%s}`, channel, data(size))
}

// publish publishes once.
func (c *client) publish(channel string, size int) error {
	if err := c.send(publishRequest(channel, size)); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

// flood publishes n times back to back.
func (c *client) flood(n, size int) error {
	request := publishRequest(channel, size)
	var frames []byte
	for range n {
		frames = appendFrame(frames, opText, request, true)
	}
	if _, err := c.conn.Write(frames); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

// pace publishes rate times a second, n times in all.
func (c *client) pace(ctx context.Context, n, rate, size int) error {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.publish(channel, size); err != nil {
			return err
		}
	}
	return nil
}
