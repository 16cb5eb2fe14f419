// Package natstest starts NATS servers within the process, for tests.
package natstest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/nats-io/nats-server/v2/server"
)

// Server starts one that listens nowhere, with JetStream.
func Server(t testing.TB) *server.Server {
	t.Helper()
	return start(t, &server.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
}

func start(t testing.TB, options *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !options.DontListen && !s.ReadyForConnections(wait.Limit) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

// Cluster starts n servers with JetStream on the loopback interface that form a cluster, and waits until it has a leader.
func Cluster(t testing.TB, n int) []*server.Server {
	t.Helper()
	var routes []string
	ports := make([]int, n)
	for i := range ports {
		ports[i] = freePort(t)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	servers := make([]*server.Server, n)
	for i := range servers {
		servers[i] = start(t, Member(t.TempDir(), i, ports[i], routes))
	}
	deadline := time.Now().Add(wait.Limit)
	for !ready(servers) {
		if time.Now().After(deadline) {
			t.Fatal("the NATS cluster finds no leader")
		}
		time.Sleep(10 * time.Millisecond) // the server offers nothing to wait for
	}
	return servers
}

// Member are the options of a server of a cluster.
func Member(dir string, i, port int, routes []string) *server.Options {
	return &server.Options{
		ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true,
		NoLog: true, Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port, PoolSize: -1},
		Routes: server.RoutesFromStr(strings.Join(routes, ",")),
	}
}

func ready(servers []*server.Server) bool {
	leader := false
	for _, s := range servers {
		leader = leader || s.JetStreamIsLeader()
		if !s.JetStreamIsCurrent() {
			return false
		}
	}
	return leader
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Listening starts a server with JetStream that listens on a free port of the loopback interface.
func Listening(t testing.TB) *server.Server {
	t.Helper()
	return start(t, &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
}
