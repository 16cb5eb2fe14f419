package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Options say how a Client connects. The zero value is ready to use.
type Options struct {
	// Token is a token that the client shows. Where the server no longer takes it the client ends. Default: none.
	Token string
	// TokenFunc gives the token in place of Token. It is called before the first connection, in good time before the token expires (by
	// the `exp` of a JSON web token, or by what the server says), and after the server has refused one, as often as that happens: with back-off. Its error counts as a failed
	// attempt to connect, and is tried again. It is called by one goroutine at a time; its context ends with the Client. Default: none.
	TokenFunc func(ctx context.Context) (string, error)
	// TokenInSubprotocol shows the token as a subprotocol, as browsers do, in place of the header Authorization: for proxies that do not
	// let the header through. Default: the header.
	TokenInSubprotocol bool

	// Header is sent with every handshake, besides what the handshake needs. Default: none.
	Header http.Header
	// TLS is for wss URLs. Not together with HTTPClient. Default: Go's.
	TLS *tls.Config
	// HTTPClient makes the handshakes; its transport must speak HTTP/1.1. Default: one of the Client's own, which uses the proxies of the
	// environment.
	HTTPClient *http.Client
	// DialTimeout bounds an attempt to connect, up to the server's welcome. Default: 15 s.
	DialTimeout time.Duration

	// MinBackoff and MaxBackoff bound the waits before the client comes back: the n-th in a row, from 0, is a random time up to
	// MinBackoff x 2^n, at most MaxBackoff ("full jitter"). What the server asks for (after_ms, Retry-After) is waited in addition. After a
	// connection that held for longer than such a wait could be, n begins at 0 again. Default: 500 ms and 30 s.
	MinBackoff, MaxBackoff time.Duration
	// Heartbeat is how long the server may be silent before the client sends a ping; after twice that time the connection counts as lost.
	// Default: the server's own interval, as its welcome tells it (30 s unless the site says otherwise).
	Heartbeat time.Duration
	// MaxMessageBytes bounds a message of the server; a larger one ends the Client with ErrTooLarge. Default: 32 MiB, which is more than
	// a server sends.
	MaxMessageBytes int64

	own bool // HTTPClient was made here

	// OnState is called whenever the connection comes, goes or is tried again, one call at a time, by a goroutine that does nothing
	// else meanwhile: it must return soon, and must not call Close. Default: none.
	OnState func(State)
}

// withDefaults checks the options and fills in defaults.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Token != "" && o.TokenFunc != nil:
		return o, errors.New("client: both Token and TokenFunc are set")
	case o.TLS != nil && o.HTTPClient != nil:
		return o, errors.New("client: both TLS and HTTPClient are set")
	case o.DialTimeout < 0 || o.MinBackoff < 0 || o.MaxBackoff < 0 || o.Heartbeat < 0 || o.MaxMessageBytes < 0:
		return o, errors.New("client: an option is negative")
	}
	if err := checkToken(o.Token); err != nil {
		return o, err
	}
	setDefault(&o.DialTimeout, 15*time.Second)
	setDefault(&o.MinBackoff, 500*time.Millisecond)
	setDefault(&o.MaxBackoff, 30*time.Second)
	setDefault(&o.MaxMessageBytes, 32<<20)
	if o.MinBackoff > o.MaxBackoff {
		return o, errors.New("client: MinBackoff is above MaxBackoff")
	}
	if o.own = o.HTTPClient == nil; o.own {
		o.HTTPClient = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLS}}
	}
	return o, nil
}

// closeIdle lets go of what the Client's own transport keeps.
func (c *Client) closeIdle() {
	if c.o.own {
		c.o.HTTPClient.CloseIdleConnections()
	}
}

// setDefault sets what is zero.
func setDefault[T comparable](value *T, to T) {
	var zero T
	if *value == zero {
		*value = to
	}
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return fmt.Errorf("client: the scheme %q is neither ws nor wss", u.Scheme)
	}
	if u.Host == "" {
		return errors.New("client: the URL has no host")
	}
	return nil
}
