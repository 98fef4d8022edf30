package redact

// Hidden holds a value that no fmt verb prints, wherever the Hidden is. In an
// unexported field fmt calls no Format, and under a verb that does not fit it
// prints what a pointer points to. A func has nothing that it could print.
//
// The zero Hidden holds the zero value.
type Hidden[T any] struct{ value func() T }

// Conceal returns a Hidden that holds v.
func Conceal[T any](v T) Hidden[T] { return Hidden[T]{func() T { return v }} }

// Reveal returns the value.
func (h Hidden[T]) Reveal() T {
	if h.value == nil {
		var zero T
		return zero
	}
	return h.value()
}
