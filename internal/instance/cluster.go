package instance

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// The topics under which the nodes of a hub speak with each other.
const (
	ticketTopic     = "ticket"
	revocationTopic = "revoked"
)

const (
	// ticketSeparator stands in a ticket behind the name of the node that issued it, where a hub has several.
	ticketSeparator = "~"
	// ticketTimeout is how long that node is waited for.
	ticketTimeout = 2 * time.Second
)

// registerPeerHandlers has what other nodes say handled.
func (p *Instance) registerPeerHandlers() {
	p.Hub.OnPeers(ticketTopic, hub.PeerTopic{Asked: func(_ string, data []byte) []byte {
		id, _, ok := p.tickets.Redeem(string(data))
		if !ok {
			return nil
		}
		text, err := json.Marshal(id)
		if err != nil {
			return nil
		}
		return text
	}})
	p.Hub.OnPeers(revocationTopic, hub.PeerTopic{Remembered: func(_ string, data []byte) {
		var r revocation
		if json.Unmarshal(data, &r) == nil && time.Since(r.At) < access.RevocationTime {
			if p.Revocations.Revoke(r.User, r.At) { // else the user may have come back since, with a new token
				p.Hub.DisconnectUser(r.User, RevokedReason, -1)
			}
		}
	}})
}

// RedeemTicket returns the identity of a ticket, which whichever node issued it gives out once. putBack makes the ticket good again; it is nil
// where another node issued it.
func (p *Instance) RedeemTicket(ctx context.Context, ticket string) (id *access.Identity, putBack func(), ok bool) {
	node, text, named := strings.Cut(ticket, ticketSeparator)
	peers := p.Hub.Peers()
	if !named || peers == nil {
		node, text = p.Hub.Node(), ticket
	}
	if node == p.Hub.Node() {
		id, until, ok := p.tickets.Redeem(text)
		return id, func() { p.tickets.Return(text, id, until) }, ok
	}
	id, ok = p.redeemElsewhere(ctx, peers, node, text)
	return id, nil, ok
}

func (p *Instance) redeemElsewhere(ctx context.Context, peers hub.Peers, node, text string) (*access.Identity, bool) {
	if !slices.Contains(peers.Nodes(), node) { // who makes up names does not make nodes ask each other
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, ticketTimeout)
	defer cancel()
	answers, _ := p.Hub.AskPeers(ctx, node, ticketTopic, []byte(text))
	id := new(access.Identity)
	if len(answers) == 0 || len(answers[0].Data) == 0 || json.Unmarshal(answers[0].Data, id) != nil {
		return nil, false
	}
	return id, true
}

// revocation is what nodes tell each other of a user whose tokens are void.
type revocation struct {
	User string    `json:"user"`
	At   time.Time `json:"at"`
}

// PersistRevocation is nil where the hub is of this process alone.
func (p *Instance) PersistRevocation() func(ctx context.Context, user string, at time.Time) error {
	peers := p.Hub.Peers()
	if peers == nil {
		return nil
	}
	return func(ctx context.Context, user string, at time.Time) error {
		data, err := json.Marshal(revocation{user, at})
		if err != nil {
			return err
		}
		return peers.Remember(ctx, revocationTopic+"/"+user, data)
	}
}
