// Command caddy is Caddy with its standard modules and neuroquantum_ws, built at the exact versions of this repository's go.mod.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/neuroquantumdb/neuroquantum-ws"
)

func main() { caddycmd.Main() }
