package neuroquantumws

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/api"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// The topics under which the nodes of a hub speak with each other, beside api.PeerTopic.
const (
	ticketTopic     = "ticket"
	revocationTopic = "revoked"
)

const (
	// ticketSeparator stands in a ticket behind the name of the node that issued it, where a hub has several.
	ticketSeparator = "~"
	// ticketPatience is how long that node is waited for.
	ticketPatience = 2 * time.Second
)

// meetPeers has what other nodes say handled.
func (p *pooledHub) meetPeers() {
	p.hub.OnPeers(api.PeerTopic, hub.PeerTopic{Asked: func(node string, data []byte) []byte {
		return p.api(p.env.Log).AnswerPeer(node, data)
	}})
	p.hub.OnPeers(ticketTopic, hub.PeerTopic{Asked: func(_ string, data []byte) []byte {
		id, ok := p.tickets.Redeem(string(data))
		if !ok {
			return nil
		}
		text, err := json.Marshal(id)
		if err != nil {
			return nil
		}
		return text
	}})
	p.hub.OnPeers(revocationTopic, hub.PeerTopic{Remembered: func(_ string, data []byte) {
		var r revocation
		if json.Unmarshal(data, &r) == nil && time.Since(r.At) < access.RevocationTime {
			if p.revocations.Revoke(r.User, r.At) { // else the user may have come back since, with a new token
				p.hub.DisconnectUser(r.User, revokedReason, -1)
			}
		}
	}})
}

// redeem gives the identity of a ticket, which whichever node issued it gives out once.
func (p *pooledHub) redeem(ctx context.Context, ticket string) (*access.Identity, bool) {
	node, text, elsewhere := strings.Cut(ticket, ticketSeparator)
	switch peers := p.hub.Peers(); {
	case !elsewhere || peers == nil:
		return p.tickets.Redeem(ticket)
	case node == p.hub.Node():
		return p.tickets.Redeem(text)
	case !slices.Contains(peers.Nodes(), node): // who makes up names does not make nodes ask each other
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, ticketPatience)
	defer cancel()
	answers, _ := p.hub.AskPeers(ctx, node, ticketTopic, []byte(text))
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

// rememberRevocation is nil where the hub is of this process alone.
func (p *pooledHub) rememberRevocation() func(ctx context.Context, user string, at time.Time) error {
	peers := p.hub.Peers()
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
