module github.com/wxphone/wxphone/internal/faulttest

go 1.23.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/wxphone/wxphone v0.0.0-00010101000000-000000000000
	go.uber.org/goleak v1.3.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/wxphone/wxphone => ../../
