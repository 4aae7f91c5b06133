import { execFile } from 'node:child_process'

/** What a person must do before azd can go on: it is shown without a stack. */
export class HookError extends Error {}

/** Runs a hook: a HookError is a message and a code of 1, on which azd stops. */
export async function runHook(hook) {
  try {
    await hook(process.env)
  } catch (error) {
    if (!(error instanceof HookError)) throw error
    process.stderr.write(`\n${error.message}\n\n`)
    process.exitCode = 1
  }
}

/** PowerShell takes the -- away from npm, and not from npm.cmd. */
export const npmCommand = process.platform === 'win32' ? 'npm.cmd' : 'npm'

export function say(text) {
  process.stdout.write(`${text}\n`)
}

/** Puts a value into azd's environment, of which this hook's own variables are a copy. No shell: quotes stay as they are. */
export async function setInAzd(env, name, value) {
  const environment = env.AZURE_ENV_NAME ? ['--environment', env.AZURE_ENV_NAME] : []
  await new Promise((resolve, reject) => {
    execFile(
      'azd',
      ['env', 'set', name, value, ...environment],
      { timeout: azdMsMax },
      (error, output, errors) => {
        if (error === null) resolve(undefined)
        else {
          const reason =
            error.code === 'ENOENT'
              ? 'there is no azd on this machine'
              : `${errors}\n${output}`.trim() || error.message
          reject(new HookError(`azd env set ${name} failed: ${reason}`))
        }
      },
    )
  })
}

/** It writes one file. */
const azdMsMax = 60_000
