package hub

// ParkAtOnce has connections park whenever nothing is there to be read.
func (h *Hub) ParkAtOnce() { h.parkAtOnce = true }

// ParkWhenSilent is what hubs do unless told otherwise.
func (h *Hub) ParkWhenSilent() { h.parkAtOnce = false }

// Parked tells whether no goroutine reads from the connection.
func (c *Conn) Parked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parked
}

// Cut closes the connection's socket.
func (c *Conn) Cut() { c.cutSocket() }
