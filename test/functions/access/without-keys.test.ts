import { withoutKeys } from './service.ts'
import { walk } from './walk.ts'

walk({
  isKeyed: false,
  askers: withoutKeys,
  strangers: [
    {
      name: 'another machine',
      headers: { 'x-forwarded-host': 'studio.example.com' },
      status: 403,
      code: 'loopback_only',
      isLetIn: false,
    },
    {
      name: 'a web page of another place',
      headers: { origin: 'https://evil.example.com' },
      status: 403,
      code: 'cross_origin',
      isLetIn: false,
    },
  ],
})
