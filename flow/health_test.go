package flow

import "testing"

func TestHealth(t *testing.T) {
	tests := []struct {
		name             string
		health           Health
		offered, dropped uint64
		want             Condition
	}{
		{"new", DefaultHealth, 0, 0, Healthy},
		{"too few to judge", DefaultHealth, 999, 999, Healthy},
		{"first judged", DefaultHealth, 1000, 1000, Failing},
		{"nothing dropped", DefaultHealth, 1000, 0, Healthy},
		{"just under warn", DefaultHealth, 1000, 99, Healthy},
		{"at warn", DefaultHealth, 1000, 100, Lagging},
		{"at close", DefaultHealth, 1000, 300, Lagging},
		{"just over close", DefaultHealth, 1000, 301, Failing},
		{"large numbers", DefaultHealth, 1 << 60, 1 << 59, Failing},
		{"recovered over a long life", DefaultHealth, 100_000, 9_999, Healthy},
		{"off only counts", Health{}, 1000, 1000, Healthy},
		{"off with a warning left", Health{Warn: 0.1}, 1000, 1000, Healthy},
		{"own bounds", Health{Warn: 0.01, Close: 0.02}, 1000, 15, Lagging},
		{"own bounds exceeded", Health{Warn: 0.01, Close: 0.02}, 1000, 21, Failing},
		{"never closed at 1", Health{Warn: 0.5, Close: 1}, 1000, 1000, Lagging},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.health.Judge(Counts{Offered: tt.offered, Dropped: tt.dropped}); got != tt.want {
				t.Errorf("condition %v, want %v", got, tt.want)
			}
		})
	}
}
