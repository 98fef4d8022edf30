package redisstore

// Option configures a [Store]. [New] returns an error that matches
// [wxphone.ErrInvalidArgument] if an option is not valid.
type Option func(*options) error

type options struct {
	prefix     string
	encryption *scheme
	previous   []scheme
}

func newOptions(opts []Option) (options, error) {
	var o options
	for _, opt := range opts {
		if opt == nil {
			return options{}, invalid("New has a nil option")
		}
		if err := opt(&o); err != nil {
			return options{}, err
		}
	}
	if o.encryption == nil && len(o.previous) > 0 {
		return options{}, invalid("WithPreviousEncryptionKeys needs WithEncryptionKey")
	}
	return o, nil
}

// schemes returns the schemes that a store with these options reads. It writes
// with the first. With a key, it does not accept unencrypted values, because
// anyone who can write to Redis could have created them.
func (o options) schemes() []scheme {
	if o.encryption == nil {
		return []scheme{plain}
	}
	return append([]scheme{*o.encryption}, o.previous...)
}

// WithKeyPrefix adds prefix to the start of every Redis key, including those of
// locks. Without it, the keys start with "wxphone:".
func WithKeyPrefix(prefix string) Option {
	return func(o *options) error {
		o.prefix = prefix
		return nil
	}
}

// WithEncryptionKey encrypts tokens with AES-256-GCM before they are sent to
// Redis. key is 32 random bytes, for example from `openssl rand -base64 32`. It
// must be the same in every process and should be stored with your other
// secrets. The Store does not retain key.
//
// Processes with the key and processes without it cannot read each other's
// tokens. With stable tokens, that costs a few requests during a deployment.
// With classic tokens, the two groups invalidate each other's tokens, so stop
// the processes of one group first.
func WithEncryptionKey(key []byte) Option {
	return func(o *options) error {
		s, err := encrypted(key)
		if err != nil {
			return invalid("WithEncryptionKey: " + err.Error())
		}
		o.encryption = &s
		return nil
	}
}

// WithPreviousEncryptionKeys lets the Store also read tokens that were
// encrypted with one of keys. New tokens are encrypted with the key of
// [WithEncryptionKey], which is required.
//
// To change the key while all processes can read each other's tokens, deploy
// three times: with the new key here; then with the new key in
// WithEncryptionKey and the old one here; and, two hours later, without the old
// one.
func WithPreviousEncryptionKeys(keys ...[]byte) Option {
	return func(o *options) error {
		for _, key := range keys {
			s, err := encrypted(key)
			if err != nil {
				return invalid("WithPreviousEncryptionKeys: " + err.Error())
			}
			o.previous = append(o.previous, s)
		}
		return nil
	}
}
