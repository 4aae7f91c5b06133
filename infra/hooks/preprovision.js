import { createHash, randomBytes } from 'node:crypto'
import { missingKeys } from './deployment-keys.js'
import { HookError, npmCommand, runHook, say, setInAzd } from './hook.js'
import { parameterFaults, parameterWarnings } from './parameters.js'
import { serviceFaults } from './service-check.js'

/** Before anything is made: the parameters are right, and there is a key, or nobody could ask for anything. */
await runHook(async (env) => {
  const { faults, unchecked } = await allFaults(env)
  if (faults.length > 0) {
    const how =
      'Set them with: azd env set NAME VALUE. The section Parameters of docs/deploy.md has all of them.'
    throw new HookError(`${faults.length} of the parameters cannot be used:\n${faults.join('\n')}\n\n${how}`)
  }
  if (unchecked !== undefined) {
    say(
      `\nWarning: of values in JSON, hosts, origins and secrets only the form was checked, for ${unchecked}. The service refuses ` +
        'to start with one that it cannot use.\n',
    )
  }
  for (const warning of parameterWarnings(env)) say(`\nWarning: ${warning}\n`)
  if (!['', '{}'].includes((env.DARKROOM_API_KEYS ?? '').trim())) return
  if (isPipeline(env)) {
    throw new HookError(
      'DARKROOM_API_KEYS is not set, and no key is made here: the log of a pipeline would show it. On a machine of your own run\n\n' +
        `  ${npmCommand} run key -- ops --admin\n\nand give the pipeline what it prints as the variable DARKROOM_API_KEYS.`,
    )
  }
  const key = `dk_${randomBytes(32).toString('base64url')}`
  const sha256 = createHash('sha256').update(key).digest('hex')
  await setInAzd(env, 'DARKROOM_API_KEYS', JSON.stringify({ ops: { sha256, admin: true } }))
  say(`
A key for the service, with the name ops: it may do everything. It is shown this once, and kept nowhere:

  ${key}

Only its hash is in azd's environment. ${npmCommand} run key -- NAME --azd makes further ones.
`)
})

/** The service's own check sees only what is of the right form: one fault of a variable is enough. */
async function allFaults(env) {
  const faults = [...parameterFaults(env), ...missingKeys(env)]
  if (faults.length > 0) return { faults }
  return serviceFaults(env)
}

/** Where GitHub Actions, Azure Pipelines and most others run. */
function isPipeline(env) {
  return ['CI', 'TF_BUILD', 'GITHUB_ACTIONS'].some((name) => !['', 'false', '0'].includes(env[name] ?? ''))
}
