//go:build go1.25

package wxphone_test

import (
	"testing"
	"testing/synctest"
)

// inVirtualTime runs a test that passes in real time too, only slower.
func inVirtualTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
