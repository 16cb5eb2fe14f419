package main

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// startAPI stands in for a database's HTTP API: it has n rows ready as bytes, so that it costs next to nothing.
func startAPI(address string, n int64) (stop func() error, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	mux := new(http.ServeMux)
	for path, body := range map[string][]byte{"GET /ndjson": ndjsonBody(n), "POST /neuroquantum": envelopeBody(n)} {
		length := strconv.Itoa(len(body))
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", length)
			_, _ = w.Write(body)
		})
	}
	server := &http.Server{Handler: mux}
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { failed = server.Serve(listener) })
	return func() error {
		err := server.Close()
		wg.Wait()
		if !errors.Is(failed, http.ErrServerClosed) {
			err = errors.Join(err, failed)
		}
		return err
	}, nil
}
