// Package doctest holds the documents to the code. It has tests only.
package doctest
