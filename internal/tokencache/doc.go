// Package tokencache keeps one access_token fresh for all its callers.
//
// The struct state holds everything a cache knows. Its methods take the time,
// change the state and return what to do. They perform no I/O and acquire no
// lock. [Cache] adds a mutex, a snapshot of the token that is read without the
// mutex, and the flight: the one goroutine that asks the source and the store
// while callers wait for it.
//
// These are the states and the transitions between them:
//
//	         ask                      a token arrived
//	empty ─────────▶ flight (waited for) ──────────────▶ fresh ◀──────────┐
//	  ▲                 ▲        │ failed                  │ refreshAt    │
//	  │         retryAt │        ▼                         ▼ passed, ask  │
//	  │                paused ◀──┘              flight (no caller waits;  │
//	  │                   ▲                     the token is still served)│
//	  │                   │                                │   │ a token  │
//	  │                   │ token expired           failed │   └──────────┘
//	  │                   │                                ▼
//	  │                   └─────────────── fresh until the next try
//	  │
//	  └── the token is rejected, in any state that has one: the next flight
//	      first reports that to the store and the source
//
// If the token that a flight fetched is rejected meanwhile, the flight starts
// over. If the source returns the rejected token again, the cache forces it to
// replace the token if the source supports that. Otherwise the token is used,
// and further reports about it are ignored for a while.
package tokencache
