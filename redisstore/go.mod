module github.com/wxphone/wxphone/redisstore

// Go 1.24 is what go-redis v9.22.0 asks for. go-redis maintains only its
// latest v9 release, and that asks for Go 1.26 since v9.23.0. v9.22.0 is the
// newest before, and the first after go-redis went through its pools and
// parsers for data races and panics. This module works with later ones too:
// go get github.com/redis/go-redis/v9@latest.
go 1.24.0

require (
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/bsm/redislock v0.9.4
	github.com/redis/go-redis/v9 v9.22.0
	github.com/stretchr/testify v1.12.1
	github.com/wxphone/wxphone v0.0.0-00010101000000-000000000000
	go.uber.org/goleak v1.3.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.30.0 // indirect
)

replace github.com/wxphone/wxphone => ../
