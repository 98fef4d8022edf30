// Package interop runs other SDKs' clients, unmodified, against "wxphone fake".
// They are witnesses that the fake is what WeChat is to programs that know
// nothing of it. It has tests only.
//
// From Go there is silenceper/wechat. From npm there are co-wechat-api,
// node-easywechat and nest-wechat, in the versions of testdata/node/package.json;
// the tests install them with npm and drive each in a node process of its own.
// Where there is no npm, those are skipped, but not if CI is set.
//
// A client that can be told another base URL is. The others keep asking for
// WeChat's own domain over TLS: in their process it leads to a server with a
// certificate made for the test, which passes requests on to the fake.
//
// What each client does is the table in docs/fake.md, which the tests compare
// with what they saw. Where a client is broken, its test says so.
package interop
