// Package flow is back-pressure: the bounded queue of messages that wait for one client and what it drops when it is full, the
// bounded lane of a client's query streams, credit, the throttle curve, and the verdict on a client that keeps losing messages.
//
// It knows nothing of WebSockets, channels' rules or databases and imports nothing of this module. Nothing in it is safe for
// concurrent use unless it says so: a connection holds it under its own lock.
package flow
