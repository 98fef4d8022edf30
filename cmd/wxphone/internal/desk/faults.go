package desk

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wxphone/wxphone/wxphonetest"
)

// fault is what goes wrong with the next requests to an endpoint.
type fault struct {
	Endpoint string  `json:"endpoint"`
	Kind     string  `json:"kind"`
	ErrCode  *int    `json:"errcode,omitempty"`
	ErrMsg   *string `json:"errmsg,omitempty"`
	Status   *int    `json:"status,omitempty"`
	Body     *string `json:"body,omitempty"`
	Times    *int    `json:"times"`
}

// latency is how long an endpoint takes to answer.
type latency struct {
	Endpoint     string `json:"endpoint"`
	Milliseconds *int   `json:"milliseconds"`
}

const (
	forever    = -1
	maxTimes   = 1_000_000
	maxLatency = 600_000 // ms
)

// setFault adds a fault behind those that the endpoint has, or in place of one
// that has no end. With times 0 it takes all of them back.
func (d *Desk) setFault(f fault) (faultsAnswer, error) {
	if err := d.checkEndpoint(f.Endpoint); err != nil {
		return faultsAnswer{}, err
	}
	times := 1
	if f.Times != nil {
		times = *f.Times
	}
	if times < forever || times > maxTimes {
		return faultsAnswer{}, fmt.Errorf("times must be 1 to %d, -1 for every request until the next fault, or 0 to take the endpoint's faults back", maxTimes)
	}
	if times == 0 {
		d.wechat.ClearFaults(f.Endpoint)
		return d.faults(), nil
	}
	if err := f.check(); err != nil {
		return faultsAnswer{}, err
	}
	switch wxphonetest.FaultKind(f.Kind) {
	case wxphonetest.FaultErrcode:
		d.wechat.FailNext(f.Endpoint, *f.ErrCode, valueOf(f.ErrMsg), times)
	case wxphonetest.FaultStatus:
		d.wechat.RespondNext(f.Endpoint, *f.Status, valueOf(f.Body), times)
	case wxphonetest.FaultDrop:
		d.wechat.DropNext(f.Endpoint, times)
	case wxphonetest.FaultLose:
		d.wechat.LoseNext(f.Endpoint, times)
	}
	return d.faults(), nil
}

// check refuses a fault that is incomplete, or that says what its kind does not
// do.
func (f fault) check() error {
	var needed, allowed []string
	switch wxphonetest.FaultKind(f.Kind) {
	case wxphonetest.FaultErrcode:
		needed, allowed = []string{"errcode"}, []string{"errcode", "errmsg"}
	case wxphonetest.FaultStatus:
		needed, allowed = []string{"status"}, []string{"status", "body"}
	case wxphonetest.FaultDrop, wxphonetest.FaultLose:
	case "":
		return errors.New("kind is missing; it is errcode, status, drop or lose")
	default:
		return fmt.Errorf("kind must be errcode, status, drop or lose, not %s", quote(f.Kind))
	}
	for _, given := range []struct {
		name    string
		present bool
	}{
		{"errcode", f.ErrCode != nil},
		{"errmsg", f.ErrMsg != nil},
		{"status", f.Status != nil},
		{"body", f.Body != nil},
	} {
		switch {
		case given.present && !slices.Contains(allowed, given.name):
			return fmt.Errorf("%s does not belong to a fault of kind %s", given.name, f.Kind)
		case !given.present && slices.Contains(needed, given.name):
			return fmt.Errorf("%s is missing; a fault of kind %s needs it", given.name, f.Kind)
		}
	}
	switch {
	case f.ErrCode != nil && *f.ErrCode == 0:
		return errors.New("errcode must not be 0, which is a success")
	case f.Status != nil && (*f.Status < 200 || *f.Status > 599):
		return errors.New("status must be 200 to 599")
	}
	return nil
}

func (d *Desk) setLatency(l latency) (faultsAnswer, error) {
	if err := d.checkEndpoint(l.Endpoint); err != nil {
		return faultsAnswer{}, err
	}
	switch {
	case l.Milliseconds == nil:
		return faultsAnswer{}, errors.New("milliseconds is missing; 0 ends a latency")
	case *l.Milliseconds < 0 || *l.Milliseconds > maxLatency:
		return faultsAnswer{}, fmt.Errorf("milliseconds must be 0 to %d", maxLatency)
	}
	d.wechat.SetLatency(l.Endpoint, time.Duration(*l.Milliseconds)*time.Millisecond)
	return d.faults(), nil
}

func (d *Desk) checkEndpoint(endpoint string) error {
	switch {
	case endpoint == "":
		return errors.New("endpoint is missing; it is a path such as /wxa/business/getuserphonenumber")
	case !slices.Contains(d.wechat.Endpoints(), endpoint):
		return fmt.Errorf("endpoint %s is none of the fake's; %sinfo lists them", quote(endpoint), Prefix)
	default:
		return nil
	}
}

type faultsAnswer struct {
	Faults    []fault   `json:"faults"`
	Latencies []latency `json:"latencies"`
}

// faults returns what is still to go wrong. times is how often.
func (d *Desk) faults() faultsAnswer {
	answer := faultsAnswer{[]fault{}, []latency{}}
	for _, set := range d.wechat.Faults() {
		f := fault{Endpoint: set.Endpoint, Kind: string(set.Kind), Times: &set.Left}
		switch set.Kind {
		case wxphonetest.FaultErrcode:
			f.ErrCode = &set.Code
			if set.Message != "" { // otherwise WeChat's, with a rid that is not known yet
				f.ErrMsg = &set.Message
			}
		case wxphonetest.FaultStatus:
			f.Status, f.Body = &set.Status, &set.Body
		}
		answer.Faults = append(answer.Faults, f)
	}
	latencies := d.wechat.Latencies()
	for _, endpoint := range d.wechat.Endpoints() {
		if l, ok := latencies[endpoint]; ok {
			milliseconds := int(l / time.Millisecond)
			answer.Latencies = append(answer.Latencies, latency{endpoint, &milliseconds})
		}
	}
	return answer
}

func valueOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
