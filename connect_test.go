package neuroquantumws_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// certificate makes a certificate and gives the names of its file and its key's.
func certificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames: []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	names := filepath.Join(t.TempDir(), "cert.pem") + " " + filepath.Join(t.TempDir(), "key.pem")
	for name, block := range map[string]*pem.Block{
		strings.Fields(names)[0]: {Type: "CERTIFICATE", Bytes: cert}, strings.Fields(names)[1]: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// versions are those of HTTP whose WebSockets are streams, each with a transport for its clients.
var versions = map[string]func(t testing.TB) http.RoundTripper{
	"HTTP2": wstest.HTTP2,
	"HTTP3": func(t testing.TB) http.RoundTripper { return wstest.HTTP3(t, nil) },
}

// overStreams runs a test over each of them, against a site with these directives.
func overStreams(t *testing.T, directives string, test func(t *testing.T, s *site, transport http.RoundTripper)) {
	for name, transport := range versions {
		t.Run(name, func(t *testing.T) {
			s := &site{t: t, tls: true}
			s.start(directives)
			test(t, s, transport(t))
		})
	}
}

// over connects a client through a transport.
func (s *site) over(transport http.RoundTripper) *wstest.Client {
	s.t.Helper()
	return wstest.Dial(s.t, "wss://"+s.address+"/ws", wstest.Options{Transport: transport})
}

func TestWebSocketAsAStream(t *testing.T) {
	overStreams(t, ws(""), func(t *testing.T, s *site, transport http.RoundTripper) {
		c := s.over(transport)
		c.Subscribe("a")
		c.Publish("a", "hello")
	})
}
