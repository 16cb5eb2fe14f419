package instance

import (
	"errors"
	"testing"
)

func TestEventsNeverWait(t *testing.T) {
	e := &eventQueue{waiting: make(chan Event, 1)} // nobody publishes
	if err := e.add(Event{}); err != nil {
		t.Error(err)
	}
	if err := e.add(Event{}); !errors.Is(err, errEventsFull) {
		t.Errorf("got %v", err)
	}
	e.closed = true
	if err := e.add(Event{}); !errors.Is(err, errEventsClosed) {
		t.Errorf("got %v", err)
	}
}
