'use strict'

const API = require('co-wechat-api')
const { postJSON } = require('co-wechat-api/lib/util')

// co-wechat-api has no call for the phone number. This is how its documentation
// has users add one.
API.mixin({
  async getPhoneNumber(code) {
    const { accessToken } = await this.ensureAccessToken()
    return this.request(this.wxaPrefix + 'business/getuserphonenumber?access_token=' + accessToken, postJSON({ code }))
  },
})

module.exports = ({ baseURL, appid, secret }) => {
  const api = new API(appid, secret)
  api.prefix = baseURL + '/cgi-bin/'
  api.snsPrefix = baseURL + '/sns/'
  api.wxaPrefix = baseURL + '/wxa/'
  return {
    classic: async () => (await api.getAccessToken()).accessToken,
    number: async (code) => (await api.getPhoneNumber(code)).phone_info.phoneNumber,
    login: (code) => api.code2Session(code),
  }
}
