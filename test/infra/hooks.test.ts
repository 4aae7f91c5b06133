import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { settingDefaults } from '../../src/settings/defaults.ts'
import { rootDir } from '../architecture/sources.ts'
import { hook, onWindows } from './hook-run.ts'

describe('after provisioning', () => {
  const limits = (count: number, renewalPeriod: number): string =>
    JSON.stringify([
      { key: 'token', count: 1_000, renewalPeriod: 60 },
      { key: 'request', count, renewalPeriod },
    ])

  test.each([
    [
      'says nothing to do where they agree',
      limits(1, 10),
      {},
      /allows 6 requests a minute, and IMAGE_RPM says so/,
    ],
    [
      'tells of more',
      limits(9, 60),
      {},
      /allows 9 .* IMAGE_RPM is 6\. .*unused.*\n\n {2}azd env set IMAGE_RPM 9\n {2}azd provision/,
    ],
    [
      'tells of less',
      limits(1, 30),
      { IMAGE_RPM: '6', MODEL_ACCOUNT_IDS: '/subscriptions/a' },
      /allows 2 .* IMAGE_RPM is 6\. .*429.*\n\n {2}azd env set IMAGE_RPM 2\n/,
    ],
    [
      'offers more units first where the deployment is ours',
      limits(6, 60),
      { IMAGE_RPM: '40', IMAGE_CAPACITY: '2' },
      /429.*\n\n {2}azd env set IMAGE_CAPACITY 14\n {2}azd provision\n\nasks .*quota.*\n\n {2}azd env set IMAGE_RPM 6\n/,
    ],
    [
      'offers as many units as may be set',
      limits(6, 60),
      { IMAGE_RPM: '60000', IMAGE_CAPACITY: '1' },
      /\n {2}azd env set IMAGE_CAPACITY 10000\n/,
    ],
    [
      'offers no more than those, which its own check would refuse',
      limits(6, 60),
      { IMAGE_RPM: '60000', IMAGE_CAPACITY: '2' },
      /^(?!.*IMAGE_CAPACITY).*429.*\n\n {2}azd env set IMAGE_RPM 6\n/s,
    ],
    ['asks for whole numbers', limits(1.25, 10), {}, /allows 7\.5 .*azd env set IMAGE_RPM 7\n/s],
    ['says where Azure does not tell', '[]', {}, /does not tell.*IMAGE_RPM is 6: compare/],
    ['says so too where there is nothing', '', {}, /does not tell/],
    ['and where it is no JSON', '{', {}, /does not tell/],
  ])('%s', async (_, told, env, wanted) => {
    const { code, text, asked } = await hook('postprovision', { DARKROOM_RATE_LIMITS: told, ...env })
    expect([code, asked]).toEqual([0, []])
    expect(text).toMatch(wanted)
  })

  test('is silent where several deployments have their own', async () => {
    expect((await hook('postprovision', { IMAGE_DEPLOYMENTS: '[{"name":"a","rpm":6}]' })).text).toBe('')
  })
})

describe('after deploying', () => {
  async function serving(answer: RequestListener, use: (endpoint: string) => Promise<void>): Promise<void> {
    const server = createServer(answer)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const address = server.address()
      await use(`http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`)
    } finally {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }

  test('it waits until the service answers, and says where, what to try, and how long images take', async () => {
    const asked: (string | undefined)[] = []
    const answer: RequestListener = ({ url }, response) => {
      asked.push(url)
      if (asked.length === 1) response.statusCode = 404
      response.end(asked.length === 2 ? '<html>Your app is up</html>' : '{"status":"ok","stopped":[]}')
    }
    await serving(answer, async (endpoint) => {
      const env = { DARKROOM_ENDPOINT: endpoint, DARKROOM_WAIT_SECONDS: '20' }
      const { code, text } = await hook('postdeploy', env)
      expect(code).toBe(0)
      expect(text).toContain(`Darkroom answers at ${endpoint}.\n`)
      expect(text).toContain(`curl -s ${endpoint}/v1/jobs -H "authorization: Bearer KEY"`)
      // 1,000 images at 6 a minute and 98 % of it.
      expect(text).toContain('The limit in force is 6 requests a minute: 1,000 images take 2 h 51 min.')
    })
    expect(asked).toEqual(['/healthz', '/healthz', '/healthz'])
  })

  test('what it tells to try is what the service takes', async () => {
    await serving(
      (_, response) => response.end('{"status":"ok","stopped":[]}'),
      async (endpoint) => {
        const { text } = await hook('postdeploy', { DARKROOM_ENDPOINT: endpoint })
        const body = /-d "((?:[^"\\]|\\")*)"/.exec(text)?.[1]?.replaceAll('\\"', '"') ?? ''
        expect(JSON.parse(body)).toEqual({ prompt: expect.any(String), batch: 'animals', custom_id: 'fox' })
      },
    )
  })

  test('on Windows it is told for PowerShell and for cmd', async () => {
    await serving(
      (_, response) => response.end('{"status":"ok","stopped":[]}'),
      async (endpoint) => {
        const { text } = await hook('postdeploy', { DARKROOM_ENDPOINT: endpoint, ...onWindows })
        const [, body = ''] =
          / {2}Invoke-RestMethod \S+\/v1\/jobs -Method Post .* -Body '(.*)'$/m.exec(text) ?? []
        expect(JSON.parse(body)).toEqual({ prompt: expect.any(String), batch: 'animals', custom_id: 'fox' })
        expect(text).toContain(`  curl.exe -s ${endpoint}/v1/jobs -H "authorization: Bearer KEY"`)
        expect(text).not.toMatch(/^ {2}curl /m)
        expect(text).toContain('npm.cmd run key -- NAME --azd')
      },
    )
    expect((await hook('preprovision', onWindows)).text).toContain('npm.cmd run key -- NAME --azd')
  })

  test('several deployments are paced together, those of one group once', async () => {
    const list = [
      { name: 'a', rpm: 60 },
      { name: 'b', rpm: 30, quota_group: 'us' },
      { name: 'c', rpm: 30, quota_group: 'us' },
    ]
    await serving(
      (_, response) => response.end('{"status":"ok","stopped":[]}'),
      async (endpoint) => {
        const env = { DARKROOM_ENDPOINT: endpoint, IMAGE_DEPLOYMENTS: JSON.stringify(list), PACE: '0.5' }
        expect((await hook('postdeploy', env)).text).toContain(
          '90 requests a minute: 1,000 images take 23 min',
        )
      },
    )
  })

  test('a deployment of the model that is stopped is told', async () => {
    const body = '{"status":"degraded","stopped":[{"deployment":"gpt-image-2","code":"401"}]}'
    await serving(
      (_, response) => response.end(body),
      async (endpoint) => {
        const { code, text } = await hook('postdeploy', { DARKROOM_ENDPOINT: endpoint })
        expect([code, text]).toEqual([
          0,
          expect.stringContaining('is stopped: {"deployment":"gpt-image-2","code":"401"}'),
        ])
      },
    )
  })

  test('a service that does not get well is waited for no longer than it should, and its last words are told', async () => {
    const refused = '{"error":{"message":"1 of the settings cannot be used"}}'
    const answer: RequestListener = (_, response) => {
      response.statusCode = 500
      response.end(refused)
    }
    await serving(answer, async (endpoint) => {
      const began = performance.now()
      const { code, text } = await hook('postdeploy', {
        DARKROOM_ENDPOINT: endpoint,
        DARKROOM_WAIT_SECONDS: '1',
      })
      expect(code).toBe(1)
      expect(text).toContain(`gave no 200 within 1 s. Its last answer:\n\n  500 ${refused}`)
      expect(text).toContain('docs/deploy.md')
      // Not the five seconds between two looks.
      expect(performance.now() - began).toBeLessThan(4_500)
    })
  })

  test('nor one that is not there', async () => {
    const { code, text } = await hook('postdeploy', {
      DARKROOM_ENDPOINT: 'http://127.0.0.1:1',
      DARKROOM_WAIT_SECONDS: '1',
    })
    expect([code, text]).toEqual([1, expect.stringMatching(/Its last answer:\n\n {2}\S/)])
  })

  test('without an address it says what to run', async () => {
    const { code, text } = await hook('postdeploy')
    expect([code, text]).toEqual([1, expect.stringContaining('Run azd provision first')])
  })
})

describe('after taking down', () => {
  test.each([
    ['', '1'],
    ['1', '2'],
    ['9', '10'],
  ])('the next names are others: %s, then %s', async (generation, next) => {
    const { code, asked } = await hook('postdown', { NAME_GENERATION: generation })
    expect([code, asked]).toEqual([0, [['env', 'set', 'NAME_GENERATION', next, '--environment', 'studio']]])
  })

  test.each(['x', 'NaN', '-1'])('what is no number is not counted up: %s', async (generation) => {
    const { code, text, asked } = await hook('postdown', { NAME_GENERATION: generation })
    expect([code, asked]).toEqual([1, []])
    expect(text).toMatch(
      new RegExp(
        `NAME_GENERATION: found ${generation}; wanted a whole number.*azd env set NAME_GENERATION 1`,
        's',
      ),
    )
  })

  test('where azd cannot keep that, a person is told to', async () => {
    const { code, text } = await hook('postdown', { STUB_AZD_FAILS: 'ERROR: read-only' })
    expect([code, text]).toEqual([
      1,
      expect.stringMatching(/ERROR: read-only.*run: azd env set NAME_GENERATION 1/s),
    ])
  })
})

test('the pace that the hooks reckon with is that of the service', () => {
  const text = readFileSync(join(rootDir, 'infra/hooks/limits.js'), 'utf8')
  expect(text).toContain(`const usualPace = ${settingDefaults.PACE}\n`)
})
