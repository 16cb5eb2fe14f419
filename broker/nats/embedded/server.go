// Package embedded runs a NATS server within Caddy's process, for hubs that bring their own. Importing it is what puts the server into a
// build; it is a guest module of the broker nats.
package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/nats"
)

// startTime is how long a server may take until it accepts connections.
const startTime = 10 * time.Second

// servers are those of this process by their directories. A server outlives a reload, as the hubs that use it do.
var servers = caddy.NewUsagePool()

// running is a server that runs.
type running struct {
	server  *server.Server
	options []byte // as they were when it started

	name, password string // of those within the process
}

// Destruct implements caddy.Destructor: no hub uses the server any more.
func (r *running) Destruct() error {
	r.server.Shutdown()
	r.server.WaitForShutdown()
	return nil
}

// Take implements nats.Embedded.
func (m *Module) Take(log *zap.Logger) (nats.Lease, error) {
	dir, err := filepath.Abs(m.StoreDir)
	if err != nil {
		return nats.Lease{}, fmt.Errorf("store_dir: %w", err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nats.Lease{}, fmt.Errorf("the options of the NATS server: %w", err)
	}
	value, _, err := servers.LoadOrNew(dir, func() (caddy.Destructor, error) {
		options, err := m.options()
		if err != nil {
			return nil, err
		}
		s, err := start(options, log)
		if err != nil {
			return nil, err
		}
		return &running{s, text, options.Username, options.Password}, nil
	})
	if err != nil {
		return nats.Lease{}, err
	}
	release := func() error {
		_, err := servers.Delete(dir)
		return err
	}
	r := value.(*running)
	if !bytes.Equal(r.options, text) {
		return nats.Lease{}, errors.Join(fmt.Errorf("the NATS server of %s runs with other options", dir), release())
	}
	connect := func(o *natsgo.Options) error {
		if r.name != "" {
			o.User, o.Password = r.name, r.password
		}
		return natsgo.InProcessServer(r.server)(o)
	}
	return nats.Lease{Connect: connect, Release: release}, nil
}

// start starts the server and waits until it accepts connections.
func start(options *server.Options, log *zap.Logger) (*server.Server, error) {
	if err := os.MkdirAll(options.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("store_dir: %w", err)
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("making the NATS server: %w", err)
	}
	s.SetLoggerV2(logger{log.Named("nats").WithOptions(zap.AddCallerSkip(1)).Sugar()}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTime) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("the NATS server does not start; its log says why")
	}
	return s, nil
}

// logger passes what the server logs on to Caddy's log.
type logger struct{ log *zap.SugaredLogger }

// Noticef implements server.Logger.
func (l logger) Noticef(format string, v ...any) { l.log.Infof(format, v...) }

// Warnf implements server.Logger.
func (l logger) Warnf(format string, v ...any) { l.log.Warnf(format, v...) }

// Errorf implements server.Logger.
func (l logger) Errorf(format string, v ...any) { l.log.Errorf(format, v...) }

// Fatalf implements server.Logger. The process goes on: whoever started the server sees that it does not accept connections.
func (l logger) Fatalf(format string, v ...any) { l.log.Errorf(format, v...) }

// Debugf implements server.Logger.
func (l logger) Debugf(format string, v ...any) { l.log.Debugf(format, v...) }

// Tracef implements server.Logger.
func (l logger) Tracef(format string, v ...any) { l.log.Debugf(format, v...) }

var _ server.Logger = logger{}
