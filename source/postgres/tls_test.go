package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/pgtest"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// selfSigned is a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}

// Over TLS all is as without, cancel included, which takes a connection of its own; and a server that is not the one that is meant
// gets no query.
func TestTLS(t *testing.T) {
	certificate, key := selfSigned(t)
	secure, port, err := pgtest.StartTLS(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(secure.Stop)
	write := func(name string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	known := write("root.crt", certificate)
	other, _ := selfSigned(t)
	stranger := write("other.crt", other)
	dsn := func(host, rest string) string {
		return fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres %s", host, port, rest)
	}
	for _, good := range []string{dsn("127.0.0.1", "sslmode=require"), dsn("127.0.0.1", "sslmode=verify-full sslrootcert="+known)} {
		s := provision(t, &Source{DSN: good, MaxConnections: 1})
		st := mustPrepare(t, s, "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
		if got := drain(t, mustQuery(t, st, stream.Run{})); len(got) != 1 || got[0] != "true" {
			t.Errorf("%s: got %v", good, got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r, err := mustPrepare(t, s, endless).Query(ctx, stream.Run{})
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if !r.Next() {
				t.Fatal(r.Err())
			}
		}
		cancel()
		if _, err := read(r); err == nil {
			t.Error("it ends by itself")
		}
		// The only connection goes on.
		if got := drain(t, mustQuery(t, st, stream.Run{})); len(got) != 1 || got[0] != "true" {
			t.Errorf("%s: got %v", good, got)
		}
	}
	for _, bad := range []string{
		dsn("127.0.0.1", "sslmode=verify-full sslrootcert="+stranger), dsn("localhost", "sslmode=verify-full sslrootcert="+known),
		dsn("127.0.0.1", "sslmode=verify-ca sslrootcert="+stranger),
	} {
		s := provision(t, &Source{DSN: bad})
		if _, err := mustPrepare(t, s, "select 1").Query(t.Context(), stream.Run{}); err == nil {
			t.Errorf("%s: it is trusted", bad)
		}
	}
}
