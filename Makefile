# make run    build Caddy with neuroquantum_ws and run the demo at http://localhost:8080
# make test   everything that must hold: vet, lint, race tests, the xcaddy build, and the built binary with the demo in a browser
# make console  the console's page is what its sources give (part of make test)
# make fuzz   each fuzz target for a while (FUZZTIME=30s)
# make flaky  the race tests of each package again and again, beside busy processes and not, for tests that fail now and then (FLAKY_MINUTES=60)
# make bench  the server under load, beside a floor and others; takes a while, wants a quiet machine (BENCH='-large -rounds 3')
# make microbench  Go's benchmarks of the parts

CADDY_VERSION := v2.11.9
MODULE        := github.com/neuroquantumdb/neuroquantum-ws
TOOL          := go tool -modfile=tools/go.mod
FUZZTIME      ?= 30s
FLAKY_MINUTES ?= 60

# Pure Go, as xcaddy builds it: all that is not the race detector's is compiled once.
export CGO_ENABLED := 0

.DEFAULT_GOAL := run
.PHONY: run build test vet lint unit console xcaddy smoke clients browser postgres fuzz flaky bench microbench demo clean

build:
	go build -o build/caddy ./cmd/caddy

run: build
	./build/caddy run --config xcaddy.Caddyfile

test: vet lint unit console xcaddy smoke clients

vet:
	go vet ./...

lint:
	$(TOOL) golangci-lint run ./...

unit: postgres
	CGO_ENABLED=1 go test -race -timeout 60m ./...
	go test -run EveryFunction ./source/sqlite # all pairs of values, which take too long under the race detector

# The console's page is committed as `npm run build` makes it of its sources: this fails where it is not.
console:
	cd console && npm ci --no-audit --no-fund && npm run check

# Without -trimpath, so that what `make build` and the lint have compiled is not compiled again.
xcaddy:
	XCADDY_GO_BUILD_FLAGS="-ldflags=-w" $(TOOL) xcaddy build $(CADDY_VERSION) --with $(MODULE)@v0.0.0=. --output build/caddy-xcaddy

smoke: browser
	cd test/smoke && npm ci --no-audit --no-fund && node smoke.mjs ../../build/caddy-xcaddy && node console.mjs ../../build/caddy-xcaddy && node http2.mjs ../../build/caddy-xcaddy

# The TypeScript client, against Caddy, in Node and in a browser, and the examples.
clients: build browser
	cd client/js && npm ci --no-audit --no-fund && npm run check && npm run build && npm run typecheck && npm test && npm run size && \
		npm pack --dry-run

# The demo page and WebSocket over HTTP/2 are tried in Debian's Chromium.
browser:
	command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium; }

# The tests and the benchmarks start a PostgreSQL of their own.
postgres:
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || \
		{ apt-get update && apt-get install -y --no-install-recommends postgresql; }

fuzz:
	go test -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime $(FUZZTIME) ./protocol
	go test -run '^$$' -fuzz '^FuzzDecodePublications$$' -fuzztime $(FUZZTIME) ./protocol
	go test -run '^$$' -fuzz '^FuzzMatch$$' -fuzztime $(FUZZTIME) ./protocol
	go test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime $(FUZZTIME) ./internal/dml
	go test -run '^$$' -fuzz '^FuzzSelect$$' -fuzztime $(FUZZTIME) ./internal/dml
	go test -run '^$$' -fuzz '^FuzzFrame$$' -fuzztime $(FUZZTIME) ./client
	go test -run '^$$' -fuzz '^FuzzBind$$' -fuzztime $(FUZZTIME) ./stream
	go test -run '^$$' -fuzz '^FuzzRawParams$$' -fuzztime $(FUZZTIME) ./stream
	go test -run '^$$' -fuzz '^FuzzRaw$$' -fuzztime $(FUZZTIME) ./source/sqlite
	go test -run '^$$' -fuzz '^FuzzRaw$$' -fuzztime $(FUZZTIME) ./source/httpapi
	go test -run '^$$' -fuzz '^FuzzHeader$$' -fuzztime $(FUZZTIME) ./source/httpapi
	go test -run '^$$' -fuzz '^FuzzLiteral$$' -fuzztime $(FUZZTIME) ./source/httpapi
	go test -run '^$$' -fuzz '^FuzzTemplates$$' -fuzztime $(FUZZTIME) ./source/httpapi
	go test -run '^$$' -fuzz '^FuzzPath$$' -fuzztime $(FUZZTIME) ./source/httpapi
	go test -run '^$$' -fuzz '^FuzzAnswer$$' -fuzztime $(FUZZTIME) ./source/httpapi
	go test -run '^$$' -fuzz '^FuzzIndex$$' -fuzztime $(FUZZTIME) ./hub
	go test -run '^$$' -fuzz '^FuzzOwn$$' -fuzztime $(FUZZTIME) ./access
	go test -run '^$$' -fuzz '^FuzzToken$$' -fuzztime $(FUZZTIME) ./access
	go test -run '^$$' -fuzz '^FuzzCredential$$' -fuzztime $(FUZZTIME) ./internal/handshake
	go test -run '^$$' -fuzz '^FuzzHandshake$$' -fuzztime $(FUZZTIME) .
	go test -run '^$$' -fuzz '^FuzzRewrite$$' -fuzztime $(FUZZTIME) ./source/postgres
	go test -run '^$$' -fuzz '^FuzzChange$$' -fuzztime $(FUZZTIME) ./source/postgres
	go test -run '^$$' -fuzz '^FuzzSubject$$' -fuzztime $(FUZZTIME) ./broker/nats

flaky: postgres
	go run ./test/flaky -minutes $(FLAKY_MINUTES) $(FLAKY)

bench: postgres
	go run ./bench $(BENCH)

microbench:
	go test -run '^$$' -bench . -benchmem ./...

# The demo's database, from its CSV.
demo:
	go run ./demo/gen

clean:
	rm -rf build test/smoke/node_modules client/js/node_modules console/node_modules
