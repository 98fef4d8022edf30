const fake = require('../../fake.js')
const phone = require('../../phone.js')

Page({
  data: {
    legacy: false, // the button hands out encryptedData and no code
    session: '', // of the backend
    loginFailed: false,
    sending: false,
    phone: '', // masked
  },

  onLoad() {
    this.fake = fake.connect(wx, getApp().fakeURL)
    this.backend = phone.connect(this.fake.wx, getApp().baseURL)
    this.setData({ legacy: !phone.handsOutCodes(phone.baseLibrary(wx)) })
    this.login({ again: false })
  },

  // login gets a session before the user can tap: the backend saves the number
  // for its user. The buttons are off meanwhile.
  login(options) {
    this.setData({ session: '', loginFailed: false })
    return this.backend.login(options).then((answer) => {
      if (answer.step !== 'done') {
        this.say(answer.step)
        this.setData({ loginFailed: true })
        return
      }
      this.setData({ session: answer.session })
    })
  },

  onLogin() {
    return this.login({ again: true })
  },

  // onCode is for both buttons that hand out a code.
  onCode(e) {
    return this.fake.onCode(e.detail, (detail) => (
      this.send(phone.readCode(detail), this.backend.sendCode)))
  },

  // onEncryptedData must not call wx.login before it sends: that may replace
  // the session_key with which the data was made.
  onEncryptedData(e) {
    return this.fake.onEncryptedData(e.detail, (detail) => (
      this.send(phone.readEncryptedData(detail), this.backend.sendEncryptedData)))
  },

  send(tap, post) {
    if (tap.declined) {
      return Promise.resolve()
    }
    if (tap.step) {
      this.say(tap.step)
      return Promise.resolve()
    }
    this.setData({ sending: true })
    return post(tap.body, this.data.session).then((answer) => {
      this.setData({ sending: false })
      if (answer.step === 'done') {
        this.setData({ phone: answer.phone })
        return undefined
      }
      this.say(answer.step)
      if (answer.step === 'log_in') {
        return this.login({ again: true }) // for the next tap
      }
      return undefined
    })
  },

  say(step) {
    wx.showToast({ title: phone.textOf(step), icon: 'none' })
  },
})
