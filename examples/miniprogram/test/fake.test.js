'use strict'

// node --test examples/miniprogram/test/fake.test.js

const assert = require('node:assert/strict')
const { test } = require('node:test')

const fake = require('../fake.js')

const fakeURL = 'http://127.0.0.1:8089'

// newWX answers requests with what answers has for their path.
function newWX({ envVersion = 'develop', answers = {} } = {}) {
  const wx = {
    requests: [],
    getAccountInfoSync: () => ({ miniProgram: { envVersion } }),
    login: ({ success }) => success({ code: 'of-wechat' }),
    request(options) {
      wx.requests.push({ url: options.url, data: options.data })
      const answer = answers[options.url]
      return answer ? options.success(answer) : options.fail({ errMsg: 'request:fail' })
    },
  }
  return wx
}

const login = (wx) => new Promise((success, fail) => { wx.login({ success, fail }) })

test('without an address, and in a release, WeChat is left as it is', () => {
  for (const [envVersion, url] of [['develop', ''], ['develop', undefined], ['trial', fakeURL], ['release', fakeURL]]) {
    const wx = newWX({ envVersion })
    const connected = fake.connect(wx, url)
    assert.equal(connected.wx, wx)
    const detail = { code: 'of-wechat' }
    assert.equal(connected.onCode(detail, (given) => given), detail)
    assert.equal(connected.onEncryptedData(detail, (given) => given), detail)
    assert.deepEqual(wx.requests, [])
  }
})

test('codes, encryptedData and logins are taken from the fake', async () => {
  const wx = newWX({
    answers: {
      [fakeURL + '/_fake/codes']: { statusCode: 200, data: { code: 'of-the-fake' } },
      [fakeURL + '/_fake/encrypted']: { statusCode: 200, data: { encryptedData: 'DATA', iv: 'IV' } },
      [fakeURL + '/_fake/login-codes']: { statusCode: 200, data: { code: 'login-of-the-fake' } },
    },
  })
  const connected = fake.connect(wx, fakeURL)
  for (const detail of [{ code: 'of-wechat' }, { errMsg: 'getPhoneNumber:fail no permission', errno: 102 }]) {
    assert.deepEqual(await connected.onCode(detail, (given) => given), { code: 'of-the-fake' })
  }
  assert.deepEqual(await connected.onEncryptedData({}, (given) => given), { encryptedData: 'DATA', iv: 'IV' })
  assert.deepEqual(await login(connected.wx), { code: 'login-of-the-fake' })
  assert.equal(connected.wx.request, wx.request)
  assert.equal(wx.requests[0].data.openid, wx.requests[3].data.openid)
})

test('a user who declines gets no code', async () => {
  const wx = newWX()
  const detail = { errMsg: 'getPhoneNumber:fail user deny' }
  assert.equal(await fake.connect(wx, fakeURL).onCode(detail, (given) => given), detail)
  assert.deepEqual(wx.requests, [])
})

test('a fake that does not answer, or refuses, is a failure', async () => {
  for (const answers of [{}, { [fakeURL + '/_fake/codes']: { statusCode: 400, data: { error: 'no' } } }]) {
    const connected = fake.connect(newWX({ answers }), fakeURL)
    const detail = await connected.onCode({ code: 'of-wechat' }, (given) => given)
    assert.equal(detail.code, undefined)
    await assert.rejects(login(connected.wx))
  }
})
