import { app } from '@azure/functions'
import { openContext, log } from '../app.ts'
import { errorFacts } from '../core/log-event.ts'
import { reportPools } from '../pipeline/pacing/pool-report.ts'
import { rescue } from '../pipeline/running/rescue.ts'

/** The one timer that fires each minute: what must be looked at so often shares it. */
app.timer('rescue', {
  schedule: '0 * * * * *',
  handler: async () => {
    const context = await openContext()
    // It keeps nobody from being rescued.
    await reportPools(context).catch((error: unknown) =>
      log.event('storage_failed', { doing: 'report', ...errorFacts(error) }),
    )
    const { unslotted, recovered, unknown, givenUp } = await rescue(context)
    if (unslotted + recovered + unknown + givenUp > 0) {
      log.event('rescued', { unslotted, recovered, unknown, givenUp })
    }
  },
})
