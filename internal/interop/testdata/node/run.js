'use strict'

// node run.js NAME makes the client of NAME.js, reads calls from standard input,
// and writes results to standard output, each a line of JSON.

const readline = require('readline')

// What a client logs must not stand among the results.
console.log = console.info = console.debug = console.error

const client = require('./' + process.argv[2])({
  baseURL: process.env.BASE_URL,
  appid: process.env.APPID,
  secret: process.env.SECRET,
  scratch: process.env.SCRATCH,
})

function answer(result) {
  process.stdout.write(JSON.stringify(result) + '\n')
}

// textOf says of an error what its client says. co-wechat-api has the errcode in
// a field.
function textOf(error) {
  return typeof error.code === 'number' ? 'errcode ' + error.code + ': ' + error.message : String(error.message)
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { call, arguments: given } = JSON.parse(line)
    if (!client[call]) {
      answer({ noCall: true })
      continue
    }
    try {
      answer({ value: await client[call](...given) })
    } catch (error) {
      answer({ error: textOf(error) })
    }
  }
}

main()
