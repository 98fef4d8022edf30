'use strict'

// Clients that hand WeChat's answer on as it is leave it to their caller to look
// at the errcode. ok does what such a caller does.
exports.ok = function (answer) {
  if (answer.errcode) {
    throw new Error(JSON.stringify(answer))
  }
  return answer
}
