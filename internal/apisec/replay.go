package apisec

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// maxSeen is how many answers are remembered: those of ten minutes at a
// hundred calls a second, in some 3 MiB. WeChat's own limit is a few hundred
// calls a second.
const maxSeen = 1 << 16

// seen remembers the answers of the last ten minutes, so that none is believed
// twice. Only WeChat's own answers come here: nobody else can fill it.
//
// When it is full it forgets the oldest second, and from then on believes no
// answer that WeChat signed in that second or before. So the window in which
// an answer must arrive gets shorter, while the answers of now still pass.
type seen struct {
	most int

	mu      sync.Mutex
	count   int
	seconds map[int64]map[digest]struct{} // by the time of signing
	floor   int64                         // the newest second that was forgotten
	pruned  int64                         // when it was last looked for old seconds
}

// digest stands for one answer.
type digest [16]byte

func newSeen(most int) *seen {
	return &seen{most: most, seconds: make(map[int64]map[digest]struct{})}
}

// note remembers the answer that was signed in that second and has this
// identity, or returns an error if it may have come before.
func (s *seen) note(now time.Time, signed int64, identity []byte) error {
	sum := sha256.Sum256(identity)
	d := digest(sum[:len(digest{})])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now.Unix())
	if signed <= s.floor {
		return fmt.Errorf("%w: the answer came too late to be told from one that is sent again", ErrFailed)
	}
	if _, ok := s.seconds[signed][d]; ok {
		return fmt.Errorf("%w: the answer came before, so it is for another request", ErrFailed)
	}
	if s.count >= s.most {
		s.forgetOldest()
		if signed <= s.floor {
			return fmt.Errorf("%w: the answer came too late to be told from one that is sent again", ErrFailed)
		}
	}
	if s.seconds[signed] == nil {
		s.seconds[signed] = make(map[digest]struct{}, 1)
	}
	s.seconds[signed][d] = struct{}{}
	s.count++
	return nil
}

// prune forgets, once a second, what the clock alone refuses. The floor keeps
// it refused if the clock is set back.
func (s *seen) prune(now int64) {
	if now == s.pruned {
		return
	}
	s.pruned = now
	for second := range s.seconds {
		if second < now-int64(clockWindow/time.Second) {
			s.forget(second)
		}
	}
}

func (s *seen) forgetOldest() {
	first := true
	var oldest int64
	for second := range s.seconds {
		if first || second < oldest {
			first, oldest = false, second
		}
	}
	s.forget(oldest)
}

func (s *seen) forget(second int64) {
	s.count -= len(s.seconds[second])
	delete(s.seconds, second)
	s.floor = max(s.floor, second)
}
