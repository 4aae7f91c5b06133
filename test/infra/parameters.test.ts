import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { profiles } from '../../src/core/requests/profiles.ts'
import { rootDir } from '../architecture/sources.ts'

const bicep = readFileSync(join(rootDir, 'infra/main.bicep'), 'utf8')
const page = readFileSync(join(rootDir, 'docs/deploy.md'), 'utf8')
const file: { parameters: Record<string, { value: unknown }> } = JSON.parse(
  readFileSync(join(rootDir, 'infra/main.parameters.json'), 'utf8'),
)

const declared = [...bicep.matchAll(/^param (\w+) (\S+)/gm)].map(([, name, type]) => ({
  name: name!,
  type: type!,
}))

/** What azd itself calls them. */
const ofAzd: Readonly<Record<string, string>> = {
  environmentName: 'AZURE_ENV_NAME',
  location: 'AZURE_LOCATION',
  principalId: 'AZURE_PRINCIPAL_ID',
}

function variableOf(name: string): string {
  return ofAzd[name] ?? name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()
}

test('azd sets every parameter, by a name that follows from its own', () => {
  expect(Object.entries(file.parameters)).toEqual(
    // No default: an empty one would stand in the place of the Bicep's, and one with a brace would end at it.
    declared.map(({ name }) => [name, { value: `\${${variableOf(name)}}` }]),
  )
})

test('JSON goes to parameters that are no text: azd puts it into a text as it is, quotes and all', () => {
  const json = ['imageDeployments', 'deploymentKeys', 'darkroomApiKeys', 'batchShares', 'prices']
  expect(declared.filter(({ type }) => type.startsWith('object')).map(({ name }) => name)).toEqual(json)
})

test('the models are those that the service knows', () => {
  const [, list = ''] = /@allowed\(\[([^\]]*)\]\)\nparam imageModel /.exec(bicep) ?? []
  const allowed = [...list.matchAll(/'([^']+)'/g)].map(([, model]) => model!)
  expect(allowed.toSorted()).toEqual(profiles.map(({ model }) => model).toSorted())
})

describe('docs/deploy.md', () => {
  test('has a row for each parameter that a person may set', () => {
    const rows = [...page.matchAll(/^\| `([A-Z_]+)`\s+\|/gm)].map(([, variable]) => variable!)
    const byItself = ['AZURE_PRINCIPAL_ID', 'NAME_GENERATION', 'BUDGET_START']
    const wanted = declared
      .map(({ name }) => variableOf(name))
      .filter((variable) => !byItself.includes(variable))
    expect(rows.toSorted()).toEqual(wanted.toSorted())
    for (const variable of byItself) expect(page).toContain(`\`${variable}\``)
  })

  test('with its default', () => {
    const defaults = [...bicep.matchAll(/^param (\w+) \S+ = '?([^'\n]*)'?$/gm)]
    for (const [, name = '', value = ''] of defaults) {
      const row = new RegExp(`^\\| \`${variableOf(name)}\`\\s+\\| ([^|]*?)\\s*\\|`, 'm').exec(page)?.[1]
      if (row !== undefined && !['', '[]', '{}'].includes(value)) expect([name, row]).toEqual([name, value])
    }
  })

  test('hands a pipeline no variable that may not be there: it would be an empty value', () => {
    const [, yaml = ''] = /```yaml\n(.*?)```/s.exec(page) ?? []
    const passed = [...yaml.matchAll(/^ {6}([A-Z_]+): /gm)].map(([, variable]) => variable!)
    const needed = [
      'AZURE_CLIENT_ID',
      'AZURE_TENANT_ID',
      'AZURE_SUBSCRIPTION_ID',
      'AZURE_ENV_NAME',
      'AZURE_LOCATION',
    ]
    expect(passed).toEqual([...needed, 'DARKROOM_API_KEYS'])
  })

  test('says what stays in Azure of each part that can be switched off', () => {
    const main = [...bicep.matchAll(/^module \w+ '[^']+' = if \((.*)\)/gm)].map(([, condition]) => condition)
    // Of another one the page must say what becomes of it.
    expect(main).toEqual([
      'privateNetwork',
      'privateNetwork',
      'isOwnModel',
      'hasVault',
      '!empty(alertEmail)',
      'monthlyBudget > 0',
    ])
    const [, table = ''] = /### What is switched off\n(.*?)\n## /s.exec(page) ?? []
    for (const variable of [
      'PRIVATE_NETWORK',
      'MODEL_ACCOUNT_IDS',
      'WEBHOOK_SECRETS',
      'ALERT_EMAIL',
      'MONTHLY_BUDGET',
    ])
      expect(table).toContain(`\`${variable}\``)
  })

  test('says that a budget takes its start along when it is deleted: a new one begins in another month', () => {
    const parts = [/### What is switched off\n(.*?)\n## /s, /\n## Trouble\n(.*)/s].map(
      (part) => part.exec(page)?.[1]?.replaceAll(/\s+/g, ' ') ?? '',
    )
    for (const part of parts)
      expect(part).toMatch(/[Dd]elete the line `BUDGET_START` from `\.azure\/NAME\/\.env`/)
  })

  test('is readable in a terminal', () => {
    const long = page.split('\n').filter((line) => line.length > 200)
    expect(long).toEqual([])
  })
})
