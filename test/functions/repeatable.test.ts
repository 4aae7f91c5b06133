import { expect, test } from 'vitest'
import '../../src/functions/http.ts'
import { routes } from '../../src/functions/route.ts'

test('only the steps of an upload may be sent again after a failure of ours: no other POST is without harm', () => {
  const repeatable = routes.filter(({ isRepeatable }) => isRepeatable === true)
  expect(repeatable.map(({ method, name }) => [method, name])).toEqual([
    ['POST', 'post-upload'],
    ['POST', 'post-upload-part'],
    ['POST', 'complete-upload'],
    ['POST', 'cancel-upload'],
  ])
})
