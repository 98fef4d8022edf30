package apisec

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	cameBefore = "the answer came before, so it is for another request"
	cameLate   = "the answer came too late to be told from one that is sent again"
)

func TestAnswerIsBelievedOnce(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	scheme := s.scheme(t)
	a := s.answer(t)
	_, err := a.open(scheme)
	require.NoError(t, err)
	first := a.now
	for _, later := range []time.Duration{0, time.Second, 9 * time.Minute, 10 * time.Minute, -10 * time.Minute} {
		a.now = first.Add(later)
		plaintext, err := a.open(scheme)
		require.ErrorIs(t, err, ErrFailed, "%v later", later)
		require.EqualError(t, err, ErrFailed.Error()+": "+cameBefore)
		assert.Nil(t, plaintext)
	}

	// The other signature makes no other answer of it.
	a.header.Set("Wechatmp-Serial-Deprecated", a.header.Get("Wechatmp-Serial"))
	a.header.Set("Wechatmp-Signature-Deprecated", a.header.Get("Wechatmp-Signature"))
	a.header.Del("Wechatmp-Serial")
	a.header.Del("Wechatmp-Signature")
	a.now = first
	_, err = a.open(scheme)
	require.EqualError(t, err, ErrFailed.Error()+": "+cameBefore)
}

func TestAnswerIsToldFromOthersByItsRandom(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	scheme := s.mirror(t)
	answer := func(random string) *answer {
		return s.sealed(t, scheme, "1700000000", `{`+random+`"_appid":"`+s.AppID+`","_timestamp":1700000000,"errcode":0}`)
	}
	for _, random := range []string{`"_n":"a",`, `"_n":"b",`, `"_n":7,`} {
		_, err := answer(random).open(scheme)
		require.NoError(t, err, random)
		_, err = answer(random).open(scheme)
		require.ErrorContains(t, err, cameBefore, "sealed anew, with the same random: %s", random)
	}
	// Without one, the envelope is what is never the same twice.
	without := answer("")
	_, err := without.open(scheme)
	require.NoError(t, err)
	_, err = without.open(scheme)
	require.ErrorContains(t, err, cameBefore)
	_, err = s.sealed(t, scheme, "1700000000", `{"errcode":1,"_appid":"`+s.AppID+`","_timestamp":1700000000}`).open(scheme)
	require.NoError(t, err)
}

// Whoever cannot sign cannot use up an answer, nor the memory for them.
func TestAnswerThatIsRefusedIsNotRemembered(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	scheme := s.scheme(t)
	a := s.answer(t)
	good := a.header.Get("Wechatmp-Signature")
	a.header.Set("Wechatmp-Signature", "AAAA")
	a.header.Del("Wechatmp-Signature-Deprecated")
	for range 3 {
		_, err := a.open(scheme)
		require.ErrorContains(t, err, "not WeChat's")
	}
	assert.Zero(t, scheme.seen.count)
	a.header.Set("Wechatmp-Signature", good)
	_, err := a.open(scheme)
	require.NoError(t, err)
}

func TestFullMemoryShortensTheWindowAndOpensNoDoor(t *testing.T) {
	t.Parallel()
	const most, perSecond = 100, 10
	s := newSeen(most)
	begin := time.Unix(1_700_000_000, 0)
	var came []string
	for second := range int64(60) {
		now := begin.Add(time.Duration(second) * time.Second)
		for i := range perSecond {
			id := fmt.Sprintf("%d/%d", second, i)
			// WeChat's hosts need not agree on the second.
			signed := now.Unix() - int64(i%3)
			require.NoError(t, s.note(now, signed, []byte(id)), "an honest answer passes at any rate: %s", id)
			came = append(came, strconv.FormatInt(signed, 10)+" "+id)
		}
		assert.LessOrEqual(t, s.count, most)
	}
	held := 0
	for _, answers := range s.seconds {
		held += len(answers)
	}
	assert.Equal(t, s.count, held)
	now := begin.Add(59 * time.Second)
	late := 0
	for _, one := range came {
		text, id, _ := strings.Cut(one, " ")
		signed, err := strconv.ParseInt(text, 10, 64)
		require.NoError(t, err)
		err = s.note(now, signed, []byte(id))
		require.ErrorIs(t, err, ErrFailed, "every one that came before is refused: %s", id)
		if strings.Contains(err.Error(), cameLate) {
			late++
		}
	}
	assert.Equal(t, len(came)-s.count, late, "those that are forgotten are too late")
	require.ErrorContains(t, s.note(now, begin.Unix(), []byte("held back")), cameLate)
	require.NoError(t, s.note(now, now.Unix(), []byte("new")))
}

func TestOneSecondThatIsTooFullIsNotForgottenSilently(t *testing.T) {
	t.Parallel()
	s := newSeen(3)
	now := time.Unix(1_700_000_000, 0)
	for i := range 3 {
		require.NoError(t, s.note(now, now.Unix(), []byte{byte(i)}))
	}
	for i := range 5 {
		require.ErrorContains(t, s.note(now, now.Unix(), []byte{byte(i)}), "the answer came")
	}
	assert.LessOrEqual(t, s.count, 3)
	require.NoError(t, s.note(now.Add(time.Second), now.Unix()+1, []byte("next second")))
}

func TestAnswersAreForgottenWhenTheClockRefusesThem(t *testing.T) {
	t.Parallel()
	s := newSeen(maxSeen)
	begin := time.Unix(1_700_000_000, 0)
	for second := range 3000 {
		now := begin.Add(time.Duration(second) * time.Second)
		require.NoError(t, s.note(now, now.Unix(), []byte(strconv.Itoa(second))))
	}
	assert.Equal(t, int(clockWindow/time.Second)+1, s.count)
	assert.Len(t, s.seconds, s.count)

	// A clock that is set back brings none of them back.
	require.Error(t, s.note(begin, begin.Unix(), []byte("0")))
	require.ErrorContains(t, s.note(begin, begin.Unix(), []byte("another")), cameLate)
}

func TestOfManyWhoBringOneAnswerOneIsBelieved(t *testing.T) {
	t.Parallel()
	s := newSeen(1000)
	now := time.Unix(1_700_000_000, 0)
	var believed atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Add(1)
		go func() {
			defer all.Done()
			for _, i := range rand.Perm(200) {
				if s.note(now.Add(time.Duration(i)*time.Second), now.Unix()+int64(i%7), []byte{byte(i)}) == nil {
					believed.Add(1)
				}
			}
		}()
	}
	all.Wait()
	assert.EqualValues(t, 200, believed.Load())
}

func BenchmarkRemembering(b *testing.B) {
	s := newSeen(maxSeen)
	now := time.Unix(1_700_000_000, 0)
	for i := range b.N {
		at := now.Add(time.Duration(i) * time.Millisecond)
		_ = s.note(at, at.Unix(), strconv.AppendInt(nil, int64(i), 10))
	}
}
