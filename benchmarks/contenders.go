package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/silenceper/wechat/v2/cache"
	"github.com/silenceper/wechat/v2/miniprogram"
	"github.com/silenceper/wechat/v2/miniprogram/business"
	"github.com/silenceper/wechat/v2/miniprogram/config"
	"github.com/silenceper/wechat/v2/util"

	"github.com/wxphone/wxphone"
)

// The contenders' names, in the order of the table's columns and of a round.
const (
	nameWxphone    = "wxphone"
	nameSilenceper = "silenceper"
	nameBare       = "bare"
)

// contender is one way to get at a phone number. Both functions return it, so
// that whoever calls them can tell that the work was done.
type contender struct {
	name    string
	decrypt func(sealed) (number string, err error)
	phone   func(ctx context.Context, code string) (number string, err error)
}

// network is where a contender finds WeChat.
type network struct {
	client  *http.Client // nil for the contender's own default
	baseURL string       // "" for WeChat's, which takes a client that goes nowhere
}

const weChatURL = "https://api.weixin.qq.com"

var errLeaves = errors.New("these requests would leave the machine")

// newContender makes each contender in the way its documentation shows.
func newContender(name string, n network) (contender, error) {
	if n.client == nil && n.baseURL == "" {
		return contender{}, errLeaves
	}
	switch name {
	case nameWxphone:
		return newWxphone(n)
	case nameSilenceper:
		return newSilenceper(n), nil
	case nameBare:
		return newBare(n), nil
	}
	return contender{}, fmt.Errorf("no contender is called %q", name)
}

// newContenders makes all three with the same network.
func newContenders(n network) ([]contender, error) {
	var all []contender
	for _, name := range []string{nameWxphone, nameSilenceper, nameBare} {
		c, err := newContender(name, n)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func newWxphone(n network) (contender, error) {
	var opts []wxphone.Option
	if n.client != nil {
		opts = append(opts, wxphone.WithHTTPClient(n.client))
	}
	if n.baseURL != "" {
		opts = append(opts, wxphone.WithBaseURL(n.baseURL))
	}
	client, err := wxphone.New(appID, appSecret, opts...)
	if err != nil {
		return contender{}, err
	}
	return contender{
		name: nameWxphone,
		decrypt: func(s sealed) (string, error) {
			info, err := wxphone.DecryptPhoneNumber(appID, wxphone.SessionKey(s.sessionKey), s.encryptedData, s.iv)
			if err != nil {
				return "", err
			}
			return info.PurePhoneNumber, nil
		},
		phone: func(ctx context.Context, code string) (string, error) {
			info, err := client.GetPhoneNumber(ctx, code)
			if err != nil {
				return "", err
			}
			return info.PurePhoneNumber, nil
		},
	}, nil
}

// newSilenceper goes through the two hooks that silenceper/wechat has for the
// whole process: its http.Client, which is http.DefaultClient unless n brings
// one, and a function that may change the URL of a request. So one network at a
// time, and http.DefaultTransport stays as net/http made it.
func newSilenceper(n network) contender {
	util.DefaultHTTPClient = http.DefaultClient
	if n.client != nil {
		util.DefaultHTTPClient = n.client
	}
	util.SetURIModifier(nil)
	if n.baseURL != "" {
		util.SetURIModifier(func(uri string) string {
			return n.baseURL + strings.TrimPrefix(uri, weChatURL)
		})
	}
	mini := miniprogram.NewMiniProgram(&config.Config{AppID: appID, AppSecret: appSecret, Cache: new(syncCache)})
	encryptor, phones := mini.GetEncryptor(), mini.GetBusiness()
	return contender{
		name: nameSilenceper,
		decrypt: func(s sealed) (string, error) {
			data, err := encryptor.Decrypt(s.sessionKey, s.encryptedData, s.iv)
			if err != nil {
				return "", err
			}
			return data.PurePhoneNumber, nil
		},
		phone: func(ctx context.Context, code string) (string, error) {
			info, err := phones.GetPhoneNumberWithContext(ctx, &business.GetPhoneNumberRequest{Code: code})
			return info.PurePhoneNumber, err
		},
	}
}

// syncCache is a cache.Cache in memory. silenceper/wechat's own, cache.Memory,
// reads its map without holding its lock, and the Go runtime may end a process
// in which thousands of goroutines do that while one writes.
type syncCache struct {
	entries sync.Map
}

var _ cache.Cache = (*syncCache)(nil)

type cacheEntry struct {
	value   any
	expires time.Time
}

// Get implements cache.Cache.
func (c *syncCache) Get(key string) any {
	found, ok := c.entries.Load(key)
	if !ok {
		return nil
	}
	if entry, ok := found.(cacheEntry); ok && time.Now().Before(entry.expires) {
		return entry.value
	}
	return nil
}

// Set implements cache.Cache.
func (c *syncCache) Set(key string, value any, timeout time.Duration) error {
	c.entries.Store(key, cacheEntry{value, time.Now().Add(timeout)})
	return nil
}

// IsExist implements cache.Cache.
func (c *syncCache) IsExist(key string) bool { return c.Get(key) != nil }

// Delete implements cache.Cache.
func (c *syncCache) Delete(key string) error {
	c.entries.Delete(key)
	return nil
}
