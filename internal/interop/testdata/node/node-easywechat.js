'use strict'

const { MiniApp } = require('node-easywechat')
const { ok } = require('./refused')

module.exports = ({ baseURL, appid, secret, scratch }) => {
  const make = (stable) => new MiniApp({
    app_id: appid,
    secret,
    use_stable_access_token: stable,
    file_cache: { path: scratch },
    http: { baseURL: baseURL + '/' },
  })
  const app = make(true)
  const post = async (path, body) => ok((await app.getClient().postJson(path, body)).toObject())
  return {
    classic: () => make(false).getAccessToken().getToken(),
    stable: () => make(true).getAccessToken().getToken(),
    number: async (code) => (await post('/wxa/business/getuserphonenumber', { code })).phone_info.phoneNumber,
    login: (code) => app.getUtils().codeToSession(code),
    decrypt: async (key, data, iv) => app.getUtils().decryptSession(key, iv, data).phoneNumber,
    check: async (hash) => (await post('/wxa/business/checkencryptedmsg', { encrypted_msg_hash: hash })).vaild,
  }
}
