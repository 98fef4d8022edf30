//go:build !go1.25

package wxphone_test

import "testing"

func inVirtualTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	test(t)
}
