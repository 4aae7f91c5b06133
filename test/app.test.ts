import { expect, test } from 'vitest'
import { poolsOf } from '../src/app.ts'
import { readSettings } from '../src/settings.ts'

const endpoint = 'https://studio.openai.azure.com'
const list = [
  { name: 'gpt-image-1', endpoint, rpm: 60 },
  { name: 'a', endpoint, model: 'gpt-image-2', rpm: 30, quota_group: 'shared', key_setting: 'KEY_A' },
  { name: 'b', endpoint, model: 'gpt-image-2', rpm: 30, quota_group: 'shared', key_setting: 'KEY_B' },
]

function pools(changes: { readonly [name: string]: string } = {}) {
  return poolsOf(
    readSettings({
      AzureWebJobsStorage: 'UseDevelopmentStorage=true',
      IMAGE_DEPLOYMENTS: JSON.stringify(list),
      PACE: '0.5',
      KEY_A: 'secret-a',
      KEY_B: 'secret-b',
      ...changes,
    }),
  )
}

function marks(changes: { readonly [name: string]: string } = {}): ReadonlyMap<string, string> {
  return new Map(
    pools(changes).flatMap(({ quotas }) =>
      quotas.flatMap(({ deployments }) =>
        deployments.map(({ deployment, settingsMark }) => [deployment, settingsMark] as const),
      ),
    ),
  )
}

test('the pools of the pipeline are those of the settings, without keys and addresses', () => {
  const settingsMark = expect.stringMatching(/^[0-9a-f]{8}$/)
  expect(pools()).toEqual([
    {
      name: 'default',
      quotas: [
        {
          quota: 'gpt-image-1',
          rpm: 60,
          pace: 0.5,
          deployments: [{ deployment: 'gpt-image-1', settingsMark }],
        },
      ],
      costs: expect.objectContaining({ prices: expect.objectContaining({ model: 'gpt-image-1' }) }),
    },
    {
      name: 'gpt-image-2',
      quotas: [
        {
          quota: 'shared',
          rpm: 30,
          pace: 0.5,
          deployments: [
            { deployment: 'a', settingsMark },
            { deployment: 'b', settingsMark },
          ],
        },
      ],
      costs: expect.objectContaining({ prices: expect.objectContaining({ model: 'gpt-image-2' }) }),
    },
  ])
})

test("a deployment's mark changes with its key and its address, and with nothing else", () => {
  const before = marks()
  expect(new Set(before.values()).size).toBe(3)
  const changedBy = (changes: { readonly [name: string]: string }): readonly string[] =>
    [...marks(changes)].filter(([name, mark]) => before.get(name) !== mark).map(([name]) => name)
  expect(changedBy({ KEY_A: 'another' })).toEqual(['a'])
  const moved = list.map((entry) => (entry.name === 'b' ? { ...entry, deployment: 'images' } : entry))
  expect(changedBy({ IMAGE_DEPLOYMENTS: JSON.stringify(moved) })).toEqual(['b'])
  const slower = list.map((entry) => ({ ...entry, rpm: 9 }))
  expect(changedBy({ IMAGE_DEPLOYMENTS: JSON.stringify(slower), PACE: '1' })).toEqual([])
})

test('a single deployment keeps the mark that it had before there were lists', () => {
  const settings = readSettings({
    AzureWebJobsStorage: 'UseDevelopmentStorage=true',
    AZURE_OPENAI_ENDPOINT: endpoint,
    AZURE_OPENAI_API_KEY: 'secret',
  })
  const [pool] = poolsOf(settings)
  expect(pool?.quotas[0]?.deployments[0]?.settingsMark).toBe('8e783050')
})

test('what an edit starts from is in its costs, the mask too', () => {
  const settings = readSettings({
    AzureWebJobsStorage: 'UseDevelopmentStorage=true',
    AZURE_OPENAI_ENDPOINT: endpoint,
    AZURE_OPENAI_API_KEY: 'secret',
  })
  const costs = poolsOf(settings)[0]!.costs
  const request = { prompt: 'a hat' }
  const image = { kind: 'blob', name: 'fox.png' } as const
  const one = { ...request, inputs: { images: [image], mask: null } }
  const three = { ...request, inputs: { images: [image, image], mask: image } }
  const usage = { inputTokens: 0, outputTokens: 0, inputTextTokens: 0, inputImageTokens: 0 }
  for (const cost of [
    (asked: typeof request) => costs.upperMicroUsd(asked),
    (asked: typeof request) => costs.expected(asked).microUsd,
    (asked: typeof request) => costs.actualMicroUsd(asked, usage),
  ]) {
    expect(cost(one)).toBeGreaterThan(cost(request))
    expect(cost(three) - cost(request)).toBe(3 * (cost(one) - cost(request)))
  }
})
