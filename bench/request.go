package main

import (
	"encoding/json"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// request is what the servers to compare with understand of the protocol.
type request struct {
	Type    string          `json:"type"`
	Channel string          `json:"channel"`
	Data    json.RawMessage `json:"data"`
	Query   string          `json:"query"`
	Credits *int            `json:"credits"`
	Params  struct {
		N int64 `json:"n"`
	} `json:"params"`
}

// The messages of the servers to compare with are the project's own, so that all send as many bytes.

func subscribed(channel string) []byte {
	return protocol.AppendSubscribed(nil, protocol.Subscribed{Channel: channel, Now: time.Now()})
}

func unsubscribed(channel string) []byte {
	return protocol.AppendUnsubscribed(nil, channel, time.Now(), "")
}

func channelMessage(channel string, data []byte) []byte {
	msg, _, _ := protocol.AppendChannelMessage(nil, channel, data, time.Now(), 0)
	return msg
}
