package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// check makes an error of a contender that did not do the work.
func check(c contender, got string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if got != number {
		return fmt.Errorf("%s: returned %q instead of the number", c.name, got)
	}
	return nil
}

func decryptOnce(c contender) error {
	got, err := c.decrypt(sample)
	return check(c, got, err)
}

func phoneOnce(c contender) error { return redeemOnce(c, phoneCode) }

// redeemOnce takes a code of the caller's own where there are several: wxphone
// makes one request of calls with the same code at the same time.
func redeemOnce(c contender, code string) error {
	got, err := c.phone(context.Background(), code)
	return check(c, got, err)
}

func decryptRows(p plan) ([]row, error) {
	all, err := newContenders(new(inMemory).network())
	if err != nil {
		return nil, err
	}
	return timeRow("Decrypt `encryptedData`", all, p, decryptOnce)
}

func phoneRows(p plan) ([]row, error) {
	all, err := newContenders(new(inMemory).network())
	if err != nil {
		return nil, err
	}
	return timeRow("`GetPhoneNumber` in memory, token cached", all, p, phoneOnce)
}

// timeRow is the median time of one call.
func timeRow(work string, all []contender, p plan, call func(contender) error) ([]row, error) {
	medians, err := interleave(all, p, call)
	if err != nil {
		return nil, err
	}
	return []row{{work: work, measure: "time per call", cells: relative(medians, micros)}}, nil
}

// interleave times rounds in which the contenders take turns, and returns the
// median nanoseconds of a call of each. The first round is not counted.
func interleave(all []contender, p plan, call func(contender) error) ([]float64, error) {
	samples := make([][]float64, len(all))
	for round := 0; round <= p.rounds; round++ {
		for i, c := range all {
			start := time.Now()
			for range p.calls {
				if err := call(c); err != nil {
					return nil, err
				}
			}
			if round > 0 {
				samples[i] = append(samples[i], float64(time.Since(start).Nanoseconds())/float64(p.calls))
			}
		}
	}
	medians := make([]float64, len(all))
	for i := range all {
		medians[i] = percentile(samples[i], 50)
	}
	return medians, nil
}

// percentile sorts samples.
func percentile(samples []float64, percent int) float64 {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[min(len(samples)*percent/100, len(samples)-1)]
}
