import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { SettingsError } from '../settings.ts'
import { newKey, saveKeys, savedKeys, withKey } from './api-key.ts'
import { rootDir } from './instance.ts'

const about = `npm run key [-- NAME] [--admin] [--read-only] [--weight N] [--save]

Makes an API key, shows it once, and shows what to put into DARKROOM_API_KEYS, which holds only its SHA-256.

  NAME         who holds it: 1 to 32 of a-z 0-9 - (default: main). Its batches and files belong to this name
  --admin      it sees and changes what belongs to any key, and what came by the queue
  --read-only  it may GET, and nothing else
  --weight N   its part of the budget beside other keys, from 0.01 to 100 (default: 1)
  --save       puts it into local.settings.json instead`

/** Faults of what was typed, or of the settings, are a message and not a stack. */
async function command(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      help: { type: 'boolean' },
      admin: { type: 'boolean', default: false },
      'read-only': { type: 'boolean', default: false },
      weight: { type: 'string' },
      save: { type: 'boolean', default: false },
    },
  })
  if (values.help === true) {
    console.log(about)
    return
  }
  const [name = 'main', another] = positionals
  if (another !== undefined) throw new SettingsError(`one name is enough; got ${another} too\n\n${about}`)
  const path = join(rootDir, 'local.settings.json')
  const { key, sha256 } = newKey()
  const weight = values.weight === undefined ? undefined : Number(values.weight)
  const wish = { name, weight, isReadOnly: values['read-only'], isAdmin: values.admin }
  const keys = withKey(await savedKeys(path), wish, sha256)
  if (values.save) await saveKeys(path, keys)
  console.log(`The key of ${name}. It is shown this once, and kept nowhere:\n\n  ${key}\n`)
  if (values.save) {
    console.log('Its hash is in local.settings.json; the service knows the key after its next start.')
    return
  }
  console.log(`DARKROOM_API_KEYS, as an app setting or in the environment:\n\n  ${keys}\n`)
  console.log(`The same in local.settings.json:\n\n  "DARKROOM_API_KEYS": ${JSON.stringify(keys)}`)
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
