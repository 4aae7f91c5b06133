import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { SettingsError } from '../settings.ts'
import { keyNamePattern } from '../settings/api-keys.ts'
import { newKey, saveKeys, savedKeys, withKey, withoutKey, withRotatedKey } from './api-key.ts'
import { azdValues, setAzdValue } from './azd.ts'
import { rootDir } from './instance.ts'

const about = `npm run key [-- NAME] [OPTIONS]

Makes an API key, shows it once, and shows what to put into DARKROOM_API_KEYS, which holds only its SHA-256.

  NAME         who holds it: 1 to 32 of a-z 0-9 - (default: main). Its batches and files belong to this name
  --admin      it sees and changes what belongs to any key, and what came by the queue
  --read-only  it may GET, and nothing else
  --weight N   its part of the budget beside other keys, from 0.01 to 100 (default: 1)

  --rotate     gives NAME another key; the old one ends, and what it may and what belongs to it stay
  --remove     takes the key of NAME away; what belongs to NAME stays

The keys that are there already come from DARKROOM_API_KEYS in the environment, else from local.settings.json. Or:

  --save       they are those of local.settings.json, which is changed
  --azd        they are those of azd's environment, which is changed; azd provision then gives them to the function app
  --stdin      they come from stdin, and stdout gets DARKROOM_API_KEYS as it should be, and nothing else

PowerShell takes the -- away: write npm.cmd run key -- NAME there, or node src/local/key-command.ts NAME.`

const setting = 'DARKROOM_API_KEYS'

type Place = 'shown' | 'save' | 'azd' | 'stdin'

/** Faults of what was typed, or of the settings, are a message and not a stack. */
async function command(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      help: { type: 'boolean' },
      admin: { type: 'boolean', default: false },
      'read-only': { type: 'boolean', default: false },
      weight: { type: 'string' },
      rotate: { type: 'boolean', default: false },
      remove: { type: 'boolean', default: false },
      save: { type: 'boolean', default: false },
      azd: { type: 'boolean', default: false },
      stdin: { type: 'boolean', default: false },
    },
  })
  if (values.help === true) {
    console.log(about)
    return
  }
  refuseTaken(positionals)
  const [name = 'main', another] = positionals
  if (another !== undefined) throw new SettingsError(`one name is enough; got ${another} too\n\n${about}`)
  const place = onlyOne(values, ['save', 'azd', 'stdin']) ?? 'shown'
  const change = onlyOne(values, ['rotate', 'remove']) ?? 'add'
  const weight = values.weight === undefined ? undefined : readWeight(values.weight)
  const wish = { name, weight, isReadOnly: values['read-only'], isAdmin: values.admin }
  if (change !== 'add' && (weight !== undefined || wish.isReadOnly || wish.isAdmin)) {
    throw new SettingsError(`--${change} changes nothing else about a key\n\n${about}`)
  }
  // A name that cannot be one may stand among the keys all the same, and must be taken away then.
  if (change !== 'remove') refuseBadName(name)
  const before = await keysAt(place)
  if (change === 'remove') {
    await put(place, withoutKey(before, name), `The key of ${name} is taken away.`)
    return
  }
  const { key, sha256 } = newKey()
  const keys = change === 'rotate' ? withRotatedKey(before, name, sha256) : withKey(before, wish, sha256)
  await put(place, keys, `The key of ${name}. It is shown this once, and kept nowhere:\n\n  ${key}\n`)
}

function readWeight(typed: string): number {
  const weight = Number(typed)
  if (/^\d+(\.\d+)?$/.test(typed) && weight >= 0.01 && weight <= 100) return weight
  throw new SettingsError(`--weight: found ${quoted(typed)}; wanted a number from 0.01 to 100\n\n${about}`)
}

function refuseBadName(name: string): void {
  if (keyNamePattern.test(name)) return
  throw new SettingsError(`NAME: found ${quoted(name)}; wanted 1 to 32 of a-z 0-9 -\n\n${about}`)
}

/** Where a short word is meant, a long one may be a key. */
function quoted(typed: string): string {
  if (typed.length > 32) return `${typed.length} characters`
  return /^[\w.-]+$/.test(typed) ? typed : JSON.stringify(typed)
}

/** npm hands what it took for options of its own to the command in the environment, and in no other way. */
function refuseTaken([name = '']: readonly string[]): void {
  const taken = options.flatMap((option) => {
    const value = process.env[`npm_config_${option.replaceAll('-', '_')}`] ?? ''
    if (value === '' || value === 'false') return []
    // Without an equals sign npm does not know that a number follows.
    return [option === 'weight' ? `--weight ${value === 'true' ? 'N' : value}` : `--${option}`]
  })
  if (taken.length === 0) return
  const args = [name, ...taken].filter((part) => part !== '').join(' ')
  throw new SettingsError(
    `npm took ${taken.join(', ')} for itself, and nothing was done: there is no -- before it, or PowerShell took that away.\n\n` +
      `  npm.cmd run key -- ${args}                  in PowerShell\n` +
      `  npm run key -- ${args}                      elsewhere\n` +
      `  node src/local/key-command.ts ${args}       anywhere, with Node 22.18 or later`,
  )
}

/** `save` is an option of npm's own as well, which it does not hand on: a key is then shown, and saved nowhere. */
const options = ['admin', 'read-only', 'weight', 'rotate', 'remove', 'azd', 'stdin'] as const

/** Two that exclude each other are a slip of the hand. */
function onlyOne<Name extends string>(
  values: Readonly<Partial<Record<Name, boolean>>>,
  names: readonly Name[],
): Name | undefined {
  const [first, second] = names.filter((name) => values[name] === true)
  if (second !== undefined)
    throw new SettingsError(`--${first} and --${second} exclude each other\n\n${about}`)
  return first
}

const localSettings = join(rootDir, 'local.settings.json')

async function keysAt(place: Place): Promise<string> {
  switch (place) {
    case 'azd':
      return (await azdValues())[setting] ?? ''
    case 'stdin':
      return text(process.stdin)
    case 'save':
      return savedKeys(localSettings)
    case 'shown': {
      const given = process.env[setting] ?? ''
      return given === '' ? savedKeys(localSettings) : given
    }
  }
}

/** The key is told only once its hash has its place: a key that nobody knows would be lost. */
async function put(place: Place, keys: string, told: string): Promise<void> {
  switch (place) {
    case 'azd':
      await setAzdValue(setting, keys)
      console.log(`${told}\n${setting} is changed in azd's environment. Now: azd provision`)
      return
    case 'stdin':
      console.error(told)
      console.log(keys)
      return
    case 'save':
      await saveKeys(localSettings, keys)
      console.log(
        `${told}\n${setting} is changed in local.settings.json, which the service reads at its next start.`,
      )
      return
    case 'shown':
      console.log(`${told}\n${setting}, as an app setting or in the environment:\n\n  ${keys}\n`)
      console.log(`The same in local.settings.json:\n\n  "${setting}": ${JSON.stringify(keys)}`)
  }
}

try {
  await command()
} catch (error) {
  const isTyped =
    error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
  if (!isTyped && !(error instanceof SettingsError)) throw error
  console.error(isTyped ? `${error.message}\n\n${about}` : error.message)
  process.exitCode = 1
}
