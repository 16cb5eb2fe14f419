package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	_ "github.com/neuroquantumdb/neuroquantum-ws"
)

// configuration is one site. What would refuse or drop under this load is set so high that it does not; all else is the default, but that
// nothing listens for HTTP/3. With HTTP/1.1 alone Caddy would wrap plain connections, and hide their sockets.
const configuration = `{
	admin off
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	grace_period 1s
	storage file_system %[1]q
	log {
		output stderr
		level ERROR
	}
	servers {
		protocols h1 h2
	}
}
%[2]s://%[3]s {
	bind 127.0.0.1
	%[4]s
	neuroquantum_ws /ws {
		max_connections 100000
		max_connections_per_ip 100000
		max_subscriptions 100000
		rate_limit 1000000000
		queue 100000 64MiB
		max_queued 8GiB
		origins *
		%[5]s
	}
}
`

// startCaddy starts a Caddy with this module, whose block has these options beside those above.
func startCaddy(address, scheme, options string) (stop func() error, err error) {
	home, err := os.MkdirTemp("", "neuroquantum-ws-bench")
	if err != nil {
		return nil, err
	}
	stop = func() error { return stopCaddy(home) }
	if err := loadCaddy(home, address, scheme, options); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

func stopCaddy(home string) error { return errors.Join(caddy.Stop(), os.RemoveAll(home)) }

// loadCaddy has Caddy serve at an address, with more options where there are any. All files of its are in the folder home.
func loadCaddy(home, address, scheme, options string) error {
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		if err := os.Setenv(name, home); err != nil {
			return err
		}
	}
	tls := ""
	if scheme == "https" {
		certificate, key, err := selfSigned(home)
		if err != nil {
			return fmt.Errorf("making a certificate: %w", err)
		}
		tls = fmt.Sprintf("tls %q %q", certificate, key)
	}
	text := fmt.Sprintf(configuration, home, scheme, address, tls, options)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// selfSigned writes a certificate for 127.0.0.1 and its key into files of a folder.
func selfSigned(folder string) (certificate, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "127.0.0.1"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	certificate, key = filepath.Join(folder, "certificate.pem"), filepath.Join(folder, "key.pem")
	return certificate, key, errors.Join(
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
}
