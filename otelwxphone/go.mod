module github.com/wxphone/wxphone/otelwxphone

// Go 1.25 is what OpenTelemetry v1.46.0 asks for, the last release that works
// with it. Releases before v1.44.0 have known vulnerabilities. This module works
// with later ones too: go get go.opentelemetry.io/otel@latest.
go 1.25.0

replace github.com/wxphone/wxphone => ../

require (
	github.com/stretchr/testify v1.12.1
	github.com/wxphone/wxphone v0.0.0-00010101000000-000000000000
	go.opentelemetry.io/otel v1.46.0
	go.opentelemetry.io/otel/metric v1.46.0
	go.opentelemetry.io/otel/sdk v1.46.0
	go.opentelemetry.io/otel/sdk/metric v1.46.0
	go.opentelemetry.io/otel/trace v1.46.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.47.0 // indirect
)
