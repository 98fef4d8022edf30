'use strict'

// The development switch of examples/miniprogram, with a wx whose requests are
// those of WeChat's developer tools.

const path = require('path')
const fake = require(path.join(process.env.MINI_PROGRAM, 'fake.js'))

module.exports = ({ baseURL, appid }) => {
  const wx = {
    getAccountInfoSync: () => ({ miniProgram: { envVersion: 'develop' } }),
    request({ url, method, header, data, success, fail }) {
      const headers = { ...header, origin: 'https://servicewechat.com', referer: `https://servicewechat.com/${appid}/devtools/page-frame.html` }
      fetch(url, { method, headers, body: JSON.stringify(data) })
        .then(async (res) => success({ statusCode: res.status, data: await res.json() }))
        .catch(fail)
    },
  }
  const connected = fake.connect(wx, baseURL)
  const denied = { errMsg: 'getPhoneNumber:fail no permission', errno: 102 }
  return {
    tap: () => connected.onCode(denied, (detail) => detail.code),
    sealed: () => connected.onEncryptedData(denied, (detail) => detail),
    loginCode: () => new Promise((success, fail) => { connected.wx.login({ success: (given) => success(given.code), fail }) }),
  }
}
