const phone = require('../../phone.js')

Page({
  data: {
    legacy: false, // the button hands out encryptedData and no code
    session: '', // of the backend, for the legacy flow
    loginFailed: false,
    sending: false,
    phone: '', // masked
  },

  onLoad() {
    this.backend = phone.connect(wx, getApp().baseURL)
    if (!phone.handsOutCodes(phone.baseLibrary(wx))) {
      this.setData({ legacy: true })
      this.login({ again: false })
    }
  },

  // login gets a session before the user can tap. The button is off meanwhile.
  login(options) {
    this.setData({ session: '', loginFailed: false })
    return this.backend.login(options).then((answer) => {
      if (answer.error) {
        this.say(answer.error)
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
    return this.send(phone.readCode(e.detail), (body) => this.backend.sendCode(body))
  },

  // onEncryptedData must not call wx.login before it sends: that may replace
  // the session_key with which the data was made.
  onEncryptedData(e) {
    const session = this.data.session
    return this.send(phone.readEncryptedData(e.detail), (body) => this.backend.sendEncryptedData(body, session))
  },

  send(tap, post) {
    if (tap.declined) {
      return Promise.resolve()
    }
    if (tap.error) {
      this.say(tap.error)
      return Promise.resolve()
    }
    this.setData({ sending: true })
    return post(tap.body).then((answer) => {
      this.setData({ sending: false })
      if (!answer.error) {
        this.setData({ phone: answer.phone })
        return undefined
      }
      this.say(answer.error)
      if (answer.error === 'login_again') {
        return this.login({ again: true }) // for the next tap
      }
      return undefined
    })
  },

  say(error) {
    wx.showToast({ title: phone.textOf(error), icon: 'none' })
  },
})
