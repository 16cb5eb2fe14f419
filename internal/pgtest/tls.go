package pgtest

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// StartTLS starts a server that also listens on a port of 127.0.0.1, with TLS under a certificate and its key, both PEM. Its Unix
// socket is that of Start. It must be stopped.
func StartTLS(certificate, key []byte) (s *Server, port int, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	port = listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return nil, 0, err
	}
	uid, gid, err := serverIDs()
	if err != nil {
		return nil, 0, err
	}
	s, err = start(port, nil, func(folder string) ([]string, error) {
		certFile, keyFile := filepath.Join(folder, "server.crt"), filepath.Join(folder, "server.key")
		for path, content := range map[string][]byte{certFile: certificate, keyFile: key} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return nil, err
			}
			if err := os.Chown(path, uid, gid); err != nil {
				return nil, err
			}
		}
		return []string{
			"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(port), "ssl=on", "ssl_cert_file=" + certFile, "ssl_key_file=" + keyFile,
		}, nil
	})
	return s, port, err
}
