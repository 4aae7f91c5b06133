import { app } from '@azure/functions'
import { openContext, log } from '../app.ts'
import { sweepInputs } from '../pipeline/intake/sweep-inputs.ts'

app.timer('expiry', {
  schedule: '0 17 * * * *',
  handler: async () => {
    const context = await openContext()
    const sweeps = {
      files: async () => context.files.removeExpired(),
      uploads: async () => context.uploads.removeExpired(),
      inputs: async () => sweepInputs(context),
    }
    const faults: unknown[] = []
    // One that fails keeps no other from its work.
    for (const [what, sweep] of Object.entries(sweeps)) {
      try {
        const count = await sweep()
        if (count > 0) log.event('files_removed', { what, count })
      } catch (error) {
        faults.push(error)
      }
    }
    if (faults.length > 0) throw new AggregateError(faults, 'not all that had expired could be removed')
  },
})
