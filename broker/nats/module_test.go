package nats_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/nats"
	_ "github.com/neuroquantumdb/neuroquantum-ws/broker/nats/embedded"
)

func TestCaddyfile(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"servers", `servers nats://a:4222 nats://b:4222`, `{"servers":["nats://a:4222","nats://b:4222"]}`},
		{"all", `servers tls://a:4222
			name shared
			prefix rt
			replicas 3
			storage memory
			max_bytes 1GiB
			interest dynamic
			publish_timeout 2s
			read_timeout 3s
			history_unavailable live_only
			domain hub
			user {env.U} {env.P}
			tls {
				ca ca.pem
				certificate c.pem k.pem
			}`,
			`{"servers":["tls://a:4222"],"name":"shared","prefix":"rt","replicas":3,"storage":"memory","max_bytes":1073741824,` +
				`"interest":"dynamic","publish_timeout":2000000000,"read_timeout":3000000000,"history_unavailable":"live_only",` +
				`"domain":"hub","user":{"name":"{env.U}","password":"{env.P}"},"tls":{"ca":"ca.pem","certificate":"c.pem","key":"k.pem"}}`},
		{"embedded", `embedded {
				store_dir /var/lib/nats
				name a
				listen 127.0.0.1:4222
				auth u p
				sync always
				max_store 10GiB
				cluster hub 10.0.0.1:6222 {
					auth r s
				}
				routes nats://10.0.0.2:6222 nats://10.0.0.3:6222
			}
			replicas 3`,
			`{"embedded":{"store_dir":"/var/lib/nats","name":"a","listen":"127.0.0.1:4222","auth":{"name":"u","password":"p"},` +
				`"sync":"always","max_store":10737418240,"cluster":{"name":"hub","listen":"10.0.0.1:6222",` +
				`"auth":{"name":"r","password":"s"}},"routes":["nats://10.0.0.2:6222","nats://10.0.0.3:6222"]},"replicas":3}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var m nats.Module
			if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("nats {\n" + test.text + "\n}")); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestCaddyfileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "servers or embedded",
		"servers":                            "at least one argument",
		"servers nats://a\nservers nats://b": "given twice",
		"servers nats://a\nembedded {\nstore_dir d\n}":                       "servers or embedded",
		"servers nats://a\ncolour red":                                       "unknown option colour",
		"servers nats://a\nreplicas 2":                                       "1, 3 or 5",
		"servers nats://a\nreplicas many":                                    "positive integer",
		"servers nats://a\nstorage tape":                                     "file or memory",
		"servers nats://a\ninterest some":                                    "static or dynamic",
		"servers nats://a\nhistory_unavailable hope":                         "fail or live_only",
		"servers nats://a\nmax_bytes much":                                   "must be a size",
		"servers nats://a\npublish_timeout -1s":                              "positive duration",
		"servers nats://a\nprefix a.b":                                       "letters",
		"servers nats://a\ntoken t\nnkey f":                                  "only one of",
		"servers nats://a\nuser u":                                           "wrong number",
		"servers nats://a\ntls {\ncolour red\n}":                             "unknown option colour",
		"embedded {\n}":                                                      "store_dir",
		"embedded {\nstore_dir d\ncolour red\n}":                             "unknown option colour",
		"embedded {\nstore_dir d\nroutes nats://b:1\n}":                      "need a cluster",
		"embedded {\nstore_dir d\nlisten here\n}":                            "HOST:PORT",
		"embedded {\nstore_dir d\nsync never\n}":                             "always or a time",
		"embedded {\nstore_dir d\nauth u p\n}":                               "need listen",
		"embedded {\nstore_dir d\ncluster c\n}":                              "wrong number",
		"embedded {\nstore_dir d\ncluster c h:1 {\ncolour red\n}\n}":         "unknown option colour",
		"embedded {\nstore_dir d\nname a\nname b\n}":                         "given twice",
		"embedded {\nstore_dir d\ncluster c h:1 {\nauth u p\nauth u p\n}\n}": "given twice",
	} {
		var m nats.Module
		err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("nats {\n" + text + "\n}"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
