package nats

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

func init() { caddy.RegisterModule(new(Module)) }

// Module is the guest module that gives a hub a broker over NATS JetStream, so that several servers share it. Its options count when the
// hub begins, not at a reload.
type Module struct {
	// Addresses of NATS servers, such as nats://a:4222; any of a cluster will do. Either servers or embedded must be there.
	Servers []string `json:"servers,omitempty"`
	// A NATS server within this process, to connect to in place of servers.
	EmbeddedRaw json.RawMessage `json:"embedded,omitempty"`
	// What the hub is called in NATS: hubs of the same name and prefix share their channels. Default: the hub's name.
	Name string `json:"name,omitempty"`
	// Begins the names of the hub's stream and subjects. Default: nq.
	Prefix string `json:"prefix,omitempty"`
	// How many servers of the NATS cluster keep each message: 1, 3 or 5. Default: 1.
	Replicas int `json:"replicas,omitempty"`
	// Where the servers keep messages: file or memory. It cannot be changed later. Default: file.
	Storage string `json:"storage,omitempty"`
	// Bytes that the stream keeps in all, on each of its servers; the oldest goes. Default: the hub's max_history.
	MaxBytes int64 `json:"max_bytes,omitempty"`
	// What a node takes: static, every message of the hub, or dynamic, those that its clients are subscribed to. Default: static.
	Interest string `json:"interest,omitempty"`
	// The longest that a publication is tried again while the stream does not answer. Default: 5s.
	PublishTimeout caddy.Duration `json:"publish_timeout,omitempty"`
	// The longest that reading history may take. Default: 5s.
	ReadTimeout caddy.Duration `json:"read_timeout,omitempty"`
	// What a client is told that asks for history while it cannot be read: fail, an error, or live_only, that it is subscribed and
	// nothing was recovered. Default: fail.
	HistoryUnavailable string `json:"history_unavailable,omitempty"`
	// JetStream's domain. Default: that of the account.
	Domain string `json:"domain,omitempty"`
	// File with the credentials of a NATS user (a JWT and its key).
	Credentials string `json:"credentials,omitempty"`
	// File with the seed of an nkey.
	NKey string `json:"nkey,omitempty"`
	// A token; it may be a placeholder such as {env.NATS_TOKEN}.
	Token string `json:"token,omitempty"`
	// User and password; they may be placeholders.
	User *User `json:"user,omitempty"`
	// TLS to the servers. Default: where the address begins with tls://, with the system's authorities.
	TLS *TLS `json:"tls,omitempty"`

	embedded Embedded
	connect  []nats.Option
}

// User is a user of NATS by name.
type User struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// TLS is how connections to NATS are secured.
type TLS struct {
	// File with the authorities (PEM) whose certificates servers must have. Default: the system's.
	CA string `json:"ca,omitempty"`
	// Files with the certificate (PEM) that this node shows, and its key.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
}

// EmbeddedID is the module of NATS servers within the process.
const EmbeddedID = "http.handlers.neuroquantum_ws.brokers.nats.embedded"

// Embedded is the guest module EmbeddedID.
type Embedded interface {
	// Take gives the server, which it starts where it does not run.
	Take(log *zap.Logger) (Lease, error)
}

// Lease is the use of a server within the process.
type Lease struct {
	Connect nats.Option  // connects a client to it
	Release func() error // ends the use; with the last the server stops
}

// Provision implements caddy.Provisioner. It reads the files that are named, and connects to nothing.
func (m *Module) Provision(ctx caddy.Context) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("broker nats: %w", err)
	}
	var err error
	if m.connect, err = m.connectOptions(); err != nil {
		return fmt.Errorf("broker nats: %w", err)
	}
	if m.EmbeddedRaw == nil {
		return nil
	}
	module, err := ctx.LoadModuleByID(EmbeddedID, m.EmbeddedRaw)
	if err != nil {
		return fmt.Errorf("broker nats: loading the server: %w", err)
	}
	var ok bool
	if m.embedded, ok = module.(Embedded); !ok {
		return fmt.Errorf("broker nats: the module %T is no server", module)
	}
	return nil
}

// The values of options that are words.
const (
	storageFile, storageMemory      = "file", "memory"
	interestStatic, interestDynamic = "static", "dynamic"
	historyFail, historyLiveOnly    = "fail", "live_only"
)

// check finds what cannot be meant.
func (m *Module) check() error {
	logins := 0
	for _, given := range []bool{m.Credentials != "", m.NKey != "", m.Token != "", m.User != nil} {
		if given {
			logins++
		}
	}
	switch {
	case (m.EmbeddedRaw != nil) == (len(m.Servers) > 0):
		return errors.New("it needs either servers or embedded")
	case logins > 1:
		return errors.New("only one of credentials, nkey, token and user can be used")
	case m.Replicas < 0 || m.Replicas > 5 || m.Replicas > 0 && m.Replicas%2 == 0:
		return errors.New("replicas must be 1, 3 or 5")
	case !oneOf(m.Storage, storageFile, storageMemory):
		return errors.New("storage must be file or memory")
	case !oneOf(m.Interest, interestStatic, interestDynamic):
		return errors.New("interest must be static or dynamic")
	case !oneOf(m.HistoryUnavailable, historyFail, historyLiveOnly):
		return errors.New("history_unavailable must be fail or live_only")
	case m.MaxBytes < 0 || m.PublishTimeout < 0 || m.ReadTimeout < 0:
		return errors.New("sizes and times must not be negative")
	case m.Prefix != "" && string(appendToken(nil, m.Prefix)) != m.Prefix:
		return errors.New("prefix may have letters, digits, - and _")
	case m.TLS != nil && (m.TLS.Certificate == "") != (m.TLS.Key == ""):
		return errors.New("tls: a certificate and its key go together")
	}
	return nil
}

func oneOf(value string, allowed ...string) bool {
	return value == "" || slices.Contains(allowed, value)
}

// connectOptions are how the client shows who it is.
func (m *Module) connectOptions() (options []nats.Option, err error) {
	replacer := caddy.NewReplacer()
	secret := func(text string) (value string) {
		if err == nil {
			value, err = replacer.ReplaceOrErr(text, true, true)
		}
		return value
	}
	switch {
	case m.Credentials != "":
		options = append(options, nats.UserCredentials(m.Credentials))
	case m.NKey != "":
		nkey, err := nats.NkeyOptionFromSeed(m.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %w", err)
		}
		options = append(options, nkey)
	case m.Token != "":
		options = append(options, nats.Token(secret(m.Token)))
	case m.User != nil:
		options = append(options, nats.UserInfo(secret(m.User.Name), secret(m.User.Password)))
	}
	if err != nil {
		return nil, err
	}
	if t := m.TLS; t != nil {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if t.CA != "" {
			text, err := os.ReadFile(t.CA)
			if err != nil {
				return nil, fmt.Errorf("tls: %w", err)
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("tls: %s holds no certificate", t.CA)
			}
		}
		if t.Certificate != "" {
			pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
			if err != nil {
				return nil, fmt.Errorf("tls: %w", err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		options = append(options, nats.Secure(config))
	}
	return options, nil
}

// CaddyModule implements caddy.Module.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.neuroquantum_ws.brokers.nats", New: func() caddy.Module { return new(Module) }}
}

// NewBroker implements the handler's BrokerModule.
func (m *Module) NewBroker(hubName string, maxHistory int64) (hub.Broker, error) {
	options := Options{
		Hub: hubName, URL: strings.Join(m.Servers, ","), Connect: m.connect, Domain: m.Domain, Prefix: m.Prefix, Replicas: m.Replicas,
		Memory: m.Storage == storageMemory, MaxBytes: maxHistory, PublishTimeout: time.Duration(m.PublishTimeout),
		ReadTimeout: time.Duration(m.ReadTimeout), LiveOnly: m.HistoryUnavailable == historyLiveOnly,
		Dynamic: m.Interest == interestDynamic,
	}
	if m.Name != "" {
		options.Hub = m.Name
	}
	if m.MaxBytes > 0 {
		options.MaxBytes = m.MaxBytes
	}
	if m.embedded != nil {
		options.Server = m.embedded.Take
	}
	return New(options), nil
}

// Interface guards.
var (
	_ caddy.Provisioner = (*Module)(nil)
)
