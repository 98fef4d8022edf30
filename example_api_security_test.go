package wxphone_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// console is what the mini-program console shows and lets you download under
// 开发管理, 开发设置, API 安全. Keep it where you keep the AppSecret.
type console struct {
	symmetricKeySN, symmetricKey      string // base64, as shown
	privateKeyPEM                     string // of the key pair whose public half you uploaded
	certificateNumber, certificatePEM string // WeChat's certificate
}

// security reads the keys once, at the start of the program.
func (c console) security() (wxphone.APISecurity, error) {
	privateKey, err := parsePrivateKey(c.privateKeyPEM)
	if err != nil {
		return wxphone.APISecurity{}, err
	}
	block, _ := pem.Decode([]byte(c.certificatePEM))
	if block == nil {
		return wxphone.APISecurity{}, errors.New("the certificate is not PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return wxphone.APISecurity{}, err
	}
	return wxphone.APISecurity{
		SymmetricKeySN: c.symmetricKeySN,
		SymmetricKey:   c.symmetricKey,
		PrivateKey:     privateKey,
		// While WeChat changes its certificate, have the new one here too.
		Certificates: map[string]*x509.Certificate{c.certificateNumber: certificate},
	}, nil
}

// parsePrivateKey takes the PEM of openssl genrsa, old and new.
func parsePrivateKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the private key is not PEM")
	}
	if block.Type == "RSA PRIVATE KEY" {
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key does not sign")
	}
	return signer, nil
}

func ExampleWithAPISecurity() {
	wechat, values, err := securedAccount()
	if err != nil {
		log.Fatal(err)
	}
	security, err := values.security()
	if err != nil {
		log.Fatal(err)
	}
	client, err := wxphone.New(wechat.AppID(), wechat.Secret(),
		wxphone.WithAPISecurity(security),
		wxphone.WithHTTPClient(wechat.HTTPClient()), // a deployed program leaves this out
	)
	if err != nil {
		log.Fatal(err) // a key that cannot be right
	}

	code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"})
	phone, err := client.GetPhoneNumber(context.Background(), code)
	fmt.Println(phone, err)

	// Whoever forgets the option is told so.
	plain, err := wxphone.New(wechat.AppID(), wechat.Secret(), wxphone.WithHTTPClient(wechat.HTTPClient()))
	if err != nil {
		log.Fatal(err)
	}
	_, err = plain.GetPhoneNumber(context.Background(), code)
	fmt.Println(errors.Is(err, wxphone.ErrAPISecurity))
	// Output:
	// +86 138****0000 <nil>
	// true
}

// securedAccount is a fake WeChat and its console.
func securedAccount() (*wxphonetest.Server, console, error) {
	wechat, err := wxphonetest.Start(wxphonetest.WithAPISecurity())
	if err != nil {
		return nil, console{}, err
	}
	keys := wechat.APISecurity()
	der, err := x509.MarshalPKCS8PrivateKey(keys.PrivateKey)
	if err != nil {
		return nil, console{}, err
	}
	values := console{symmetricKeySN: keys.SymmetricKeySN, symmetricKey: keys.SymmetricKey}
	values.privateKeyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for number, certificate := range keys.Certificates {
		values.certificateNumber = number
		values.certificatePEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
	}
	return wechat, values, nil
}
