import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readSettings } from '../../src/settings.ts'
import { settingDefaults } from '../../src/settings/defaults.ts'
import { rootDir } from '../architecture/sources.ts'

let dir: string

/** An azd that writes down what it was asked, and fails where STUB_AZD_FAILS says why. */
const stub = `#!${process.execPath}
const { appendFileSync } = require('node:fs')
if (process.env.STUB_AZD_FAILS) {
  console.error(process.env.STUB_AZD_FAILS)
  process.exit(1)
}
appendFileSync(process.env.STUB_AZD_LOG, JSON.stringify(process.argv.slice(2)) + '\\n')
`

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'darkroom-hooks-'))
  await writeFile(join(dir, 'azd'), stub)
  await chmod(join(dir, 'azd'), 0o755)
})

afterEach(async () => {
  await rm(dir, { recursive: true })
})

type Run = { readonly code: number; readonly text: string; readonly asked: readonly (readonly string[])[] }

/** As azd runs one: in its own folder, with azd's environment as variables. */
async function hook(name: string, env: Readonly<Record<string, string>> = {}): Promise<Run> {
  const cwd = join(rootDir, 'infra/hooks')
  const log = join(dir, 'log')
  const variables = { PATH: dir, AZURE_ENV_NAME: 'studio', STUB_AZD_LOG: log, ...env }
  return new Promise<Run>((resolve, reject) => {
    execFile(
      process.execPath,
      [join(cwd, `${name}.js`)],
      { cwd, env: variables },
      (error, output, errors) => {
        if (error !== null && typeof error.code !== 'number') {
          reject(error)
          return
        }
        const code = typeof error?.code === 'number' ? error.code : 0
        readFile(log, 'utf8').then(
          (lines) =>
            resolve({
              code,
              text: output + errors,
              asked: lines
                .trim()
                .split('\n')
                .map((line) => JSON.parse(line)),
            }),
          () => resolve({ code, text: output + errors, asked: [] }),
        )
      },
    )
  })
}

describe('before provisioning', () => {
  test('a key is made where there is none: its hash for azd, itself once for a person', async () => {
    const { code, text, asked } = await hook('preprovision')
    expect(code).toBe(0)
    const [, key = ''] = /^ {2}(dk_[\w-]{43})$/m.exec(text) ?? []
    const sha256 = createHash('sha256').update(key).digest('hex')
    const value = JSON.stringify({ ops: { sha256, admin: true } })
    expect(asked).toEqual([['env', 'set', 'DARKROOM_API_KEYS', value, '--environment', 'studio']])
    expect(text).not.toContain(sha256)
    const { apiKeys } = readSettings({
      AzureWebJobsStorage: 'UseDevelopmentStorage=true',
      AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1',
      DARKROOM_API_KEYS: value,
    })
    expect(apiKeys).toMatchObject([{ name: 'ops', sha256, isAdmin: true }])
  })

  test.each(['{"studio":"5f0c"}', ' {"a":{"sha256":"b"}} '])('none is made beside %s', async (keys) => {
    expect(await hook('preprovision', { DARKROOM_API_KEYS: keys })).toEqual({ code: 0, text: '', asked: [] })
  })

  test('one that azd did not keep is not shown', async () => {
    const { code, text } = await hook('preprovision', { STUB_AZD_FAILS: 'ERROR: no environment' })
    expect(code).toBe(1)
    expect(text).toContain('azd env set DARKROOM_API_KEYS failed: ERROR: no environment')
    expect(text).not.toContain('dk_')
  })

  test('without azd the message says so', async () => {
    await rm(join(dir, 'azd'))
    const { code, text } = await hook('preprovision')
    expect([code, text]).toEqual([1, expect.stringMatching(/azd env set DARKROOM_API_KEYS failed: .*ENOENT/)])
  })

  test.each(['CI', 'TF_BUILD', 'GITHUB_ACTIONS'])(
    'in a pipeline (%s) none is made, because its log is read',
    async (name) => {
      const { code, text, asked } = await hook('preprovision', { [name]: 'true' })
      expect([code, asked]).toEqual([1, []])
      expect(text).toMatch(/DARKROOM_API_KEYS is not set.*npm run key -- ops --admin/s)
      expect(text).not.toContain('dk_')
    },
  )

  test('each parameter that cannot be used is named, with what was found and what is wanted', async () => {
    const { code, text, asked } = await hook('preprovision', {
      IMAGE_CAPACITY: 'ten',
      IMAGE_RPM: '7.5',
      MAX_ATTEMPTS: '101',
      ALWAYS_READY_WORKERS: '-1',
      ZONE_REDUNDANT: 'yes',
      INSTANCE_MEMORY_MB: '1024',
      IMAGE_MODEL: 'dall-e-3',
      IMAGE_DEPLOYMENTS: '{"name":"a"}',
      BATCH_SHARES: '[1]',
      DEPLOYMENT_KEYS: 'SWEDEN_KEY=very-secret',
      PACE: '1.5',
      REFUSAL_SHARE: '0.01',
      MODEL_API_VERSION: 'v'.repeat(33),
      // These can.
      MONTHLY_BUDGET: '50',
      PRIVATE_NETWORK: 'true',
      NODE_RUNTIME: '24',
      PRICES: '{"gpt-image-2":{"image_out":27}}',
    })
    expect([code, asked]).toEqual([1, []])
    const faults = [...text.matchAll(/^ {2}(\w+): found (.*); wanted (.*)$/gm)].map(([, ...parts]) => parts)
    expect(faults).toEqual([
      ['IMAGE_MODEL', 'dall-e-3', expect.stringContaining('one of gpt-image-1, ')],
      ['IMAGE_CAPACITY', 'ten', 'a whole number from 1 to 10000'],
      ['IMAGE_RPM', '7.5', 'a whole number from 1 to 60000'],
      ['MODEL_API_VERSION', 'v'.repeat(33), 'at most 32 characters'],
      ['IMAGE_DEPLOYMENTS', '{"name":"a"}', 'an array of objects in JSON'],
      ['DEPLOYMENT_KEYS', '22 characters', 'an object in JSON'],
      ['BATCH_SHARES', '[1]', 'an object in JSON'],
      ['REFUSAL_SHARE', '0.01', 'a number from 0.02 to 1'],
      ['PACE', '1.5', 'a number from 0.01 to 1'],
      ['MAX_ATTEMPTS', '101', 'a whole number from 1 to 100'],
      ['INSTANCE_MEMORY_MB', '1024', 'one of 512, 2048, 4096'],
      ['ALWAYS_READY_WORKERS', '-1', 'a whole number from 0 to 100'],
      ['ZONE_REDUNDANT', 'yes', 'true or false'],
    ])
    expect(text).toMatch(/^13 of the parameters/m)
    expect(text).toContain('azd env set NAME VALUE')
  })

  test('the bounds on shares are those of the service', () => {
    const sound = {
      AzureWebJobsStorage: 'UseDevelopmentStorage=true',
      AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1',
    }
    for (const [name, least, less] of [
      ['PACE', '0.01', '0.009'],
      ['REFUSAL_SHARE', '0.02', '0.019'],
    ] as const) {
      expect(() => readSettings({ ...sound, [name]: least })).not.toThrow()
      expect(() => readSettings({ ...sound, [name]: '1' })).not.toThrow()
      expect(() => readSettings({ ...sound, [name]: less })).toThrow(name)
      expect(() => readSettings({ ...sound, [name]: '1.01' })).toThrow(name)
    }
  })
})

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
      { IMAGE_RPM: '6' },
      /allows 2 .* IMAGE_RPM is 6\. .*429.*\n\n {2}azd env set IMAGE_RPM 2\n/,
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

  test('where azd cannot keep that, a person is told to', async () => {
    const { code, text } = await hook('postdown', { STUB_AZD_FAILS: 'ERROR: read-only' })
    expect([code, text]).toEqual([
      1,
      expect.stringMatching(/ERROR: read-only.*run: azd env set NAME_GENERATION 1/s),
    ])
  })
})

test('the pace that the hooks reckon with is that of the service', async () => {
  const text = await readFile(join(rootDir, 'infra/hooks/limits.js'), 'utf8')
  expect(text).toContain(`const usualPace = ${settingDefaults.PACE}\n`)
})
