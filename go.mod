module github.com/wxphone/wxphone

go 1.23.0
