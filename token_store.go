package wxphone

import "errors"

// ErrTokenNotFound is what a TokenStore returns for a key it has no token for.
var ErrTokenNotFound = errors.New("wxphone: no token in the store")
