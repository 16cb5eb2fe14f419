// Package client is a client of neuroquantum_ws: channels with history and presence, query streams and live queries over one WebSocket that
// comes back by itself.
//
//	c, err := client.Dial(ctx, "wss://api.example.com/ws", client.Options{Token: token})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//
//	sub, err := c.Subscribe(ctx, []string{"orders/**"}, nil)
//	if err != nil {
//		return err
//	}
//	for event, err := range sub.Events(ctx) {
//		if err != nil {
//			return err
//		}
//		switch e := event.(type) {
//		case *client.Message:
//			fmt.Printf("%s %s\n", e.Channel, e.Data)
//		case *client.Gap, *client.Resumed:
//			fmt.Printf("%+v\n", e) // whether something is missing
//		}
//	}
//
// A Client is safe for concurrent use, and one is enough for a program. What is asked while it is not connected waits until it is, or until
// the call's context ends.
//
// # When the connection is lost
//
// The Client connects again, after a random wait that grows (Options.MinBackoff), or when the server has said. Where the server refuses it
// for good, as with HTTP 403 or close code 1008, the Client ends, and everything with it: see FatalError. Options.OnState tells of all of that.
//
//   - Subscriptions go on behind the last message that came. Nothing comes twice, and each channel's order is kept. Each tells *Resumed at
//     its place, and whether something is missing; more is said by *Gap. Channels without history lose what was published meanwhile.
//   - Publish sends again what was not answered. With the key that each has it is delivered once.
//   - Queries go on behind the last batch that came, for a minute. Live queries go on behind their last revision, or compare a fresh result
//     with their copy: either way Live.Changes gives just what differs.
//   - History, Presence and Ping ask again.
//
// # Who is slow
//
// The Client always reads on, so that one slow part of a program does not hold up another, or have the server close the connection. What
// waits is bounded:
//
//   - A Subscription holds SubscribeOptions.Buffer events. Beyond them the oldest go, and a *Gap with ReasonClient says so at their place.
//   - A query holds QueryOptions.Window batches: the server sends no more until one is done with, and the database waits. A program that
//     takes nothing for the site's stall_timeout (30 s) loses the query (STREAM_ERROR).
//   - A Live holds its copy and, of each row that changed, the key: Changes gives the newest only.
//
// # Errors
//
// What the server refuses is an *Error with a Code of package protocol:
//
//	var refusal *client.Error
//	if errors.As(err, &refusal) && refusal.Code == protocol.RateLimited {
//		wait(refusal.RetryAfter)
//	}
//
// The messages behind all this are in docs/protocol.md.
package client
