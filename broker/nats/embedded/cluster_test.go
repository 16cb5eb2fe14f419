package embedded

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// TestCluster: three servers that listen for nobody but each other keep a stream together.
func TestCluster(t *testing.T) {
	var listen, routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listen = append(listen, l.Addr().String())
		routes = append(routes, "nats://"+l.Addr().String())
		defer l.Close()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait.Limit)
	defer cancel()
	var streams []jetstream.JetStream
	for i := range 3 {
		m := &Module{StoreDir: t.TempDir(), Name: fmt.Sprint("n", i), Cluster: &Cluster{Name: "c", Listen: listen[i]}, Routes: routes}
		lease, err := m.Take(zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := natsgo.Connect("", lease.Connect)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			conn.Close()
			if err := lease.Release(); err != nil {
				t.Error(err)
			}
		}()
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, js)
	}
	create := func() error { // as long as there is no leader nobody answers
		try, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := streams[0].CreateOrUpdateStream(try, jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}, Replicas: 3})
		return err
	}
	for err := create(); err != nil; err = create() {
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if _, err := streams[1].Publish(ctx, "s", []byte("x")); err != nil {
		t.Fatal(err)
	}
	stream, err := streams[2].Stream(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := stream.Info(ctx); err != nil || info.State.Msgs != 1 || len(info.Cluster.Replicas) != 2 {
		t.Errorf("got %+v, %v", info, err)
	}
}
