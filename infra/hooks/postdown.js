import { HookError, runHook, say, setInAzd } from './hook.js'
import { isGeneration } from './parameters.js'

/**
 * A deleted model account keeps its name for two days, and a vault for a week, unless they were purged. The next ones get
 * other names.
 */
await runHook(async (env) => {
  const generation = env.NAME_GENERATION || '0'
  if (!isGeneration(generation)) {
    throw new HookError(
      `NAME_GENERATION: found ${generation.slice(0, 200)}; wanted a whole number.\n` +
        'Everything is deleted. Before the next azd up run: azd env set NAME_GENERATION 1, or a higher number that was not in use.',
    )
  }
  const next = String(Number(generation) + 1)
  try {
    await setInAzd(env, 'NAME_GENERATION', next)
  } catch (error) {
    if (!(error instanceof HookError)) throw error
    throw new HookError(
      `${error.message}\nEverything is deleted. Before the next azd up run: azd env set NAME_GENERATION ${next}`,
    )
  }
  say(
    'What is deleted without --purge keeps its name for days, and its quota. The next azd up gives other names.',
  )
})
