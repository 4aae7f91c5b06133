import { createHash, randomBytes } from 'node:crypto'
import { HookError, npmCommand, runHook, say, setInAzd } from './hook.js'
import { parameterFaults, parameterWarnings } from './parameters.js'

/** Before anything is made: the parameters are right, and there is a key, or nobody could ask for anything. */
await runHook(async (env) => {
  const faults = parameterFaults(env)
  if (faults.length > 0) {
    const how =
      'Set them with: azd env set NAME VALUE. The section Parameters of docs/deploy.md has all of them.'
    throw new HookError(`${faults.length} of the parameters cannot be used:\n${faults.join('\n')}\n\n${how}`)
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

/** Where GitHub Actions, Azure Pipelines and most others run. */
function isPipeline(env) {
  return ['CI', 'TF_BUILD', 'GITHUB_ACTIONS'].some((name) => !['', 'false', '0'].includes(env[name] ?? ''))
}
