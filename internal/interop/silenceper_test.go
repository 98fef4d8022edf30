package interop

import (
	"strings"
	"sync"
	"time"

	"github.com/silenceper/wechat/v2/credential"
	"github.com/silenceper/wechat/v2/miniprogram"
	"github.com/silenceper/wechat/v2/miniprogram/business"
	"github.com/silenceper/wechat/v2/miniprogram/config"
	"github.com/silenceper/wechat/v2/util"
)

// silenceper is github.com/silenceper/wechat. Its base URL is changed by the
// hook that it has for the whole process.
type silenceper struct {
	settings
	mini *miniprogram.MiniProgram
}

func newSilenceper(s settings) client {
	util.SetURIModifier(func(uri string) string {
		return s.baseURL + strings.TrimPrefix(uri, "https://api.weixin.qq.com")
	})
	return silenceper{s, miniprogram.NewMiniProgram(&config.Config{
		AppID: s.appID, AppSecret: s.secret, Cache: &memory{}, UseStableAK: true,
	})}
}

func (c silenceper) Classic() (string, error) {
	return credential.NewDefaultAccessToken(c.appID, c.secret, "", &memory{}).GetAccessToken()
}

func (c silenceper) Stable() (string, error) {
	return credential.NewStableAccessToken(c.appID, c.secret, "", &memory{}).GetAccessToken()
}

func (c silenceper) Number(code string) (string, error) {
	info, err := c.mini.GetBusiness().GetPhoneNumber(&business.GetPhoneNumberRequest{Code: code})
	return info.PhoneNumber, err
}

func (c silenceper) Login(code string) (session, error) {
	got, err := c.mini.GetAuth().Code2Session(code)
	return session{got.OpenID, got.SessionKey}, err
}

func (c silenceper) Decrypt(key, encryptedData, iv string) (string, error) {
	data, err := c.mini.GetEncryptor().Decrypt(key, encryptedData, iv)
	if err != nil {
		return "", err
	}
	return data.PhoneNumber, nil
}

func (c silenceper) Check(hash string) (bool, error) {
	got, err := c.mini.GetAuth().CheckEncryptedData(hash)
	return got.Vaild, err
}

// memory is silenceper's cache.Cache in memory.
type memory struct {
	mu     sync.Mutex
	values map[string]any
}

func (m *memory) Get(key string) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key]
}

func (m *memory) Set(key string, value any, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = make(map[string]any)
	}
	m.values[key] = value
	return nil
}

func (m *memory) IsExist(key string) bool { return m.Get(key) != nil }

func (m *memory) Delete(key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	return nil
}
