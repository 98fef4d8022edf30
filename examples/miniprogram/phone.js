// What a mini-program needs to hand a phone number to its backend. wx is an
// argument everywhere, so that this file runs under node too: see test/.
//
// There is no async function and no new syntax here: who needs the legacy flow
// has an old WeChat.

// NO_QUOTA is the errno of an account whose quota of phone numbers is used up.
// The backend never hears of it, since there is no code then.
const NO_QUOTA = 1400001

// FIRST_WITH_CODES is the base library since which the button hands out codes.
const FIRST_WITH_CODES = '2.21.2'

const SESSION = 'wxphone-session' // its key in the storage

// SEND_AGAIN is how often a request is sent again, and PAUSE how many
// milliseconds before the first time; before the second it is twice that. A
// rate limit lasts to the end of the minute: the user then tries again later.
const SEND_AGAIN = 2
const PAUSE = 1000

// textOf says what the user can do. The steps are those of the backend, but for
// no_quota. "send_again" is said when sending again did not help.
function textOf(step) {
  switch (step) {
    case 'tap_again':
    case 'log_in': // the page logs in; what is left to do is a tap
      return 'Please tap again'
    case 'send_again':
      return 'Please try again later'
    case 'no_quota':
      return 'Not available at the moment'
    default:
      return 'This did not work'
  }
}

// readCode returns {body} to send, {declined: true} or {step}. It is for the
// detail of getPhoneNumber and of getRealtimePhoneNumber.
function readCode(detail) {
  return detail.code ? { body: { code: detail.code } } : readFailure(detail)
}

// readEncryptedData does the same for a button of the legacy flow.
function readEncryptedData(detail) {
  if (detail.encryptedData && detail.iv) {
    return { body: { encryptedData: detail.encryptedData, iv: detail.iv } }
  }
  return readFailure(detail)
}

function readFailure(detail) {
  if (detail.errno === NO_QUOTA) {
    return { step: 'no_quota' }
  }
  // "getPhoneNumber:fail user deny" and the like; the user knows already.
  if (/deny|denied|cancel/i.test(detail.errMsg || '')) {
    return { declined: true }
  }
  return { step: 'stop' }
}

// handsOutCodes tells whether the button of a base library hands out codes. Of
// an unknown version it is taken for granted: old ones are rare.
function handsOutCodes(version) {
  if (!version) {
    return true
  }
  const have = version.split('.').map(Number)
  const need = FIRST_WITH_CODES.split('.').map(Number)
  for (let i = 0; i < need.length; i++) {
    if (have[i] !== need[i]) {
      return !(have[i] < need[i])
    }
  }
  return true
}

// baseLibrary returns the version of the base library, as "2.21.2".
function baseLibrary(wx) {
  const info = wx.getAppBaseInfo ? wx.getAppBaseInfo() : wx.getSystemInfoSync()
  return info.SDKVersion
}

// connect returns the backend at baseURL. None of its promises is rejected:
// they resolve to the backend's answer, whose step is "done" if it succeeded.
function connect(wx, baseURL) {
  function postOnce(path, data, session) {
    const header = { 'content-type': 'application/json' }
    if (session) {
      header['X-Session'] = session // wx.request keeps no cookies
    }
    return new Promise((resolve) => {
      wx.request({
        url: baseURL + path,
        method: 'POST',
        header,
        data,
        timeout: 20000, // longer than the backend waits for WeChat
        success: (res) => resolve(answerOf(res)),
        fail: () => resolve({ step: 'send_again' }), // the answer may be lost on its way
      })
    })
  }

  // post sends the same request again when the backend says so or does not
  // answer. That wastes no code: the backend remembers what it redeemed.
  function post(path, data, session, sent = 0) {
    return postOnce(path, data, session).then((answer) => {
      if (answer.step !== 'send_again' || sent >= SEND_AGAIN) {
        return answer
      }
      return new Promise((resolve) => { setTimeout(resolve, PAUSE * (sent + 1)) })
        .then(() => post(path, data, session, sent + 1))
    })
  }

  // newSession redeems the code of wx.login, which is not the button's.
  function newSession() {
    wx.removeStorageSync(SESSION)
    return new Promise((resolve) => {
      wx.login({
        success: (res) => resolve(post('/login', { code: res.code })),
        fail: () => resolve({ step: 'send_again' }),
      })
    }).then((answer) => {
      if (answer.session) {
        wx.setStorageSync(SESSION, answer.session)
      }
      return answer
    })
  }

  let pending = null

  // login resolves to an answer with a session if it succeeded. It keeps a session that WeChat
  // calls current, because wx.login may replace its session_key. With again it
  // does not: the backend has refused that session.
  function login(options) {
    if (pending) {
      return pending // two logins at once would cut each other off
    }
    pending = new Promise((resolve) => {
      const session = wx.getStorageSync(SESSION)
      if (!session || options.again) {
        resolve(newSession())
        return
      }
      wx.checkSession({
        success: () => resolve({ step: 'done', session }),
        fail: () => resolve(newSession()),
      })
    }).then((answer) => {
      pending = null
      return answer
    })
    return pending
  }

  return {
    login,
    sendCode: (body, session) => post('/phone', body, session),
    sendEncryptedData: (body, session) => post('/phone/legacy', body, session),
  }
}

// answerOf reads the backend's answer. Success is a 200 with an object; a
// failure says the step to take, unless a gateway answered in the backend's
// place.
function answerOf(res) {
  const body = typeof res.data === 'object' && res.data !== null ? res.data : {}
  if (res.statusCode === 200) {
    return Object.assign({ step: 'done' }, body)
  }
  if (body.step) {
    return { step: body.step }
  }
  return { step: res.statusCode >= 502 ? 'send_again' : 'stop' }
}

module.exports = { textOf, readCode, readEncryptedData, handsOutCodes, baseLibrary, connect }
