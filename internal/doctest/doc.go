// Package doctest checks the documents: README.md, the pages in docs, their
// Chinese counterparts, and every other Markdown file of this repository. It
// has tests only.
package doctest
