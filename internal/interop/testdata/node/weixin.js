'use strict'

// With node --require, this leads connections to WeChat's domain to a server on
// this machine, as an entry in the hosts file would. The clients do not notice,
// and check its certificate.

const tls = require('tls')

const connect = tls.connect
tls.connect = (options, ...rest) => {
  if (options.host !== 'api.weixin.qq.com') {
    throw new Error('a client asks for ' + options.host)
  }
  return connect({ ...options, host: '127.0.0.1', port: Number(process.env.WEIXIN_PORT) }, ...rest)
}
