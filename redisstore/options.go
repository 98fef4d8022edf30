package redisstore

// Option changes a [Store]; New reports one that makes no sense.
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

// schemes are those that a store with these options reads, the one it writes
// first. One with a key takes no value without encryption, which anyone who
// can write to Redis could have made.
func (o options) schemes() []scheme {
	if o.encryption == nil {
		return []scheme{plain}
	}
	return append([]scheme{*o.encryption}, o.previous...)
}

// WithKeyPrefix puts prefix before every Redis key, locks included. Without it
// they begin with "wxphone:".
func WithKeyPrefix(prefix string) Option {
	return func(o *options) error {
		o.prefix = prefix
		return nil
	}
}

// WithEncryptionKey encrypts tokens with AES-256-GCM before they go to Redis.
// key is 32 random bytes, the same in every process, from where you keep
// secrets: `openssl rand -base64 32` makes some. The Store keeps no reference
// to key.
//
// Processes with the key and processes without it do not read each other's
// tokens. With stable tokens that costs a few requests during a deployment.
// With classic ones the two groups retire each other's tokens, so first stop
// the processes of one of them.
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
// encrypted with one of keys. New ones are encrypted with that of
// [WithEncryptionKey], which it goes with.
//
// To change the key without a moment in which processes do not understand each
// other, deploy three times: with the new key here, with the new key in
// WithEncryptionKey and the old one here, and, two hours later, without the
// old one.
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
