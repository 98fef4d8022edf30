'use strict'

require('reflect-metadata')
const { WeChatService } = require('nest-wechat')
const { ok } = require('./refused')

// nest-wechat has WeChat's URLs in its code; see weixin.js.
module.exports = ({ appid, secret }) => {
  const service = new WeChatService({ appId: appid, secret })
  return {
    classic: async () => ok((await service.mp.getAccessToken()).data).access_token,
    stable: async () => ok(await service.getStableAccessToken()).access_token,
    number: async (code) => ok((await service.mp.getPhoneNumber(code, await service.getToken())).data).phone_info.phoneNumber,
    login: async (code) => ok(await service.mp.code2Session(code)),
  }
}
