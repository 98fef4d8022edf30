'use strict'

// node --test examples/miniprogram/test/phone.test.js

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')

const phone = require('../phone.js')

const root = path.join(__dirname, '..')
const read = (...names) => fs.readFileSync(path.join(root, ...names), 'utf8')

const codeTap = { errMsg: 'getPhoneNumber:ok', code: 'button-code', encryptedData: 'DATA', iv: 'IV', cloudID: 'CLOUD' }
const legacyTap = { errMsg: 'getPhoneNumber:ok', encryptedData: 'DATA', iv: 'IV' }
const denied = { errMsg: 'getPhoneNumber:fail user deny' }

// newWX is the little of wx that the page uses. answers maps a path to what the
// backend answers, in order; calls is all that was done, in order.
function newWX({ version = '3.8.0', answers = {}, storage = {}, sessionCurrent = true } = {}) {
  const wx = {
    calls: [],
    requests: [],
    toasts: [],
    storage,
    getAppBaseInfo: () => ({ SDKVersion: version }),
    getStorageSync: (key) => storage[key] || '',
    setStorageSync: (key, value) => { storage[key] = value },
    removeStorageSync: (key) => { delete storage[key] },
    showToast: ({ title }) => wx.toasts.push(title),
    login({ success }) {
      wx.calls.push('login')
      setImmediate(() => success({ code: 'login-code' }))
    },
    checkSession({ success, fail }) {
      wx.calls.push('checkSession')
      setImmediate(sessionCurrent ? success : fail)
    },
    request(options) {
      const { pathname } = new URL(options.url)
      wx.calls.push(pathname)
      wx.requests.push(options)
      const answer = (answers[pathname] || []).shift()
      setImmediate(() => (answer ? options.success(answer) : options.fail({ errMsg: 'request:fail' })))
    },
  }
  return wx
}

// openPage loads the page with this wx, as the base library would.
async function openPage(wx) {
  let page
  global.wx = wx
  global.getApp = () => ({ baseURL: 'https://example.com' })
  global.Page = (options) => { page = options }
  const file = require.resolve('../pages/phone/phone.js')
  delete require.cache[file]
  require(file)

  page.data = { ...page.data }
  page.setData = (values) => Object.assign(page.data, values)
  page.onLoad()
  await settled()
  return page
}

// The pauses before a request is sent again are short here.
const inEarnest = global.setTimeout
const pauses = []
global.setTimeout = (then, ms) => {
  pauses.push(ms)
  return inEarnest(then, 1)
}

// settled waits for all that the stub has under way.
const settled = () => new Promise((resolve) => { inEarnest(resolve, 30) })

const ok = (data) => ({ statusCode: 200, data })
const refused = (statusCode, step) => ({ statusCode, data: { step } })
const number = ok({ phone: '+86 138****0000', step: 'done' })
const kept = { 'wxphone-session': 'KEPT' } // a login of before

test('a tap is read', () => {
  assert.deepEqual(phone.readCode(codeTap), { body: { code: 'button-code' } })
  assert.deepEqual(phone.readEncryptedData(legacyTap), { body: { encryptedData: 'DATA', iv: 'IV' } })
  for (const readTap of [phone.readCode, phone.readEncryptedData]) {
    assert.deepEqual(readTap(denied), { declined: true })
    assert.deepEqual(readTap({ errMsg: 'getPhoneNumber:fail:user cancel' }), { declined: true })
    assert.deepEqual(readTap({ errMsg: 'getPhoneNumber:fail', errno: 1400001 }), { step: 'no_quota' })
    assert.deepEqual(readTap({ errMsg: 'getPhoneNumber:fail no permission' }), { step: 'stop' })
    assert.deepEqual(readTap({}), { step: 'stop' })
  }
})

test('base libraries before 2.21.2 hand out no codes', () => {
  for (const version of ['2.21.2', '2.21.10', '2.22.0', '3.0.0', '10.0.0', '', undefined]) {
    assert.equal(phone.handsOutCodes(version), true, version)
  }
  for (const version of ['2.21.1', '2.9.3', '1.9.90']) {
    assert.equal(phone.handsOutCodes(version), false, version)
  }
  assert.equal(phone.baseLibrary({ getSystemInfoSync: () => ({ SDKVersion: '2.10.0' }) }), '2.10.0')
})

test('the code goes to the backend as JSON, with the session', async () => {
  const wx = newWX({ storage: { ...kept }, answers: { '/phone': [number] } })
  const page = await openPage(wx)
  await page.onCode({ detail: codeTap })

  assert.deepEqual(wx.calls, ['checkSession', '/phone'])
  const [request] = wx.requests
  assert.equal(request.url, 'https://example.com/phone')
  assert.equal(request.method, 'POST')
  assert.equal(request.header['content-type'], 'application/json')
  assert.equal(request.header['X-Session'], 'KEPT')
  assert.deepEqual(request.data, { code: 'button-code' })
  assert.equal(page.data.phone, '+86 138****0000')
  assert.equal(page.data.sending, false)
  assert.deepEqual(wx.toasts, [])
})

test('the buttons are off while a code is on its way', async () => {
  const page = await openPage(newWX({ storage: { ...kept }, answers: { '/phone': [number] } }))
  const sent = page.onCode({ detail: codeTap })
  assert.equal(page.data.sending, true)
  await sent
  assert.equal(page.data.sending, false)
})

test('a user who declines is left alone', async () => {
  const wx = newWX({ storage: { ...kept } })
  const page = await openPage(wx)
  await page.onCode({ detail: denied })
  assert.deepEqual(wx.calls, ['checkSession'])
  assert.deepEqual(wx.toasts, [])
})

test('a used-up quota is said, and nothing is sent', async () => {
  const wx = newWX({ storage: { ...kept } })
  const page = await openPage(wx)
  await page.onCode({ detail: { errMsg: 'getPhoneNumber:fail', errno: 1400001 } })
  assert.deepEqual(wx.calls, ['checkSession'])
  assert.deepEqual(wx.toasts, ['Not available at the moment'])
})

test('failures are said, and only send_again is repeated', async () => {
  const tests = [
    [refused(400, 'tap_again'), 1, 'Please tap again'],
    [refused(500, 'stop'), 1, 'This did not work'],
    [refused(418, 'a step of tomorrow'), 1, 'This did not work'],
    [{ statusCode: 404, data: '404 page not found' }, 1, 'This did not work'],
    [refused(503, 'send_again'), 3, 'Please try again later'],
    [{ statusCode: 502, data: '<html>' }, 3, 'Please try again later'],
    [undefined, 3, 'Please try again later'], // no connection
  ]
  for (const [answer, times, toast] of tests) {
    const wx = newWX({ storage: { ...kept }, answers: { '/phone': Array(times).fill(answer) } })
    const page = await openPage(wx)
    pauses.length = 0
    await page.onCode({ detail: codeTap })
    assert.deepEqual(wx.calls, ['checkSession', ...Array(times).fill('/phone')])
    assert.deepEqual(pauses, [1000, 2000].slice(0, times - 1))
    assert.deepEqual(wx.toasts, [toast])
    assert.equal(page.data.sending, false)
  }
})

test('what is sent again is the same code, and its number is shown', async () => {
  const wx = newWX({ storage: { ...kept }, answers: { '/phone': [undefined, refused(503, 'send_again'), number] } })
  const page = await openPage(wx)
  await page.onCode({ detail: codeTap })
  assert.equal(wx.requests.length, 3)
  for (const request of wx.requests) {
    assert.deepEqual(request.data, { code: 'button-code' })
    assert.equal(request.header['X-Session'], 'KEPT')
  }
  assert.equal(page.data.phone, '+86 138****0000')
  assert.deepEqual(wx.toasts, [])
})

test('log_in logs in for the next tap', async () => {
  const wx = newWX({
    storage: { 'wxphone-session': 'EXPIRED' },
    answers: { '/phone': [refused(401, 'log_in'), number], '/login': [ok({ session: 'NEW' })] },
  })
  const page = await openPage(wx)
  await page.onCode({ detail: codeTap })
  assert.deepEqual(wx.toasts, ['Please tap again'])
  await page.onCode({ detail: codeTap })
  assert.deepEqual(wx.calls, ['checkSession', '/phone', 'login', '/login', '/phone'])
  assert.equal(wx.requests[2].header['X-Session'], 'NEW')
  assert.equal(page.data.phone, '+86 138****0000')
})

test('legacy: the login comes before the tap, never after it', async () => {
  const wx = newWX({
    version: '2.21.1',
    answers: { '/login': [ok({ session: 'SESSION' })], '/phone/legacy': [number] },
  })
  const page = await openPage(wx)
  assert.equal(page.data.legacy, true)
  assert.equal(page.data.session, 'SESSION')
  assert.deepEqual(wx.requests[0].data, { code: 'login-code' })

  await page.onEncryptedData({ detail: legacyTap })
  assert.deepEqual(wx.calls, ['login', '/login', '/phone/legacy'])
  assert.deepEqual(wx.requests[1].data, { encryptedData: 'DATA', iv: 'IV' })
  assert.equal(wx.requests[1].header['X-Session'], 'SESSION')
  assert.equal(page.data.phone, '+86 138****0000')
})

test('legacy: no tap while the login is under way', async () => {
  const page = await openPage(newWX({ version: '2.21.1', answers: { '/login': [ok({ session: 'SESSION' })] } }))
  const login = page.login({ again: true })
  assert.equal(page.data.session, '') // which switches the button off
  await login
})

test('legacy: a session that WeChat calls current is kept', async () => {
  const wx = newWX({ version: '2.21.1', storage: { 'wxphone-session': 'KEPT' } })
  const page = await openPage(wx)
  assert.deepEqual(wx.calls, ['checkSession'])
  assert.equal(page.data.session, 'KEPT')
})

test('legacy: a session that WeChat calls stale is replaced', async () => {
  const wx = newWX({
    version: '2.21.1',
    sessionCurrent: false,
    storage: { 'wxphone-session': 'STALE' },
    answers: { '/login': [ok({ session: 'NEW' })] },
  })
  const page = await openPage(wx)
  assert.deepEqual(wx.calls, ['checkSession', 'login', '/login'])
  assert.equal(page.data.session, 'NEW')
  assert.equal(wx.storage['wxphone-session'], 'NEW')
})

test('legacy: log_in logs in for the next tap', async () => {
  const wx = newWX({
    version: '2.21.1',
    storage: { 'wxphone-session': 'EXPIRED' },
    answers: {
      '/phone/legacy': [refused(401, 'log_in'), number],
      '/login': [ok({ session: 'NEW' })],
    },
  })
  const page = await openPage(wx)
  await page.onEncryptedData({ detail: legacyTap })
  assert.deepEqual(wx.toasts, ['Please tap again'])
  assert.equal(page.data.session, 'NEW')

  await page.onEncryptedData({ detail: legacyTap })
  assert.deepEqual(wx.calls, ['checkSession', '/phone/legacy', 'login', '/login', '/phone/legacy'])
  assert.equal(wx.requests[2].header['X-Session'], 'NEW')
  assert.equal(page.data.phone, '+86 138****0000')
})

test('legacy: tap_again does not log in', async () => {
  const wx = newWX({
    version: '2.21.1',
    storage: { 'wxphone-session': 'KEPT' },
    answers: { '/phone/legacy': [refused(400, 'tap_again')] },
  })
  const page = await openPage(wx)
  await page.onEncryptedData({ detail: legacyTap })
  assert.deepEqual(wx.calls, ['checkSession', '/phone/legacy'])
  assert.equal(page.data.session, 'KEPT')
})

test('legacy: a login that fails leaves the button off until the next try', async () => {
  const answers = { '/login': [undefined, undefined, undefined, ok({ session: 'SESSION' })] } // first the backend cannot be reached
  const wx = newWX({ version: '2.21.1', answers })
  const page = await openPage(wx)
  assert.deepEqual(wx.toasts, ['Please try again later'])
  assert.equal(page.data.session, '')
  assert.equal(page.data.loginFailed, true)

  await page.onLogin()
  assert.equal(page.data.session, 'SESSION')
  assert.equal(page.data.loginFailed, false)

  const failing = newWX()
  failing.login = ({ fail }) => setImmediate(fail)
  assert.deepEqual(await phone.connect(failing, 'https://example.com').login({ again: false }), { step: 'send_again' })
})

test('logins at the same time are one', async () => {
  const wx = newWX({ answers: { '/login': [ok({ session: 'ONE' }), ok({ session: 'TWO' })] } })
  const backend = phone.connect(wx, 'https://example.com')
  const both = await Promise.all([backend.login({ again: false }), backend.login({ again: true })])
  assert.deepEqual(both, [{ step: 'done', session: 'ONE' }, { step: 'done', session: 'ONE' }])
  assert.deepEqual(await backend.login({ again: true }), { step: 'done', session: 'TWO' })
})

test('the page has every handler that its WXML names', async () => {
  const page = await openPage(newWX())
  const wxml = read('pages', 'phone', 'phone.wxml')
  const handlers = [...wxml.matchAll(/bind\w+="(\w+)"/g)].map((match) => match[1])
  assert.deepEqual(handlers, ['onCode', 'onCode', 'onEncryptedData', 'onLogin'])
  for (const handler of handlers) {
    assert.equal(typeof page[handler], 'function', handler)
  }
  for (const [, name] of wxml.matchAll(/{{!?(\w+)/g)) {
    assert.ok(name in page.data || name === 'false', name)
  }
})

test('the JSON files are JSON, and app.json names the page', () => {
  const { pages } = JSON.parse(read('app.json'))
  for (const page of pages) {
    for (const type of ['js', 'wxml', 'json']) {
      assert.ok(fs.existsSync(path.join(root, `${page}.${type}`)), `${page}.${type}`)
    }
  }
  JSON.parse(read('pages', 'phone', 'phone.json'))
  JSON.parse(read('project.config.json'))
})

test('every step of the backend has a text of its own', () => {
  const source = read('..', '..', 'next_step.go')
  const steps = [...source.matchAll(/^\tStep\w+ +Step = "(\w+)"/gm)].map((match) => match[1])
  assert.deepEqual(steps, ['done', 'send_again', 'tap_again', 'log_in', 'stop'])
  const unknown = phone.textOf('a step of tomorrow')
  for (const step of steps) {
    assert.equal(phone.textOf(step) === unknown, step === 'stop' || step === 'done', step)
  }
})
