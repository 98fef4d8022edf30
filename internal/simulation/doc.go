// Package simulation holds tests only: a process, or a fleet of them, that
// lives through days of virtual time. They use the package as its users do.
package simulation
