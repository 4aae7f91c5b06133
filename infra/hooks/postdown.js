import { HookError, runHook, say, setInAzd } from './hook.js'

/**
 * A deleted model account keeps its name for two days, and a vault for a week, unless they were purged. The next ones get
 * other names.
 */
await runHook(async (env) => {
  const next = String(Number(env.NAME_GENERATION || 0) + 1)
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
