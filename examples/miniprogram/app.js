App({
  // The domain of your backend, which must be a request domain of the
  // mini-program. examples/server answers this mini-program.
  baseURL: 'https://example.com',

  // For development: the address of "wxphone fake", 'http://127.0.0.1:8089', from
  // which codes are then taken. Switch off the check of request domains in the
  // developer tools.
  fakeURL: '',
})
