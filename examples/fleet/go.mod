module github.com/wxphone/wxphone/examples/fleet

go 1.24.0

require (
	github.com/redis/go-redis/v9 v9.22.0
	github.com/wxphone/wxphone v0.0.0-00010101000000-000000000000
	github.com/wxphone/wxphone/redisstore v0.0.0-00010101000000-000000000000
)

require (
	github.com/bsm/redislock v0.9.4 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
)

replace (
	github.com/wxphone/wxphone => ../../
	github.com/wxphone/wxphone/redisstore => ../../redisstore
)
