//go:build race

package wxphone_test

// underRace tells long loops to be shorter: the race detector slows them tenfold.
const underRace = true
