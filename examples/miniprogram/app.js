App({
  // The domain of your backend, which must be a request domain of the
  // mini-program. examples/server answers this mini-program.
  baseURL: 'https://example.com',
})
