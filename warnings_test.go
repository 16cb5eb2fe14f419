package neuroquantumws

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestCostlyBlocksAreWarnedOf: blocks may have more wildcards than a client's pattern, but not without a word.
func TestCostlyBlocksAreWarnedOf(t *testing.T) {
	for pattern, warned := range map[string]bool{
		"a/**": false, strings.Repeat("*/", 8) + "a": false, strings.Repeat("*/", 9) + "a": true,
		strings.Repeat("**/a/", 5) + "b": true, strings.Repeat("{user}/", 9) + "a": true,
	} {
		core, logs := observer.New(zapcore.WarnLevel)
		h := &Handler{Channel: []Channel{{Pattern: pattern}}, log: zap.New(core)}
		h.logWarnings()
		if logs.FilterField(zap.String("channel", pattern)).Len() > 0 != warned {
			t.Errorf("%s: %v", pattern, logs.All())
		}
	}
}
