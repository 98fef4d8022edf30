// For development: takes codes from a fake WeChat, "wxphone fake", in place of
// WeChat's own. The backend then needs no account either. It asks the fake:
//
//   go run github.com/wxphone/wxphone/cmd/wxphone@latest fake
//
// app.js has the switch. It is heeded in a development version only, so that
// a release cannot ask for it. wx is an argument, as in phone.js.

const { readCode } = require('./phone.js')

// The user who taps.
const USER = { openid: 'openid-of-alice' }
const NUMBER = { phoneNumber: '13800000000', openid: USER.openid }

// connect returns the wx to use, and what to do about a tap.
function connect(wx, fakeURL) {
  if (!fakeURL || !isDevelopmentVersion(wx)) {
    return { wx, onCode: (detail, next) => next(detail), onEncryptedData: (detail, next) => next(detail) }
  }

  // ask resolves to what the fake hands out, or to null.
  function ask(path, data) {
    return new Promise((resolve) => {
      wx.request({
        url: fakeURL + '/_fake/' + path,
        method: 'POST',
        header: { 'content-type': 'application/json' },
        data,
        success: (res) => resolve(res.statusCode === 200 ? res.data : null),
        fail: () => resolve(null),
      })
    })
  }

  // instead hands next a detail of the fake's. A user who declines is left alone;
  // any other failure of the button is that of an account without permission.
  function instead(path) {
    return (detail, next) => {
      if (readCode(detail).declined) {
        return Promise.resolve(next(detail))
      }
      return ask(path, NUMBER).then((given) => next(given || { errMsg: 'the fake does not answer' }))
    }
  }

  const login = ({ success, fail }) => ask('login-codes', USER)
    .then((given) => (given ? success(given) : fail({ errMsg: 'the fake does not answer' })))
  return {
    wx: Object.assign(Object.create(wx), { login }),
    onCode: instead('codes'),
    onEncryptedData: instead('encrypted'),
  }
}

function isDevelopmentVersion(wx) {
  return wx.getAccountInfoSync().miniProgram.envVersion === 'develop'
}

module.exports = { connect }
