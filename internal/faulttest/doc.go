// Package faulttest holds tests of package wxphone on bad days: broken
// connections, half answers and silent servers over real sockets, and a soak of
// a million calls. It is a module of its own, so that what these tests need
// does not become a dependency of package wxphone.
package faulttest
