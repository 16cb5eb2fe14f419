package instance

import (
	"errors"
)

// ErrNotProvisioned can only be seen by code that uses the handler without Caddy.
var ErrNotProvisioned = errors.New("neuroquantum_ws: the handler is not provisioned")
