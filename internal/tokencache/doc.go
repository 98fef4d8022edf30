// Package tokencache keeps one access_token fresh for all who call with it.
//
// All that a cache knows is one struct, state. Its methods take the time,
// change the state and say what is to be done; they do no I/O and hold no
// lock. Around it, [Cache] has the mutex, a snapshot of the token that is read
// without it, and the flight: the one goroutine that asks the source and the
// store, as long as somebody waits for it.
//
// The states, and what leads from one to another:
//
//	         ask                      a token arrived
//	empty ─────────▶ flight (waited for) ──────────────▶ fresh ◀──────────┐
//	  ▲                 ▲        │ failed                  │ refreshAt    │
//	  │         retryAt │        ▼                         ▼ passed, ask  │
//	  │                paused ◀──┘              flight (nobody waits; the │
//	  │                   ▲                     token is served on)       │
//	  │                   │                                │   │ a token  │
//	  │                   │ token expired           failed │   └──────────┘
//	  │                   │                                ▼
//	  │                   └─────────────── fresh until the next try
//	  │
//	  └── a refusal of the token, in any state that has one: the next flight
//	      first tells the store and the source of it
//
// A flight that meets a refusal of the token it brings starts over. If the
// source still hands the refused token out, it is made to replace it where
// that is possible; where it is not, the token is served and further refusals
// of it are ignored for a while.
package tokencache
