package desk

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/wxphone/wxphone"
)

type healthAnswer struct {
	Status string `json:"status"`
}

func (d *Desk) health() healthAnswer { return healthAnswer{"ok"} }

type infoAnswer struct {
	AppID     string   `json:"appid"`
	Secret    string   `json:"secret"`
	Endpoints []string `json:"endpoints"`
	// TokenLifetime is in seconds.
	TokenLifetime int64         `json:"tokenLifetime"`
	CloudHosting  bool          `json:"cloudHosting"`
	Component     componentInfo `json:"component"`
	APISecurity   *securityInfo `json:"apiSecurity,omitempty"`
}

// securityInfo is what a client of API security is set up with. Keys are PEM.
type securityInfo struct {
	SymmetricKeySN string            `json:"symmetricKeySN"`
	SymmetricKey   string            `json:"symmetricKey"`
	PrivateKey     string            `json:"privateKey"`
	Certificates   map[string]string `json:"certificates"`
}

// defaultTokenLifetime is wxphonetest's.
const defaultTokenLifetime = 2 * time.Hour

func (d *Desk) info() infoAnswer {
	info := infoAnswer{
		AppID:         d.wechat.AppID(),
		Secret:        d.wechat.Secret(),
		Endpoints:     d.wechat.Endpoints(),
		TokenLifetime: int64(defaultTokenLifetime / time.Second),
		CloudHosting:  d.config.CloudHosting,
		Component:     newComponentInfo(d.wechat),
	}
	if d.config.TokenLifetime != 0 {
		info.TokenLifetime = int64(d.config.TokenLifetime / time.Second)
	}
	if d.config.APISecurity {
		info.APISecurity = newSecurityInfo(d.wechat.APISecurity())
	}
	return info
}

func newSecurityInfo(s wxphone.APISecurity) *securityInfo {
	key, err := x509.MarshalPKCS8PrivateKey(s.PrivateKey)
	if err != nil {
		panic("desk: the fake's key has no PKCS #8 form: " + err.Error())
	}
	info := &securityInfo{
		SymmetricKeySN: s.SymmetricKeySN,
		SymmetricKey:   s.SymmetricKey,
		PrivateKey:     encodePEM("PRIVATE KEY", key),
		Certificates:   make(map[string]string),
	}
	for number, certificate := range s.Certificates {
		info.Certificates[number] = encodePEM("CERTIFICATE", certificate.Raw)
	}
	return info
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// revokeTokens makes the access_tokens handed out so far answer 40001.
func (d *Desk) revokeTokens(nothing) (nothing, error) {
	d.wechat.RevokeToken()
	return nothing{}, nil
}

// reset makes the fake what it was when it started.
func (d *Desk) reset(nothing) (nothing, error) {
	d.pushes.Lock()
	defer d.pushes.Unlock()
	d.wechat.Reset()
	d.wechat.PushTo("", nil)
	d.authorizers.Clear()
	d.journal.reset()
	return nothing{}, nil
}
